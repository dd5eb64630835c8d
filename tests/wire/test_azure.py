"""Azure's own SDK against a simulated Azure over TLS: buying, holding and giving back."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import (
    CapacityError,
    LeaseNotFound,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.simulation.clouds.bootup import logins, own_end_s
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from orchestrator.simulation.clouds.machines import Phase
from orchestrator.testing.accounts import release_fully, until_ready
from providers.azure.provider import AzureProvider
from tests.contract.azure_world import A100, AzureAccount, World, world

BOOT = Boot(run_id="run-1")
IDENTITY = (
    "/subscriptions/5b0c7a52-1f1e-4c1e-9a52-8d2f3a6f7c10/resourceGroups/isoflop/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/isoflop-end"
)


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as served:
        yield served


def offer(provider: AzureProvider, size: str = A100, billing: Billing = Billing.ON_DEMAND) -> Offer:
    return next(o for o in provider.offers() if (o.instance_type, o.billing, o.region) == (size, billing, "eastus"))


def fault(served: World, kind: Kind, operation: str = "*", **fields: Any) -> None:
    served.market.script(Fault(provider="azure", kind=kind, operation=operation, **fields))


def running(served: World) -> int:
    now = served.market.clock.now()
    return sum(machine.phase(now) is not Phase.GONE for machine in served.market.machines("azure"))


def evict(served: World, name: str) -> None:
    """As `az vm simulate-eviction` does."""
    path = f"/resourceGroups/isoflop/providers/Microsoft.Compute/virtualMachines/{name}/simulateEviction"
    assert served.ask("POST", path, {"api-version": "2026-04-01"})[0] == 204


def one(provider: AzureProvider, lease: Lease) -> Lease:
    return next(held for held in provider.leases() if held.id == lease.id)


# Buying


def test_a_machine_is_asked_for_with_everything_that_makes_it_ours(azure: World) -> None:
    provider = azure.provider()
    boot = Boot(run_id="run-7", ssh_public_keys=("ssh-ed25519 AAAAtheirs user",), lifetime_s=7200.0)
    lease = provider.acquire(offer(provider, billing=Billing.SPOT), 2, token="whole", boot=boot)
    bodies = [vm.body for vm in azure.cloud.machines()]
    assert len(bodies) == 2
    for body in bodies:
        asked = body["properties"]
        assert body["tags"]["isoflop-token"] == "whole"
        assert body["tags"]["isoflop-owner"] == "isoflop-test"
        assert (asked["priority"], asked["evictionPolicy"]) == ("Spot", "Delete")
        assert asked["billingProfile"] == {"maxPrice": -1.0}
        start = base64.b64decode(asked["osProfile"]["customData"]).decode()
        assert "ssh-ed25519 AAAAtheirs user" in logins(start)
        assert own_end_s(start) == 7200.0
        (card,) = asked["networkProfile"]["networkInterfaceConfigurations"]
        (ip,) = card["properties"]["ipConfigurations"]
        kept = [card, ip["properties"]["publicIPAddressConfiguration"]]
        assert {item["properties"]["deleteOption"] for item in kept} == {"Delete"}
        assert asked["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    ready = until_ready(AzureAccount(azure), provider, lease)
    assert len({point.address for point in ready.endpoints}) == 2
    assert {(point.launcher, point.port, point.user) for point in ready.endpoints} == {("ssh", 22, "isoflop")}
    assert all(Path(point.identity).stat().st_mode & 0o077 == 0 for point in ready.endpoints)
    assert all(point.host_key.startswith("ssh-ed25519 ") for point in ready.endpoints)


def test_ssh_is_open_to_the_control_plane_alone(azure: World) -> None:
    provider = azure.provider()
    provider.acquire(offer(provider), 1, token="guard", boot=BOOT)
    (rule,) = azure.cloud.network.rules()
    allowed = rule["properties"]
    assert (allowed["sourceAddressPrefix"], allowed["destinationPortRange"]) == ("198.51.100.7/32", "22")
    assert (allowed["access"], allowed["direction"], allowed["protocol"]) == ("Allow", "Inbound", "Tcp")


def test_nothing_is_bought_without_a_range_to_open_ssh_to(azure: World) -> None:
    provider = azure.provider(control_cidr="")
    with pytest.raises(CapacityError, match="control_cidr") as refused:
        provider.acquire(offer(provider), 1, token="open", boot=BOOT)
    assert refused.value.scope is Scope.PROVIDER
    assert running(azure) == 0


@pytest.mark.parametrize("boot", [Boot(image="ubuntu"), Boot(user_data="#" * 50_000)])
def test_what_no_machine_can_be_asked_for_like_is_refused_before_anything_is_made(azure: World, boot: Boot) -> None:
    provider = azure.provider()
    with pytest.raises(CapacityError) as refused:
        provider.acquire(offer(provider), 1, token="odd", boot=boot)
    assert refused.value.scope is Scope.PROVIDER
    assert azure.wire.counts()["ResourceGroups_CreateOrUpdate"] == 0
    assert running(azure) == 0


def test_a_second_purchase_makes_no_network_again(azure: World) -> None:
    provider = azure.provider()
    provider.acquire(offer(provider), 1, token="first", boot=BOOT)
    azure.wire.forget()
    provider.acquire(offer(provider), 1, token="second", boot=BOOT)
    asked = azure.wire.counts()
    assert not [name for name in asked if name.startswith(("VirtualNetworks", "NetworkSecurity", "ResourceGroups"))]
    assert asked["VirtualMachines_CreateOrUpdate"] == 1


def test_a_network_of_ones_own_is_used_as_it_is(azure: World) -> None:
    provider = azure.provider()
    provider.acquire(offer(provider), 1, token="first", boot=BOOT)
    group = "/subscriptions/5b0c7a52-1f1e-4c1e-9a52-8d2f3a6f7c10/resourceGroups/isoflop"
    subnet = f"{group}/providers/Microsoft.Network/virtualNetworks/isoflop-eastus/subnets/machines"
    azure.wire.forget()
    own = azure.provider(subnets={"eastus": subnet})
    own.acquire(offer(own), 1, token="second", boot=BOOT)
    assert azure.wire.counts()["VirtualNetworks_Get"] == 0
    assert running(azure) == 2


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_stock_out_inside_the_operation_is_a_capacity_error_of_the_region_and_leaves_nothing(
    azure: World, nodes: int
) -> None:
    provider = azure.provider()
    wanted = offer(provider)
    fault(azure, Kind.STOCKOUT, where=f"*/{A100}/on-demand", times=1)
    with pytest.raises(CapacityError, match="AllocationFailed") as refused:
        provider.acquire(wanted, nodes, token="none-left", boot=BOOT)
    assert refused.value.scope is Scope.REGION
    azure.market.clock.advance(60.0)
    assert provider.leases() == []
    assert running(azure) == 0
    assert provider.acquire(wanted, nodes, token="none-left", boot=BOOT).nodes == nodes


def test_a_zone_without_room_says_that_it_is_the_zone(azure: World) -> None:
    provider = azure.provider(zonal=True)
    wanted = replace(offer(provider), zone="2")
    fault(azure, Kind.STOCKOUT, times=1)
    with pytest.raises(CapacityError, match="ZonalAllocationFailed") as refused:
        provider.acquire(wanted, 1, token="zone", boot=BOOT)
    assert refused.value.scope is Scope.ZONE
    lease = provider.acquire(wanted, 1, token="zone-again", boot=BOOT)
    assert one(provider, lease).offer.zone == "2"


@pytest.mark.parametrize(
    ("billing", "quota", "words"),
    [
        (Billing.ON_DEMAND, "standardNCADSA100v4Family", "standardNCADSA100v4Family Cores quota"),
        (Billing.SPOT, "lowPriorityCores", "LowPriorityCores quota"),
    ],
)
def test_a_quota_that_is_used_up_is_told_in_azures_words(
    azure: World, billing: Billing, quota: str, words: str
) -> None:
    provider = azure.provider()
    wanted = offer(provider, billing=billing)
    azure.market.set_quota("azure", quota, 30.0, "eastus")
    with pytest.raises(QuotaError, match=words) as refused:
        provider.acquire(wanted, 2, token="over", boot=BOOT)
    assert refused.value.scope is Scope.REGION
    azure.market.clock.advance(60.0)
    assert running(azure) == 0
    assert provider.acquire(wanted, 1, token="within", boot=BOOT).nodes == 1


def test_a_launch_is_sent_once_and_a_throttled_one_says_when_to_come_back(azure: World) -> None:
    provider = azure.provider()
    wanted = offer(provider)
    fault(azure, Kind.THROTTLE, "VirtualMachines_CreateOrUpdate", times=ALWAYS)
    with pytest.raises(TransientError, match="TooManyRequests") as refused:
        provider.acquire(wanted, 1, token="later", boot=BOOT)
    assert refused.value.retry_after_s == 10.0
    assert azure.wire.counts()["VirtualMachines_CreateOrUpdate"] == 1


def test_a_gang_whose_answers_were_lost_is_completed_by_the_same_token(azure: World) -> None:
    provider = azure.provider()
    wanted = offer(provider)
    for _ in range(3):
        fault(azure, Kind.LOST_RESPONSE, "VirtualMachines_CreateOrUpdate")
        with pytest.raises(TransientError):
            azure.provider().acquire(wanted, 3, token="gang", boot=BOOT)
    lease = azure.provider().acquire(wanted, 3, token="gang", boot=BOOT)
    assert running(azure) == 3
    assert [held.id for held in provider.leases()] == [lease.id]


def test_a_gang_that_cannot_be_completed_is_given_back_as_a_whole(azure: World) -> None:
    provider = azure.provider()
    wanted = offer(provider)
    fault(azure, Kind.LOST_RESPONSE, "VirtualMachines_CreateOrUpdate")
    with pytest.raises(TransientError):
        provider.acquire(wanted, 3, token="gang", boot=BOOT)
    assert running(azure) == 1
    azure.market.set_quota("azure", "cores", 0.0)
    with pytest.raises(QuotaError):
        azure.provider().acquire(wanted, 3, token="gang", boot=BOOT)
    azure.market.clock.advance(60.0)
    assert running(azure) == 0
    assert provider.leases() == []


def test_many_processes_with_one_token_buy_one_gang(azure: World) -> None:
    wanted = offer(azure.provider())
    buyers = [azure.provider() for _ in range(6)]
    with ThreadPoolExecutor(len(buyers)) as pool:
        ids = {lease.id for lease in pool.map(lambda p: p.acquire(wanted, 2, token="race", boot=BOOT), buyers)}
    assert len(ids) == 1
    assert running(azure) == 2


def test_a_price_that_moved_between_quote_and_launch_is_the_quoted_one_on_the_lease(azure: World) -> None:
    provider = azure.provider()
    wanted = offer(provider)
    azure.market.move_prices(2.0, lambda _: True)
    lease = provider.acquire(wanted, 1, token="quoted", boot=BOOT)
    assert lease.usd_per_hour == wanted.usd_per_hour
    assert offer(provider).usd_per_hour == pytest.approx(2 * wanted.usd_per_hour)


# Holding and giving back


def test_listing_leases_takes_four_calls_however_many_there_are(azure: World) -> None:
    provider = azure.provider()
    for token in ("one", "two", "three"):
        provider.acquire(offer(provider), 1, token=token, boot=BOOT)
    azure.market.clock.advance(600.0)
    azure.wire.forget()
    assert {lease.state for lease in provider.leases()} == {LeaseState.READY}
    assert sum(azure.wire.counts().values()) == 4


def test_an_evicted_machine_is_gone_with_its_lease(azure: World) -> None:
    provider = azure.provider()
    lease = provider.acquire(offer(provider, billing=Billing.SPOT), 1, token="evicted", boot=BOOT)
    azure.market.clock.advance(600.0)
    (vm,) = azure.cloud.machines()
    evict(azure, vm.name)
    azure.market.clock.advance(45.0)
    assert one(provider, lease).state is LeaseState.RELEASING
    azure.market.clock.advance(60.0)
    assert provider.leases() == []
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)


def test_a_gang_that_lost_a_machine_asks_to_be_given_back(azure: World) -> None:
    provider = azure.provider()
    lease = provider.acquire(offer(provider, billing=Billing.SPOT), 2, token="maimed", boot=BOOT)
    azure.market.clock.advance(600.0)
    assert one(provider, lease).state is LeaseState.READY
    evict(azure, azure.cloud.machines()[0].name)
    azure.market.clock.advance(120.0)
    assert one(provider, lease).state is LeaseState.RELEASING
    release_fully(AzureAccount(azure), provider, lease.id)
    assert running(azure) == 0


def test_a_machine_that_switched_itself_off_is_still_billed_and_asks_to_be_given_back(azure: World) -> None:
    provider = azure.provider()
    lease = provider.acquire(offer(provider), 1, token="orphan", boot=Boot(run_id="r", lifetime_s=3600.0))
    azure.market.clock.advance(2 * 3600.0)
    assert running(azure) == 1
    assert one(provider, lease).state is LeaseState.RELEASING


def test_a_machine_that_may_delete_itself_is_gone_after_its_lifetime(azure: World) -> None:
    provider = azure.provider(end_identity=IDENTITY)
    provider.acquire(offer(provider), 1, token="orphan", boot=Boot(run_id="r", lifetime_s=3600.0))
    azure.market.clock.advance(2 * 3600.0)
    assert running(azure) == 0
    assert provider.leases() == []


def test_a_lease_that_listings_do_not_show_yet_can_be_given_back(azure: World) -> None:
    provider = azure.provider()
    fault(azure, Kind.HIDE, seconds=600.0)
    lease = provider.acquire(offer(provider), 1, token="shy", boot=BOOT)
    assert provider.leases() == []
    release_fully(AzureAccount(azure), provider, lease.id)
    assert running(azure) == 0
