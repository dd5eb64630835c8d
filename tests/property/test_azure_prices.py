"""Whatever Azure's lists hold, no offer has a price or number of GPUs that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kit.documents import Document
from orchestrator.kit.facts import Facts
from orchestrator.kit.money import Rates
from orchestrator.testing.accounts import assert_sane
from providers.azure import retail, translate
from providers.azure.translate import Gaps

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SIZES = (
    "Standard_ND96isr_H100_v5",
    "Standard_NV6ads_A10_v5",
    "Standard_ND9_X1_v9",
    "Standard_NC8lds_xl_RTXPRO6000BSE_v6",
)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 200), st.floats(), st.text(max_size=6), st.just([]), st.just({})
)


def field(*usual: object) -> st.SearchStrategy[object]:
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual), JUNK)


ROWS = st.fixed_dictionaries(
    {
        "currencyCode": field("USD", "EUR"),
        "tierMinimumUnits": field(0.0, 10.0),
        "retailPrice": st.one_of(st.floats(), st.sampled_from((0.0, -1.0, 1.0, "2.5")), JUNK),
        "armRegionName": field("eastus", "EastUS"),
        "effectiveStartDate": field("2025-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2025-01-01"),
        "meterName": field("x", "x Low Priority"),
        "productName": field("Virtual Machines", "Virtual Machines Windows"),
        "skuName": field("x", "x Spot", "x Low Priority"),
        "unitOfMeasure": field("1 Hour"),
        "type": field("Consumption"),
        "isPrimaryMeterRegion": field(True, False),
        "armSkuName": field(*SIZES),
    }
)
CAPABILITIES = st.lists(
    st.fixed_dictionaries(
        {
            "name": field("vCPUs", "MemoryGB", "GPUs", "LowPriorityCapable"),
            "value": field("True", "1", "96", "0", "-4", "1900", "nan", "inf", "many"),
        }
    ),
    max_size=5,
)
SKUS = st.fixed_dictionaries(
    {
        "resourceType": st.just("virtualMachines"),
        "name": st.sampled_from(SIZES),
        "family": field("standardNDSH100v5Family"),
        "locationInfo": st.one_of(st.just([{"location": "eastus", "zones": ["1"]}]), JUNK),
        "capabilities": CAPABILITIES,
        "restrictions": st.one_of(st.just([]), st.just([{"type": "Zone", "values": ["eastus"]}]), JUNK),
    }
)


@given(st.lists(SKUS, max_size=4), st.lists(ROWS, max_size=8), st.booleans())
def test_no_offer_has_a_price_or_a_number_that_cannot_be(
    skus: list[dict[str, object]], rows: list[dict[str, object]], zonal: bool
) -> None:
    gaps = Gaps()
    shapes = translate.shapes([Document(sku, "sku") for sku in skus], "eastus", gaps)
    items = [Document(row, "price") for row in rows]
    prices = retail.prices(items, "eastus", currency="USD", rates=Rates(), now=NOW)
    stated = {_number(row["retailPrice"]) for row in rows}
    for offer in translate.offers(shapes, prices.prices, {}, facts=Facts("azure"), zonal=zonal, now=NOW, gaps=gaps):
        assert_sane(offer)
        assert offer.usd_per_hour in stated


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
