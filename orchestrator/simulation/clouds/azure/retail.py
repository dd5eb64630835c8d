"""The price list of the simulated Azure (Retail Prices API), with all that it mixes in beside plain machines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from orchestrator.catalog import exchange
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.azure.arm import reply
from orchestrator.simulation.clouds.azure.catalogue import Catalogue
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Pool
from orchestrator.simulation.clouds.wire import Reply, Request

PAGE = 100
EQUALS = re.compile(r"(\w+) eq '([^']*)'")
CONTAINS = re.compile(r"contains\((\w+), *'([^']*)'\)")
WINDOWS, LOW_PRIORITY = 1.46, 0.2  # of the price on demand


class Retail:
    """Rows for every pool of the market, page by page."""

    def __init__(self, market: Market, catalogue: Catalogue) -> None:
        self._market, self._catalogue, self._rates = market, catalogue, exchange.load()

    def answer(self, request: Request) -> Reply:
        """`GET /api/retail/prices`."""
        query = request.param("$filter")
        equal, within = dict(EQUALS.findall(query)), CONTAINS.findall(query)
        rest = CONTAINS.sub("", EQUALS.sub("", query)).replace(" and ", " ").strip()
        if rest:
            return reply(
                {"Error": {"Code": "BadRequest", "Message": f"Invalid OData parameters supplied: {rest}"}}, 400
            )
        currency = request.param("currencyCode", "USD").strip("'")
        if currency not in self._rates:
            return reply({"Error": {"Code": "BadRequest", "Message": f"Unknown currency {currency}"}}, 400)
        region = equal.get("armRegionName", "")
        rows = [
            row
            for row in self._rows(region, currency)
            if all(row.get("type" if name == "priceType" else name) == value for name, value in equal.items())
            and all(value in str(row.get(name)) for name, value in within)
        ]
        return self._page(request, rows, currency)

    def _page(self, request: Request, rows: list[dict[str, object]], currency: str) -> Reply:
        start = int(request.param("$skip", "0"))
        shown = rows[start : start + PAGE]
        following = None
        if start + PAGE < len(rows):
            query = "&".join(f"{name}={quote(value)}" for name, value in request.query if name != "$skip")
            following = f"{request.base_url}{request.raw_path}?{query}&$skip={start + PAGE}"
        body = {
            "BillingCurrency": currency,
            "CustomerEntityId": "Default",
            "CustomerEntityType": "Retail",
            "Items": shown,
            "NextPageLink": following,
            "Count": len(shown),
        }
        return reply(body)

    def _rows(self, region: str, currency: str) -> Iterator[dict[str, object]]:
        for pool in self._catalogue.sold_in(region):
            price = self._market.price(pool.key) / self._rates[currency].usd
            if pool.key.billing is Billing.SPOT:
                yield _row(pool, price, currency, suffix=" Spot")
                continue
            yield _row(pool, price, currency)
            yield _row(pool, price * WINDOWS, currency, product=" Windows")
            yield _row(pool, price * LOW_PRIORITY, currency, suffix=" Low Priority")
            yield _row(pool, price * 1.1, currency, product=" CloudServices")


def _row(pool: Pool, price: float, currency: str, *, suffix: str = "", product: str = "") -> dict[str, object]:
    size, short = pool.key.instance_type, pool.key.instance_type.removeprefix("Standard_").replace("_", " ")
    series = re.sub(r"\d+", "", short.partition(" ")[0])
    return {
        "currencyCode": currency,
        "tierMinimumUnits": 0.0,
        "retailPrice": round(price, 6),
        "unitPrice": round(price, 6),
        "armRegionName": pool.key.region,
        "location": pool.key.region,
        "effectiveStartDate": "2025-01-01T00:00:00Z",
        "meterName": f"{short}{suffix}",
        "productName": f"Virtual Machines {series} Series{product}",
        "skuName": f"{short}{suffix}",
        "serviceName": "Virtual Machines",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": size,
    }
