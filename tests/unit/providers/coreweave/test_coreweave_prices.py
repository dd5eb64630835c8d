"""Rates of the settings and list prices: which counts where, and what has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import (
    AuthError,
    ConfigError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    TransientError,
)
from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit import listprices
from orchestrator.testing import builders
from providers.coreweave.kube import Refused, Taken, explain
from providers.coreweave.pricing import PriceList
from providers.coreweave.settings import CoreWeaveSettings, Rate

NOW = datetime(2026, 11, 22, tzinfo=UTC)
H100 = "gd-8xh100ib-i128"


def listed(instance_type: str = H100, billing: Billing = Billing.ON_DEMAND, region: str = "US-EAST-01") -> Offer:
    return replace(
        builders.offer(),
        provider="coreweave",
        region=region,
        zone="",
        instance_type=instance_type,
        billing=billing,
        usd_per_hour=49.24,
        source="price page",
    )


def prices(offers: list[Offer]) -> dict[tuple[str, str], float]:
    return {(offer.instance_type, offer.billing.value): offer.usd_per_hour for offer in offers}


def test_a_list_price_is_for_north_america_and_where_the_book_names_it() -> None:
    book = PriceList([listed(), listed(region="EU-SOUTH-03")], ())
    for zone in ("US-WEST-09B", "CA-EAST-01A", "RNO2A", "EU-SOUTH-03B"):
        found, unknown = book.offers(zone, NOW)
        assert prices(found) == {(H100, "on-demand"): 49.24}
        assert (found[0].zone, found[0].available, unknown) == (zone, None, [])
    found, unknown = book.offers("EU-NORTH-01A", NOW)
    assert (found, unknown) == ([], [H100])


def test_a_rate_goes_before_the_list_and_the_first_before_the_next() -> None:
    rates = (
        Rate(instance_type=H100, zone="US-*", usd_per_hour=30.0),
        Rate(instance_type=H100, zone="*", usd_per_hour=35.0),
        Rate(instance_type=H100, zone="*", billing=Billing.RESERVED, usd_per_hour=25.0),
    )
    book = PriceList([listed()], rates)
    found, _ = book.offers("US-EAST-04A", NOW)
    assert prices(found) == {(H100, "on-demand"): 30.0, (H100, "reserved"): 25.0}
    assert {offer.source for offer in found} == {"rate of the settings"}
    assert prices(book.offers("EU-NORTH-01A", NOW)[0])[H100, "on-demand"] == 35.0


def test_a_rate_for_a_type_that_nobody_knows_needs_its_facts() -> None:
    bare = Rate(instance_type="vr-8x", usd_per_hour=99.0)
    assert PriceList([], (bare,)).offers("US-EAST-04A", NOW) == ([], ["vr-8x"])
    full = replace(bare, accelerator="NVIDIA H200", gpus=8.0, vcpus=128.0, host_memory_gib=2048.0)
    (offer,), unknown = PriceList([], (full,)).offers("US-EAST-04A", NOW)
    assert (offer.accelerator, offer.gpus, offer.usd_per_hour, unknown) == ("H200", 8.0, 99.0, [])


def test_the_bundled_list_has_a_source_and_a_day_for_every_price() -> None:
    book = listprices.of("coreweave")
    assert len(book) > 10
    assert all(offer.source and offer.observed_at < NOW for offer in book)
    found, _ = PriceList(book, ()).offers("US-EAST-04A", NOW)
    assert prices(found)[H100, "on-demand"] == 49.24


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        ({"instance_type": H100}, "above 0"),
        ({"instance_type": H100, "usd_per_hour": -3}, "above 0"),
        ({"usd_per_hour": 3}, "instance_type"),
        ({"instance_type": H100, "usd_per_hour": 3, "billing": "owned"}, "billing"),
        ({"instance_type": H100, "usd_per_hours": 3}, "did you mean"),
        (7, "a table"),
    ],
)
def test_a_rate_that_cannot_be_is_refused_by_name(rate: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(CoreWeaveSettings, {"rates": [rate]}, where="providers.coreweave")


@pytest.mark.parametrize(
    ("table", "told"),
    [({"rates": 7}, "list of tables"), ({"clusters": "one"}, "list of texts"), ({"decide_s": 0}, "decide_s")],
)
def test_a_setting_that_cannot_be_is_refused_by_name(table: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(CoreWeaveSettings, table, where="providers.coreweave")


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (401, "Unauthorized", AuthError),
        (403, "nodepools is forbidden", AuthError),
        (403, "admission webhook denied the request: quota exceeded", QuotaError),
        (404, "not found", LeaseNotFound),
        (409, "already exists", Taken),
        (422, "is invalid", Refused),
        (400, "unrecognized", Refused),
        (429, "try again later", TransientError),
        (500, "internal", TransientError),
        (503, "unavailable", TransientError),
    ],
)
def test_a_status_of_kubernetes_is_an_error(code: int, message: str, kind: type[ProviderError]) -> None:
    assert type(explain(code, {"kind": "Status", "message": message}, 7.0)) is kind


def test_a_proxys_404_says_nothing_about_an_object() -> None:
    assert type(explain(404, {}, None)) is TransientError


def test_the_servers_wish_to_wait_is_kept() -> None:
    error = explain(429, {"kind": "Status"}, 7.0)
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 7.0
