"""Machines as they are asked for and listed, and the leases they make up."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.facts import Facts
from orchestrator.kit.keys import KeyRing
from orchestrator.testing import builders
from providers.azure import machines
from providers.azure.machines import LEASE, NODES, OFFER, Node
from providers.azure.settings import AzureSettings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/end"


def node(number: int = 0, *, nodes: int = 1, provisioning: str = "succeeded", age_s: float = 600.0) -> Node:
    return Node(
        id=f"/x/vm-{number}",
        name=f"vm-{number}",
        size="Standard_NC24ads_A100_v4",
        region="eastus",
        zone="",
        spot=False,
        provisioning=provisioning,
        created_at=NOW - timedelta(seconds=age_s),
        tags={
            "isoflop-token": "t",
            "isoflop-owner": "o",
            LEASE: "isoflop-1.1.a",
            NODES: str(nodes),
            OFFER: '["A100-PCIe-80GB",1,24,220,3.673]',
        },
    )


def state(*nodes: Node, power: str = "running") -> LeaseState:
    seen = {each.id: power for each in nodes}
    return machines.state(nodes, seen, {each.id: "127.0.0.1" for each in nodes}, NOW)


def listed(**changes: Any) -> Document:
    machine = {
        "id": "/X/VM-0",
        "name": "vm-0",
        "location": "East US",
        "tags": dict(node().tags),
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_NC24ads_A100_v4"},
            "provisioningState": "Succeeded",
            "timeCreated": "2026-11-20T11:50:00.1234567+00:00",
            **changes.pop("properties", {}),
        },
        **changes,
    }
    return Document(machine, "vm")


# Names


def test_one_purchase_has_one_set_of_names_and_another_owner_or_token_has_others() -> None:
    offer = builders.offer()

    def names(owner: str, token: str) -> tuple[str, ...]:
        return machines.order(offer, 2, token=token, owner=owner, generation="a").names

    assert names("me", "t") == machines.order(offer, 2, token="t", owner="me", generation="b").names
    assert len({*names("me", "t"), *names("me", "u"), *names("you", "t")}) == 6


def test_an_id_names_its_machines_and_a_later_purchase_has_another() -> None:
    offer = builders.offer()
    first, later = (machines.order(offer, 3, token="t", owner="me", generation=g) for g in ("a", "b"))
    assert first.lease_id != later.lease_id
    assert machines.parts(first.lease_id) == first.names


@pytest.mark.parametrize("words", ["", "no-such-lease", "isoflop-x", "isoflop-x.2", "isoflop-x.many.a", "vm.2.a"])
def test_an_id_that_is_not_ours_names_nothing(words: str) -> None:
    assert machines.parts(words) == ()


# States


def test_a_lease_is_ready_when_all_of_it_runs_and_can_be_reached() -> None:
    assert state(node(0, nodes=2), node(1, nodes=2)) is LeaseState.READY
    assert machines.state([node()], {"/x/vm-0": "running"}, {}, NOW) is LeaseState.BOOTING
    assert machines.state([node()], {}, {"/x/vm-0": "127.0.0.1"}, NOW) is LeaseState.READY  # nobody says otherwise
    assert state(node(), power="starting") is LeaseState.BOOTING
    assert state(node(0, nodes=2), node(1, nodes=2, provisioning="creating")) is LeaseState.BOOTING


@pytest.mark.parametrize("power", ["stopping", "stopped", "deallocating", "deallocated"])
def test_a_machine_that_stands_still_is_to_be_given_back(power: str) -> None:
    assert state(node(), power=power) is LeaseState.RELEASING


@pytest.mark.parametrize("provisioning", ["failed", "deleting"])
def test_a_machine_that_failed_or_goes_is_to_be_given_back(provisioning: str) -> None:
    assert state(node(0, nodes=2), node(1, nodes=2, provisioning=provisioning)) is LeaseState.RELEASING


def test_a_machine_that_is_missing_is_waited_for_as_long_as_listings_may_lag() -> None:
    assert state(node(0, nodes=2, age_s=59.0)) is LeaseState.BOOTING
    assert state(node(0, nodes=2, age_s=61.0)) is LeaseState.RELEASING


# Reading


def test_a_machine_is_read_with_its_seven_digits_of_a_second_and_its_region_in_one_spelling() -> None:
    found = machines.node(listed())
    assert found is not None
    assert found.created_at == datetime(2026, 11, 20, 11, 50, 0, 123456, tzinfo=UTC)
    assert (found.region, found.id, found.provisioning) == ("eastus", "/x/vm-0", "succeeded")


def test_a_machine_without_our_tags_is_not_ours() -> None:
    assert machines.node(listed(tags={"team": "web"})) is None
    assert machines.node(listed(tags=None)) is None


@pytest.mark.parametrize("properties", [{"timeCreated": "yesterday"}, {"timeCreated": None}, {"hardwareProfile": []}])
def test_a_machine_of_ours_that_cannot_be_read_is_never_left_out_silently(properties: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        machines.node(listed(properties=properties))


@pytest.mark.parametrize(("name", "value"), [(OFFER, "[]"), (OFFER, "{"), (NODES, "0"), (NODES, "two")])
def test_tags_that_were_tampered_with_are_named(name: str, value: str) -> None:
    found = machines.node(listed(tags={**node().tags, name: value}))
    assert found is not None
    with pytest.raises(Malformed, match=name):
        machines.lease([found], LeaseState.BOOTING, Facts("azure"), (), NOW)


def test_addresses_are_found_by_ids_whatever_their_case() -> None:
    card = {"id": "/G/Cards/C", "properties": {"virtualMachine": {"id": "/x/VM-0"}}}
    address = {
        "id": "/a",
        "properties": {"ipAddress": "198.51.100.9", "ipConfiguration": {"id": "/g/cards/c/ipConfigurations/main"}},
    }
    spare = {"id": "/b", "properties": {"ipAddress": "198.51.100.10"}}
    found = machines.addresses([Document(card, "c")], [Document(address, "a"), Document(spare, "b")])
    assert found == {"/x/vm-0": "198.51.100.9"}


# Asking


def request(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    settings = AzureSettings(**changes)
    ordered = machines.order(builders.offer(), 1, token="t", owner="me", generation="a")
    keys = KeyRing(tmp_path).of("t")
    start = machines.start_up(Boot(), keys, settings)
    place = machines.Place("/s", "/g")
    made: dict[str, Any] = machines.body(ordered, "m", start, settings, keys=keys, image={"id": "/i"}, place=place)
    return made


def test_a_machine_on_demand_has_no_spot_fields_and_no_identity(tmp_path: Path) -> None:
    made = request(tmp_path)
    assert not {"priority", "evictionPolicy", "billingProfile"} & set(made["properties"])
    assert not {"identity", "zones"} & set(made)


def test_every_tag_is_short_enough_for_azure(tmp_path: Path) -> None:
    assert all(len(value) <= 256 for value in request(tmp_path)["tags"].values())


def test_an_image_is_a_reference_or_a_resource(tmp_path: Path) -> None:
    assert machines.image_reference("canonical:ubuntu:server:latest") == {
        "publisher": "canonical",
        "offer": "ubuntu",
        "sku": "server",
        "version": "latest",
    }
    assert machines.image_reference("/subscriptions/s/images/i") == {"id": "/subscriptions/s/images/i"}
    with pytest.raises(Malformed):
        machines.image_reference("ubuntu")


def test_a_machine_that_may_delete_itself_tries_that_first_and_is_a_sound_shell_command() -> None:
    assert machines.own_end(AzureSettings()) == ("systemctl poweroff",)
    command = " ".join(machines.own_end(AzureSettings(end_identity=IDENTITY)))
    assert command.endswith("|| systemctl poweroff")
    assert "msi_res_id=%2Fsubscriptions%2Fs%2F" in command
    subprocess.run(["sh", "-n", "-c", f"if [ 1 -ge 0 ]; then {command}; fi"], check=True)
