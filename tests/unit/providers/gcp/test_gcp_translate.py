"""Google's machines, quotas and machine types in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.lease import LeaseState
from orchestrator.domain.offer import Billing
from orchestrator.kit.facts import Facts
from orchestrator.testing import builders
from providers.gcp import names
from providers.gcp.prices import PriceList, Sku
from providers.gcp.rows import Instance, Quota
from providers.gcp.shapes import MachineType, Shape, is_sold, shapes, wanted
from providers.gcp.translate import Market, Quotas, held, offer_of, offer_text, offers

NOW = datetime(2026, 11, 1, tzinfo=UTC)
STEM = names.stem("owner", "token")


def instance(
    number: int = 0, *, nodes: int = 1, status: str = "RUNNING", first: str = "", **fields: object
) -> Instance:
    labels = {
        "isoflop-owner": "owner",
        "isoflop-token": "token",
        names.NODES: str(nodes),
        names.NUMBER: str(number),
        **({names.LEASE: first} if first else {}),
    }
    row: dict[str, object] = {
        "zone": "us-central1-a",
        "name": names.node(STEM, number),
        "number": str(1000 + number),
        "status": status,
        "created": NOW,
        "spot": True,
        "labels": labels,
        "metadata": {"isoflop-token": "token", "isoflop-owner": "owner", names.OFFER: offer_text(builders.offer())},
        "address": f"10.0.0.{number}",
        **fields,
    }
    return Instance(**row)  # type: ignore[arg-type]


def gang(*statuses: str, nodes: int | None = None) -> list[Instance]:
    size = len(statuses) if nodes is None else nodes
    return [
        instance(number, nodes=size, status=status, first="1000" if number else "")
        for number, status in enumerate(statuses)
    ]


# Machine types


def machine(name: str, accelerator: str = "", cards: int = 0, cpus: int = 4) -> MachineType:
    return MachineType("us-central1-a", name, cpus, 15360, accelerator, cards, 0)


def test_n1_machines_are_offered_with_the_gpus_that_their_zone_has() -> None:
    machines = [machine("n1-standard-4"), machine("n1-standard-8"), machine("n1-standard-2")]
    found = shapes(machines, {"us-central1-a": frozenset({"nvidia-tesla-t4", "nvidia-l4"}), "mars": frozenset()})
    assert [shape.name for shape in found] == ["n1-standard-4+t4", "n1-standard-8+2xt4"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("n1-standard-4+t4", ("n1-standard-4", "nvidia-tesla-t4", 1)),
        ("n1-standard-64+8xv100", ("n1-standard-64", "nvidia-tesla-v100", 8)),
        ("a2-highgpu-1g", ("a2-highgpu-1g", "", 0)),
    ],
)
def test_an_instance_type_says_what_to_ask_google_for(name: str, expected: tuple[str, str, int]) -> None:
    assert wanted(name) == expected


@pytest.mark.parametrize(
    ("name", "on_demand", "spot"),
    [
        ("a3-highgpu-8g", True, True),
        ("a3-highgpu-4g", False, True),
        ("a3-megagpu-8g", True, True),
        ("a3-ultragpu-8g", False, True),
        ("a4-highgpu-8g", False, True),
        ("a4x-highgpu-4g", False, False),
        ("g2-standard-4", True, True),
    ],
)
def test_what_takes_a_reservation_is_not_offered(name: str, on_demand: bool, spot: bool) -> None:
    assert (is_sold(name, spot=False), is_sold(name, spot=True)) == (on_demand, spot)


def market(sold: list[Shape], skus: list[Sku]) -> Market:
    return Market(sold, PriceList(skus), Quotas([]), [], NOW)


def test_machines_without_a_price_are_told_with_examples_and_not_offered() -> None:
    sold = [Shape(machine(f"g2-standard-{cpus}", "nvidia-l4", 1, cpus), "nvidia-l4", 1, False) for cpus in (4, 8, 12)]
    found, gaps = offers(market(sold, []), Facts("gcp"))
    assert found == []
    assert gaps == [
        "no price of its vCPUs: us-central1 g2-standard-12 on-demand, us-central1 g2-standard-12 spot, "
        "us-central1 g2-standard-4 on-demand and 3 more"
    ]


def test_a_device_that_nobody_knows_keeps_googles_word_and_is_told() -> None:
    def row(what: str, unit: str) -> Sku:
        return Sku(f"G2 Instance {what} running in Iowa", "OnDemand", ("us-central1",), unit, "USD", 10**7)

    sold = [Shape(machine("g2-standard-4", "nvidia-x900", 1), "nvidia-x900", 1, False)]
    _, gaps = offers(market(sold, [row("Core", "h"), row("Ram", "GiBy.h")]), Facts("gcp"))
    assert "nvidia-x900: no device that is known here" in gaps


def test_virtual_workstations_are_not_offered() -> None:
    sold = [Shape(machine("n1-standard-4"), "nvidia-tesla-t4-vws", 1, True)]
    assert offers(market(sold, []), Facts("gcp")) == ([], [])


# Quotas


def nodes(rows: Mapping[tuple[str, str], float], accelerator: str, cards: int, *, spot: bool) -> int | None:
    quotas = Quotas([Quota(metric, region, limit, 0.0) for (metric, region), limit in rows.items()])
    return quotas.nodes(Shape(machine("x"), accelerator, cards, False), spot=spot)


HERE = "us-central1"


@pytest.mark.parametrize(
    ("rows", "spot", "expected"),
    [
        ({("NVIDIA_L4_GPUS", HERE): 9.0}, False, 4),
        ({("NVIDIA_L4_GPUS", HERE): 9.0}, True, 4),
        ({("NVIDIA_L4_GPUS", HERE): 9.0, ("PREEMPTIBLE_NVIDIA_L4_GPUS", HERE): 2.0}, True, 1),
        ({("NVIDIA_L4_GPUS", HERE): 9.0, ("GPUS_ALL_REGIONS", ""): 5.0}, False, 2),
        ({("NVIDIA_L4_GPUS", "europe-west4"): 9.0}, False, None),
        ({}, False, None),
    ],
)
def test_the_tightest_limit_counts(rows: Mapping[tuple[str, str], float], spot: bool, expected: int | None) -> None:
    assert nodes(rows, "nvidia-l4", 2, spot=spot) == expected


def test_a_limit_that_is_overdrawn_leaves_nothing() -> None:
    quotas = Quotas([Quota("NVIDIA_L4_GPUS", HERE, 1.0, 3.0)])
    assert quotas.nodes(Shape(machine("x"), "nvidia-l4", 1, False), spot=False) == 0


def test_h100_has_no_limit_in_this_api_on_demand() -> None:
    assert nodes({("GPUS_ALL_REGIONS", ""): 0.0}, "nvidia-h100-80gb", 8, spot=False) is None


# Leases


def test_machines_of_one_purchase_are_one_lease() -> None:
    (found,) = held(reversed(gang("RUNNING", "RUNNING")))
    assert (str(found.id), found.token, found.owner) == (f"us-central1-a/{STEM}/2/1000", "token", "owner")
    assert [one.address for one in found.instances] == ["10.0.0.0", "10.0.0.1"]
    assert found.offer == builders.offer()
    assert names.LeaseId.parse(str(found.id)) == found.id


@pytest.mark.parametrize(
    ("statuses", "missing", "state"),
    [
        (("RUNNING", "RUNNING"), 0, LeaseState.READY),
        (("RUNNING", "STAGING"), 0, LeaseState.BOOTING),
        (("PROVISIONING",), 1, LeaseState.BOOTING),  # another is on its way
        (("STOPPING", "RUNNING"), 0, LeaseState.RELEASING),
        (("TERMINATED", "RUNNING"), 0, LeaseState.RECLAIMING),  # switched off: of no use, and its disk is billed
    ],
)
def test_a_lease_stands_as_the_worst_of_its_machines(
    statuses: tuple[str, ...], missing: int, state: LeaseState
) -> None:
    (found,) = held(gang(*statuses, nodes=len(statuses) + missing))
    assert found.state({}, NOW + timedelta(seconds=60)) is state


def test_a_gang_that_is_not_whole_after_a_quarter_of_an_hour_is_lost() -> None:
    (found,) = held(gang("RUNNING", nodes=2))
    assert found.lost_at({}, NOW + timedelta(seconds=600)) is None
    later = NOW + timedelta(seconds=1200)
    assert found.lost_at({}, later) == later


def test_a_machine_that_google_takes_back_is_lost_thirty_seconds_later() -> None:
    (found,) = held(gang("RUNNING", "STOPPING"))
    assert found.lost_at({"1001": NOW}, NOW) == NOW + timedelta(seconds=30)
    assert found.state({"1001": NOW}, NOW) is LeaseState.RECLAIMING


def test_a_machine_whose_metadata_was_changed_is_still_held_and_its_price_is_said_to_be_unknown() -> None:
    (found,) = held([instance(metadata={})])
    assert (found.token, found.owner) == ("token", "owner")
    assert found.offer.source.startswith("unknown")


def test_labels_that_somebody_changed_do_no_harm() -> None:
    labels = {"isoflop-owner": "owner", names.NODES: "many", names.NUMBER: "first", names.LEASE: "x"}
    (found,) = held([instance(labels=labels)])
    assert found.id.nodes == 1
    assert found.is_whole


def test_an_offer_survives_its_way_through_metadata() -> None:
    offer = replace(builders.offer(), quota_nodes=3, obtainability=0.5, billing=Billing.SPOT)
    assert offer_of(offer_text(offer)) == offer


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"observed_at": 3}'])
def test_what_is_no_offer_is_none(text: str) -> None:
    assert offer_of(text) is None


# Names


@pytest.mark.parametrize("word", ["run-1_2", "0"])
def test_a_plain_word_is_its_own_label(word: str) -> None:
    assert names.label(word) == word


@pytest.mark.parametrize("word", ["Run", "a b", "ünïcode", "x" * 64, "", "h-0"])
def test_any_other_word_has_a_label_of_its_own(word: str) -> None:
    label = names.label(word)
    assert names.LABEL.fullmatch(label)
    assert label != names.label(word + "?")


@pytest.mark.parametrize("text", ["", "no-such-lease", "z/isoflop-0/1/2", f"z/{STEM}/x/2", f"z/{STEM}/1"])
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert names.LeaseId.parse(text) is None


def test_request_ids_are_decided_by_their_words_alone() -> None:
    assert names.request_id("a", 1) == names.request_id("a", 1)
    assert len({names.request_id("a", "b"), names.request_id("ab"), names.request_id("a", "b", 0)}) == 3
