"""One line of an offers CSV: text in, checked numbers out, every fault noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from types import MappingProxyType

from orchestrator.catalog import dates
from orchestrator.catalog.exchange import Rate
from orchestrator.catalog.layout import Header
from orchestrator.domain.offer import Billing

MAX_GPUS = 4096.0
LEAST_USD_PER_GPU_HOUR = 0.001
MOST_USD_PER_GPU_HOUR = 1000.0
SLACK = timedelta(days=1)  # a date is a whole day somewhere on Earth
GPU_ALONE = "attach only"  # how sources mark a price that buys a device and no machine


@dataclass(frozen=True, slots=True)
class Price:
    """One price of a row, in US dollars per node and hour."""

    billing: Billing
    usd_per_hour: float
    observed_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one line says; `prices` is empty where the line names a machine without a price."""

    provider: str
    region: str
    zone: str
    instance_type: str
    gpu: str
    gpu_memory_gib: float | None
    gpus: float
    vcpus: float
    host_memory_gib: float
    bucket: int | None
    max_lease_h: float | None
    prices: tuple[Price, ...]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two lines speak of the same machine."""
        return (self.provider, self.region, self.zone, self.instance_type)


class RowReader:
    """Reads the lines of one file; `faults` holds (column, message) of the line read last."""

    def __init__(
        self, header: Header, rates: Mapping[str, Rate], *, as_of: datetime | None, now: datetime | None
    ) -> None:
        self._header = header
        self._rates = rates
        self._as_of = as_of
        self._latest = now + SLACK if now is not None else None
        self._fields: Sequence[str] = ()
        self.faults: list[tuple[str, str]] = []

    def read(self, fields: Sequence[str]) -> Row:
        """The row in `fields`; what it holds is meaningless unless `faults` is empty afterwards."""
        self._fields = [field.strip() for field in fields]
        self.faults = []
        if len(fields) != self._header.width:
            self._fault("", f"{len(fields)} fields where the header has {self._header.width}")
            return _NOTHING
        rate = self._rate()
        prices = [(kind, self._number(column)) for kind, column in _PRICE_COLUMNS]
        stated = [(kind, price) for kind, price in prices if price is not None]
        gpus = self._gpus(priced=bool(stated))
        row = Row(
            provider=self._word("provider").casefold(),
            region=self._word("region"),
            zone=self._text("zone"),
            instance_type=self._word("instance_type"),
            gpu=self._word("gpu"),
            gpu_memory_gib=self._number("gpu_mem_gib"),
            gpus=gpus,
            vcpus=self._number("vcpu") or 0.0,
            host_memory_gib=self._number("mem_gib") or 0.0,
            bucket=self._bucket(),
            max_lease_h=self._max_lease_h(),
            prices=tuple(self._price(kind, price, rate, gpus) for kind, price in stated),
        )
        if row.prices and GPU_ALONE in self._text("od_source"):
            self._fault("od_source", "the price buys the GPU alone, without a machine to put it in")
        return row

    def _price(self, kind: Billing, price: float, rate: Rate, gpus: float) -> Price:
        column = _COLUMN_OF[kind]
        usd = price * rate.usd
        if price <= 0:
            self._fault(column, f"{price:g} is no price: leave it empty where there is none")
        elif gpus > 0 and not LEAST_USD_PER_GPU_HOUR <= usd / gpus <= MOST_USD_PER_GPU_HOUR:
            self._fault(column, f"${usd / gpus:g} per GPU and hour is absurd")
        source = self._text("od_source") if kind is Billing.ON_DEMAND else self._text("spot_source")
        note = rate.note(price)
        words = " ".join(part for part in (source or self._text("od_source"), f"({note})" if note else "") if part)
        return Price(kind, usd, self._observed_at(source if kind is Billing.SPOT else ""), words)

    def _observed_at(self, source: str) -> datetime:
        text = self._text("od_as_of")
        moment = dates.named_at_end(source) or (dates.earliest(text) if text else self._as_of)
        if moment is None:
            expected = "a date as 2026-11-21, 2026-11 or 2026"
            self._fault(
                "od_as_of", f"{text!r} is not {expected}" if text else f"the price has no date: give {expected}"
            )
            return _NOTHING_AT
        if self._latest is not None and moment > self._latest:
            self._fault("od_as_of", f"{moment:%Y-%m-%d} lies in the future")
        return moment

    def _gpus(self, *, priced: bool) -> float:
        count = self._number("gpu_count")
        if count is None:
            if priced and not self._text("gpu_count"):
                self._fault("gpu_count", "empty: a price says nothing without the number of GPUs it buys")
            return 0.0
        if not 0 < count <= MAX_GPUS:
            self._fault("gpu_count", f"{count:g} is no number of GPUs")
            return 0.0
        return count

    def _bucket(self) -> int | None:
        number = self._number("interrupt_idx")
        if number is None:
            return None
        if number not in (0, 1, 2, 3, 4):
            self._fault("interrupt_idx", f"{number:g} is no Spot Advisor bucket: 0 to 4")
            return None
        return int(number)

    def _max_lease_h(self) -> float | None:
        number = self._number("max_lease_h")
        if number == 0:
            self._fault("max_lease_h", "a lease of 0 hours is none: leave it empty where there is no end")
            return None
        return number

    def _rate(self) -> Rate:
        code = self._text("currency").upper() or "USD"
        rate = self._rates.get(code)
        if rate is None:
            self._fault("currency", f"no exchange rate for {code!r}: known are {', '.join(sorted(self._rates))}")
            return self._rates["USD"]
        return rate

    def _number(self, column: str) -> float | None:
        """At least 0, or None where the field is empty or at fault. A price of 0 is the caller's to judge."""
        text = self._text(column)
        if not text:
            return None
        try:
            number = float(text) if "_" not in text else float("nan")
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            self._fault(column, f"{text!r} is not a number")
            return None
        if number < 0:
            self._fault(column, f"{text} is negative")
            return None
        return number

    def _word(self, column: str) -> str:
        text = self._text(column)
        if not text:
            self._fault(column, "empty")
        elif not text.isprintable():
            self._fault(column, f"{text!r} holds bytes that are no UTF-8 text")
        return text

    def _text(self, column: str) -> str:
        position = self._header.index.get(column)
        return "" if position is None else self._fields[position]

    def _fault(self, column: str, message: str) -> None:
        self.faults.append((column, message))


_PRICE_COLUMNS = ((Billing.ON_DEMAND, "on_demand"), (Billing.SPOT, "spot"))
_COLUMN_OF = MappingProxyType(dict(_PRICE_COLUMNS))
_NOTHING_AT = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = Row("", "", "", "", "", None, 0.0, 0.0, 0.0, None, None, ())
