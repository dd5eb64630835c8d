"""Azure's SKU rows, quotas and price rows into offers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.domain.offer import Billing
from orchestrator.kit.documents import Document
from orchestrator.kit.facts import Facts
from orchestrator.kit.money import Rates
from providers.azure import retail, translate
from providers.azure.retail import PriceList
from providers.azure.translate import Cores, Gaps, Shape

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
H100 = "Standard_ND96isr_H100_v5"


def sku(**changes: Any) -> Document:
    stated = {"vCPUs": "96", "MemoryGB": "1900", "GPUs": "8", "LowPriorityCapable": "True"}
    row = {
        "resourceType": "virtualMachines",
        "name": H100,
        "family": "standardNDSH100v5Family",
        "locations": ["EastUS"],
        "locationInfo": [{"location": "EastUS", "zones": ["3", "1", "2"]}],
        "capabilities": [{"name": name, "value": value} for name, value in stated.items()],
        "restrictions": [],
        **changes,
    }
    return Document(row, "sku")


def shape(row: Document) -> tuple[Shape | None, tuple[str, ...]]:
    gaps = Gaps()
    found = translate.shapes([row], "eastus", gaps)
    return (found[0] if found else None), gaps.told()


def restriction(kind: str, *, places: tuple[str, ...] = ("EastUS",), zones: tuple[str, ...] = ()) -> dict[str, Any]:
    info = {"locations": list(places), "zones": list(zones)}
    return {"type": kind, "values": list(places), "restrictionInfo": info, "reasonCode": "NotAvailableForSubscription"}


def item(**changes: Any) -> Document:
    row = {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": 98.32,
        "armRegionName": "eastus",
        "effectiveStartDate": "2025-01-01T00:00:00Z",
        "meterName": "ND96isr H100 v5",
        "productName": "Virtual Machines NDSRH100v5 Series",
        "skuName": "ND96isr H100 v5",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": H100,
        **changes,
    }
    return Document(row, "price")


def prices(*items: Document, currency: str = "USD") -> PriceList:
    return retail.prices(items, "eastus", currency=currency, rates=Rates(), now=NOW)


# Sizes


def test_a_size_says_what_it_is_and_in_which_zones() -> None:
    found, gaps = shape(sku())
    assert found is not None
    assert (found.gpus.accelerator, found.gpus.number, found.vcpus, found.memory_gib) == ("H100-SXM", 8, 96, 1900)
    assert (found.zones, found.spot, found.family, gaps) == (("1", "2", "3"), True, "standardndsh100v5family", ())


def test_a_region_that_is_barred_is_not_sold_and_told() -> None:
    found, gaps = shape(sku(restrictions=[restriction("Location")]))
    assert found is None
    assert gaps == (f"1 sizes that this subscription may not deploy in eastus: {H100}",)


def test_a_restriction_of_another_region_bars_nothing() -> None:
    found, _ = shape(sku(restrictions=[restriction("Location", places=("WestUS",))]))
    assert found is not None


def test_barred_zones_are_barred_alone() -> None:
    found, _ = shape(sku(restrictions=[restriction("Zone", zones=("1", "3"))]))
    assert found is not None
    assert found.zones == ("2",)


def test_a_size_whose_zones_are_all_barred_is_sold_in_none_of_them() -> None:
    found, _ = shape(sku(restrictions=[restriction("Zone", zones=("1", "2", "3"))]))
    assert found is not None
    assert found.zones == ()


def test_a_region_without_zones_is_a_place_by_itself() -> None:
    found, _ = shape(sku(locationInfo=[{"location": "eastus", "zones": []}]))
    assert found is not None
    assert found.zones == ("",)


@pytest.mark.parametrize("broken", [{"capabilities": "none"}, {"locationInfo": [3]}, {"restrictions": {"type": 1}}])
def test_a_row_that_cannot_be_read_is_a_gap(broken: dict[str, Any]) -> None:
    found, gaps = shape(sku(**broken))
    assert found is None
    assert gaps[0].startswith(f"1 sizes that cannot be read: {H100}")


# Quotas


def test_families_are_the_same_however_they_are_spelt() -> None:
    assert translate.plain("Standard NCASv3_T4 Family") == translate.plain("StandardNCASv3_T4Family")


def test_the_tightest_quota_counts_and_spot_has_its_own() -> None:
    found, _ = shape(sku())
    assert found is not None
    limits = {"standardndsh100v5family": Cores(400, 100), "cores": Cores(1000, 700), "lowprioritycores": Cores(95, 0)}
    assert translate.quota_nodes(found, limits, Billing.ON_DEMAND) == 3
    assert translate.quota_nodes(found, {**limits, "cores": Cores(350, 200)}, Billing.ON_DEMAND) == 1
    assert translate.quota_nodes(found, limits, Billing.SPOT) == 0
    assert translate.quota_nodes(found, {}, Billing.SPOT) is None


def test_a_quota_that_is_overdrawn_allows_none() -> None:
    assert Cores(10, 50).nodes(4) == 0


def test_quota_rows_without_numbers_are_left_out() -> None:
    good = {"name": {"value": "cores"}, "limit": 10, "currentValue": 2}
    rows = [Document(row, "usage") for row in (good, {"name": {"value": "x"}}, {"limit": 1, "currentValue": 0})]
    assert translate.quotas(rows) == {"cores": Cores(10.0, 2.0)}


# Prices


def test_spot_is_what_the_sku_says_and_nothing_else_is() -> None:
    spot = item(skuName="ND96isr H100 v5 Spot", meterName="ND96isr H100 v5 Spot", retailPrice=30.0)
    found = prices(item(), spot).prices
    assert {billing: price.usd_per_hour for (_, billing), price in found.items()} == {
        Billing.ON_DEMAND: 98.32,
        Billing.SPOT: 30.0,
    }


@pytest.mark.parametrize(
    "other",
    [
        {"productName": "Virtual Machines NDSRH100v5 Series Windows"},
        {"productName": "Virtual Machines NCads H100 v5 Series Win"},
        {"productName": "NC Series Cloud Services"},
        {"productName": "NCsv3 Series Dedicated Host"},
        {"skuName": "ND96isr H100 v5 Low Priority"},
        {"meterName": "ND96isr H100 v5 Low Priority"},
        {"type": "Reservation"},
        {"type": "DevTestConsumption"},
        {"armRegionName": "westus"},
        {"unitOfMeasure": "1/Month"},
        {"tierMinimumUnits": 100.0},
        {"effectiveStartDate": "2027-01-01T00:00:00Z"},
    ],
)
def test_a_row_that_prices_something_else_is_no_price(other: dict[str, Any]) -> None:
    assert prices(item(retailPrice=1.0, **other)) == PriceList({}, ())


@pytest.mark.parametrize("price", [0, 0.0, -3.5, "free", None, float("nan"), True])
def test_a_price_that_cannot_be_is_a_gap(price: object) -> None:
    found = prices(item(retailPrice=price))
    assert found.prices == {}
    assert len(found.gaps) == 1


def test_of_two_prices_the_newest_in_force_counts() -> None:
    old = item(retailPrice=120.0, effectiveStartDate="2023-05-01T00:00:00Z")
    (price,) = prices(old, item()).prices.values()
    assert price.usd_per_hour == 98.32


def test_two_prices_that_contradict_each_other_are_a_gap() -> None:
    found = prices(item(), item(retailPrice=50.0))
    assert found.prices == {}
    assert "contradictory" in found.gaps[0]


def test_the_primary_meter_goes_before_another() -> None:
    (price,) = prices(item(), item(retailPrice=50.0, isPrimaryMeterRegion=False)).prices.values()
    assert price.usd_per_hour == 98.32


def test_another_currency_is_converted_by_a_dated_rate_and_marked() -> None:
    (price,) = prices(item(currencyCode="EUR", retailPrice=10.0), currency="EUR").prices.values()
    assert price.usd_per_hour > 10.0
    assert "EUR 10/h at" in price.source


def test_a_currency_without_a_rate_is_a_gap_and_never_taken_for_dollars() -> None:
    found = prices(item(currencyCode="XAU"), currency="XAU")
    assert found.prices == {}
    assert "without a rate" in found.gaps[0]


def test_a_row_in_a_currency_that_was_not_asked_for_is_a_gap() -> None:
    found = prices(item(currencyCode="INR"))
    assert found.prices == {}
    assert "INR" in found.gaps[0]


# Offers


def offered(row: Document, *items: Document, zonal: bool = False) -> tuple[list[Any], tuple[str, ...]]:
    gaps = Gaps()
    sizes = translate.shapes([row], "eastus", gaps)
    found = translate.offers(sizes, prices(*items).prices, {}, facts=Facts("azure"), zonal=zonal, now=NOW, gaps=gaps)
    return list(found), gaps.told()


def test_a_size_without_a_price_is_left_out_and_told() -> None:
    found, gaps = offered(sku())
    assert found == []
    assert gaps == (f"1 sizes without a price in eastus: {H100}",)


def test_a_size_that_has_no_spot_is_not_offered_as_spot_whatever_the_price_list_says() -> None:
    spot = item(skuName="x Spot", retailPrice=30.0)
    row = sku(capabilities=[{"name": "vCPUs", "value": "96"}, {"name": "LowPriorityCapable", "value": "False"}])
    found, _ = offered(row, item(), spot)
    assert [offer.billing for offer in found] == [Billing.ON_DEMAND]


def test_zone_by_zone_there_is_an_offer_for_each_that_is_not_barred() -> None:
    row = sku(restrictions=[restriction("Zone", zones=("2",))])
    assert [offer.zone for offer in offered(row, item(), zonal=True)[0]] == ["1", "3"]
    assert [offer.zone for offer in offered(row, item())[0]] == [""]


def test_stock_is_never_told() -> None:
    (offer,), _ = offered(sku(), item())
    assert offer.available is None
    assert offer.fabric == "infiniband"


def test_gaps_count_and_give_examples() -> None:
    gaps = Gaps()
    for name in ("a", "b", "c", "d", "a"):
        gaps.add("sizes without a price", name)
    assert gaps.told() == ("4 sizes without a price: a, b, c, ...",)
