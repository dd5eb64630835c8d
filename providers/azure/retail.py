"""Azure's price list (Retail Prices API), which anybody may read without an account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.offer import Billing
from orchestrator.kit.documents import Document, Malformed, readable
from orchestrator.kit.money import Rates
from orchestrator.kit.paging import pages
from orchestrator.kit.rest import Rest
from providers.azure.settings import NAME

PATH = "/api/retail/prices"
VERSION = "2023-01-01-preview"
HOUR = "1 Hour"
# Rows that price something else than a plain Linux machine by the hour.
_OTHER_PRODUCTS = ("Windows", "Cloud Services", "CloudServices", "Dedicated")
_MOST_PAGES = 200  # of one region's GPU machines: a handful


class Price(NamedTuple):
    """USD per hour of one machine, and where that was read."""

    usd_per_hour: float
    source: str
    size: str  # as Azure spells it


class PriceList(NamedTuple):
    """Prices of one region by (size in lower case, billing), and what had to be left out."""

    prices: Mapping[tuple[str, Billing], Price]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    size: str
    billing: Billing
    price: float
    primary: bool
    since: datetime


class Retail:
    """Reads the price list region by region. No subscription and no credential is needed."""

    def __init__(self, *, url: str, clock: Clock, currency: str = "USD", ca_file: str = "") -> None:
        self._url, self._clock, self._currency, self._ca_file = url, clock, currency, ca_file
        self._rates = Rates()

    @contextmanager
    def reading(self) -> Iterator[Callable[[str], PriceList]]:
        """A function that gives the prices of every size with GPUs in a region; safe between threads.

        Raises: TransientError; AuthError where a proxy refuses.
        """
        rest = Rest(NAME, self._url, authorise=dict, explain=_explain, clock=self._clock, ca_file=self._ca_file)
        with closing(rest):
            yield lambda region: self._region(rest, region)

    def _region(self, rest: Rest, region: str) -> PriceList:
        query = (
            f"serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq '{region}'"
            " and contains(armSkuName, 'Standard_N')"
        )
        first = {"api-version": VERSION, "currencyCode": f"'{self._currency}'", "$filter": query}
        items: list[Document] = []

        def page(mark: str) -> Document:
            return _page(rest.read(PATH, dict(parse_qsl(urlsplit(mark).query)) if mark else first).body, region)

        for found in pages(NAME, page, lambda one: one.text("NextPageLink", ""), most=_MOST_PAGES):
            items += found.each("Items")
        return prices(items, region, currency=self._currency, rates=self._rates, now=self._clock.now())


def prices(items: Iterable[Document], region: str, *, currency: str, rates: Rates, now: datetime) -> PriceList:
    """Prices in US dollars out of the rows of a region; what is bad, contradictory or without a rate is a gap."""
    rows: dict[tuple[str, Billing], list[_Row]] = {}
    bad: list[str] = []
    for item in items:
        try:
            row = _row(item, region, currency)
        except (Malformed, ValueError) as error:
            bad.append(str(error))
            continue
        if row is not None and row.since <= now:
            rows.setdefault((row.size.lower(), row.billing), []).append(row)
    found: dict[tuple[str, Billing], Price] = {}
    unclear: list[str] = []
    for key, alike in rows.items():
        price = _agreed(alike)
        told = None if price is None else rates.usd(price, currency)
        if told is None:
            unclear.append(f"{key[0]} {key[1].value}")
            continue
        note = f" ({told.note})" if told.note else ""
        found[key] = Price(told.usd, f"Azure Retail Prices, {now.astimezone(UTC):%Y-%m-%d}{note}", alike[0].size)
    gaps = [f"{region}: {len(bad)} rows of the price list left out: {bad[0]}"] if bad else []
    if unclear:
        words = "prices left out, contradictory or in a currency without a rate"
        gaps.append(f"{region}: {len(unclear)} {words}: {', '.join(unclear[:3])}")
    return PriceList(found, tuple(gaps))


def _page(body: object, region: str) -> Document:
    with readable(NAME, f"the price list of {region}"):
        page = Document(body, "price list")
        if "Items" not in page:
            raise Malformed("price list.Items is missing")
        list(page.each("Items"))
    return page


def _row(item: Document, region: str, currency: str) -> _Row | None:
    """One row as ours; None where it prices something else. Raises: Malformed, ValueError."""
    sku, product = item.text("skuName", ""), item.text("productName", "")
    if item.text("type", "") != "Consumption" or item.text("armRegionName", "").lower() != region:
        return None
    if sku.endswith(" Low Priority") or item.text("meterName", "").endswith(" Low Priority"):
        return None
    if product.endswith(" Win") or " Win " in product or any(word in product for word in _OTHER_PRODUCTS):
        return None
    size = item.text("armSkuName")
    if item.text("unitOfMeasure") != HOUR or item.number("tierMinimumUnits", 0.0) > 0:
        return None
    if item.text("currencyCode", currency) != currency:
        raise ValueError(f"{size} is priced in {item.text('currencyCode')}, not {currency}")
    price = item.number("retailPrice")
    if price <= 0:
        raise ValueError(f"{size} ({sku}) costs {price:g}")
    return _Row(
        size=size,
        billing=Billing.SPOT if sku.endswith(" Spot") else Billing.ON_DEMAND,
        price=price,
        primary=item.raw("isPrimaryMeterRegion") is not False,
        since=_moment(item.text("effectiveStartDate")),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _agreed(rows: list[_Row]) -> float | None:
    """The price in force: the newest one of the primary meter; None where two such rows disagree."""
    best = max((row.primary, row.since) for row in rows)
    found = {row.price for row in rows if (row.primary, row.since) == best}
    return found.pop() if len(found) == 1 else None


def _explain(status: int, body: object) -> ProviderError | None:
    """An error that came with a success; the others speak for themselves by their status."""
    if status < 300 and isinstance(body, Mapping) and "Error" in body:
        return TransientError(NAME, f"the price list answered with an error: {str(body['Error'])[:200]}", 30.0)
    return None
