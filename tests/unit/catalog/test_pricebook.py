"""The bundled price books: complete, dated, sourced, and of devices and places that we know."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from orchestrator.catalog import accelerators, exchange, places, pricebook, tables
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook

YEAR_S = 365 * 86400.0


@pytest.fixture(scope="module", params=pricebook.EDITIONS)
def edition(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def book(edition: str) -> OfferBook:
    return pricebook.load(edition)


def one(book: OfferBook, **wanted: object) -> Offer:
    found = [offer for offer in book if all(getattr(offer, name) == value for name, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_every_price_has_a_source_and_a_date_that_is_not_in_the_future_of_the_book(book: OfferBook) -> None:
    assert all(word for word in book.source.compact().vocab)
    assert (book.observed_at > 0).all()


def test_every_device_of_the_book_is_in_the_accelerator_table(book: OfferBook) -> None:
    known = {device.name for device in accelerators.load()}
    assert set(book.accelerator.compact().vocab) <= known


def test_every_region_of_the_book_has_a_place(book: OfferBook) -> None:
    known = {place.key for place in places.load()}
    assert {f"{offer.provider}/{offer.region}" for offer in book} <= known


def test_no_two_offers_of_the_book_are_the_same_offer(book: OfferBook) -> None:
    labels = [offer.label for offer in book]
    assert len(labels) == len(set(labels))


def test_every_row_of_the_file_is_an_offer_in_each_of_its_regions(edition: str, book: OfferBook) -> None:
    regions = sum(len(row["regions"].split(";")) for row in tables.rows(f"prices-{edition}.csv"))
    assert len(book) == regions


def test_prices_per_gpu_are_within_what_such_devices_have_ever_cost(book: OfferBook) -> None:
    per_gpu = book.usd_per_hour / book.gpus
    assert per_gpu.min() > 0.1
    assert per_gpu.max() < 30


def test_the_book_of_today_covers_the_devices_of_today_at_many_providers() -> None:
    book = pricebook.load()
    assert len(set(book.provider.compact().vocab)) >= 8
    devices = set(book.accelerator.compact().vocab)
    wanted = {"H100-SXM", "H100-PCIe", "H200", "B200", "GB200", "A100-80GB", "A100-40GB", "L4", "L40S", "T4", "MI300X"}
    assert wanted <= devices


def test_the_book_of_2023_holds_the_seven_clouds_and_three_devices() -> None:
    book = pricebook.load(pricebook.A16Z)
    clouds = {"aws", "azure", "oci", "gcp", "coreweave", "lambda", "fluidstack"}
    assert set(book.provider.compact().vocab) == clouds
    kinds = {offer.billing for offer in book}
    assert kinds == {Billing.ON_DEMAND, Billing.RESERVED, Billing.SPOT}
    # The spread that the article is about: "almost 4x" between the dearest and the cheapest A100 on demand.
    a100 = [o.usd_per_hour / o.gpus for o in book if "A100" in o.accelerator and o.billing is Billing.ON_DEMAND]
    assert 3.5 < max(a100) / min(a100) < 5
    assert one(book, provider="lambda", accelerator="A10").usd_per_hour == 0.60
    p4d = one(book, provider="aws", instance_type="p4d.24xlarge", billing=Billing.ON_DEMAND)
    assert p4d.usd_per_hour / p4d.gpus == pytest.approx(4.10, abs=0.005)


def test_a_reservation_is_billed_for_a_year_at_least() -> None:
    book = pricebook.load(pricebook.A16Z)
    for offer in book:
        assert (offer.min_billing_s == YEAR_S) == (offer.billing is Billing.RESERVED)


def test_prices_in_euro_become_dollars_at_the_dated_rate_and_say_so() -> None:
    rate = exchange.load()["EUR"]
    offer = one(pricebook.load(), provider="scaleway", instance_type="H100-1-80G")
    assert offer.usd_per_hour == pytest.approx(2.52 * rate.usd)
    assert f"EUR 2.52/h at {rate.usd:g} USD/EUR of {rate.as_of}" in offer.source


def test_spot_offers_carry_the_hazard_of_their_bucket_or_none_and_the_rest_none_of_the_market() -> None:
    book = pricebook.load()
    p5 = one(book, provider="aws", instance_type="p5.48xlarge", billing=Billing.SPOT)
    assert p5.interruption_rate == pytest.approx(-np.log(0.75) / 730)
    assert one(book, provider="nebius", billing=Billing.SPOT).interruption_rate is None
    assert {o.interruption_rate for o in book if o.billing is Billing.ON_DEMAND} == {0.0}


def test_fabrics_boot_times_and_billing_grains_are_those_of_the_provider() -> None:
    book = pricebook.load()
    p5 = one(book, region="us-west-2", instance_type="p5.48xlarge")
    assert (p5.fabric, p5.boot_s, p5.min_billing_s) == ("efa", 120.0, 60.0)
    nodes = one(book, region="RNO2", instance_type="gd-8xh100ib-i128", billing=Billing.ON_DEMAND)
    assert (nodes.fabric, nodes.boot_s) == ("infiniband", 1500.0)
    assert one(book, region="eastus", instance_type="Standard_ND96isr_H100_v5").fabric == "infiniband"
    assert one(book, region="us-east-1", instance_type="g4dn.xlarge", billing=Billing.ON_DEMAND).fabric == "ethernet"


def test_an_unknown_edition_is_refused_by_name_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'tomorrow'.*current, a16z-2023-04-07"):
        pricebook.load("tomorrow")


def test_every_data_file_has_as_many_fields_in_each_row_as_in_its_header() -> None:
    for path in tables.FOLDER.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            widths = {len(row) for row in csv.reader(stream, strict=True)}
        assert len(widths) == 1, path.name
