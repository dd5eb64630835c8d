"""Machines tell by their tags what they were bought as."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.lease import LeaseState
from orchestrator.domain.offer import Billing, Offer, Tier
from providers.aws import records
from providers.aws.records import Machine

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OFFER = Offer(
    provider="aws",
    region="us-east-1",
    zone="us-east-1a",
    instance_type="p5.48xlarge",
    accelerator="H100-SXM",
    gpus=8.0,
    billing=Billing.ON_DEMAND,
    usd_per_hour=55.04,
    available=None,
    tier=Tier.CLOUD,
    fabric="efa",
    vcpus=192.0,
    host_memory_gib=2048.0,
    interruption_rate=None,
    boot_s=120.0,
    min_billing_s=60.0,
    observed_at=NOW,
    source="a test",
)


def machine(
    number: int = 0, *, state: str = "running", nodes: int = 1, age_s: float = 600.0, offer: Offer = OFFER
) -> Machine:
    tags = {each["Key"]: each["Value"] for each in records.tags("me", "token", offer, nodes, "run-1")}
    return Machine(
        id=f"i-{number}",
        reservation="r-0123",
        region="us-east-1",
        zone="us-east-1a",
        instance_type="p5.48xlarge",
        state=state,
        launched_at=NOW - timedelta(seconds=age_s),
        number=number,
        spot_request="sir-1" if offer.billing is Billing.SPOT else "",
        public_address=f"203.0.113.{number}" if state == "running" else "",
        private_address=f"10.0.0.{number}",
        reason="",
        tags=tags,
    )


def state(*held: Machine, warned: frozenset[str] = frozenset()) -> LeaseState:
    return records.lease(held, now=NOW, public=True, keys=None, warned=warned).state


finite = st.floats(min_value=1e-6, max_value=1e6)


@given(
    price=finite,
    gpus=finite,
    vcpus=finite,
    hazard=st.none() | st.floats(0, 1),
    word=st.text(max_size=80),
    fabric=st.sampled_from(["", "efa", "ethernet"]),
)
def test_an_offer_comes_back_from_its_tag(  # noqa: PLR0917 - given by name
    price: float, gpus: float, vcpus: float, hazard: float | None, word: str, fabric: str
) -> None:
    offer = replace(OFFER, usd_per_hour=price, gpus=gpus, vcpus=vcpus, interruption_rate=hazard, fabric=fabric)
    packed = records.packed(replace(offer, accelerator=word))
    assert len(packed) <= 256
    assert records.PLAIN.sub("", packed.replace(":", "")) == packed.replace(":", "")
    back = records.unpacked(machine(offer=offer))
    assert replace(back, source=offer.source) == offer


@pytest.mark.parametrize("tag", ["", "x", ":" * 10, "H100-SXM:8:free:1:1::1:1:0:cloud:", "a:1:1:1:1::1:1:0:moon:"])
def test_a_tag_that_somebody_changed_has_no_price(tag: str) -> None:
    seen = machine()._replace(tags={records.OFFER: tag})
    found = records.unpacked(seen)
    assert found.usd_per_hour == 0.0
    assert "changed" in found.source


@given(st.text())
def test_no_text_is_taken_for_an_id_that_is_none(text: str) -> None:
    found = records.of_id(text)
    assert found is None or records.ID.fullmatch(text)


def test_an_id_says_where_to_look_and_how_old_the_lease_is() -> None:
    first = machine()
    found = records.of_id(records.lease_id(first))
    assert found == ("us-east-1", "r-0123", first.launched_at)


@pytest.mark.parametrize("text", ["us-east-1/r-1", "us-east-1/r-1/20261320T000000Z", "us-east-1/i-1/20261120T000000Z"])
def test_an_id_of_another_form_is_none_of_ours(text: str) -> None:
    assert records.of_id(text) is None


def test_tokens_of_two_owners_and_two_generations_differ_and_have_64_characters() -> None:
    tokens = {
        records.client_token(*words)
        for words in (("a", "t", 0), ("b", "t", 0), ("a", "t", 1), ("a", "u", 0), ("at", "", 0))
    }
    assert len(tokens) == 5
    assert {len(token) for token in tokens} == {64}


def test_a_lease_is_as_its_machines_are() -> None:
    assert state(machine(state="pending")) is LeaseState.BOOTING
    assert state(machine()) is LeaseState.READY
    assert state(machine(0, nodes=2), machine(1, nodes=2, state="pending")) is LeaseState.BOOTING
    assert state(machine(state="shutting-down")) is LeaseState.RELEASING
    assert state(machine(), warned=frozenset({"i-0"})) is LeaseState.RECLAIMING
    assert state(machine(0, nodes=2), machine(1, nodes=2, state="terminated")) is LeaseState.RECLAIMING
    assert state(machine(state="stopped")) is LeaseState.RECLAIMING


def test_a_gang_that_does_not_show_whole_is_booting_while_it_is_young_and_broken_later() -> None:
    assert state(machine(0, nodes=2, age_s=10)) is LeaseState.BOOTING
    assert state(machine(0, nodes=2, age_s=600)) is LeaseState.RECLAIMING


def test_a_running_machine_without_an_address_is_not_ready() -> None:
    assert state(machine()._replace(public_address="")) is LeaseState.BOOTING


def test_a_machine_whose_number_of_nodes_was_changed_counts_itself() -> None:
    seen = machine()
    lease = records.lease(
        [seen._replace(tags={**seen.tags, records.NODES: "many"})], now=NOW, public=True, keys=None, warned=frozenset()
    )
    assert lease.nodes == 1
