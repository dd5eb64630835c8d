"""Numbers as people read them: every figure with its unit, every estimate with its range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from math import floor, isfinite, isnan, log10
from typing import NamedTuple

from orchestrator.domain.sizing import Band

Show = Callable[[float], str]
SECOND, MINUTE, HOUR, DAY, YEAR = 1.0, 60.0, 3600.0, 86400.0, 365.25 * 86400.0
UNKNOWN = "unknown"
UNBOUNDED = "unbounded"
TEN_CENTS = 0.1


def usd(amount: float) -> str:
    """`$1,234.56`; below ten cents to two digits (`$0.015`, `$0.0021`), so that a price never reads as free."""
    if not isfinite(amount):
        return _odd(amount)
    sign = "-" if amount < 0 else ""
    size = abs(amount)
    if 0 < size < 1e-6:
        return f"{sign}${size:.1e}"
    if 0 < size < TEN_CENTS:
        whole, _, digits = f"{size:.{1 - floor(log10(size))}f}".partition(".")
        return f"{sign}${whole}.{digits.rstrip('0').ljust(2, '0')}"
    return f"{sign}${size:,.2f}"


def percent_change(percent: float) -> str:
    """`+3.2 %`, `-41 %`: a change in percent with its sign."""
    return f"{percent:+,.3g} %" if abs(percent) < 1000 else f"{percent:+,.0f} %"


def usd_short(amount: float) -> str:
    """Three digits are enough beside others: `$1.23`, `$12.3k`, `$4.56M`."""
    if not isfinite(amount):
        return _odd(amount)
    if abs(amount) < 9999.995:
        return usd(amount)
    for limit, unit in ((1e6, "k"), (1e9, "M"), (1e12, "B")):
        scaled = amount / (limit / 1e3)
        if abs(scaled) < 999.5:
            return f"${_significant(scaled, 3)}{unit}"
    return f"${_significant(amount / 1e12, 3, grouped=True)}T"


def usd_per_hour(amount: float) -> str:
    """`$32.77/h`."""
    return f"{usd(amount)}/h" if isfinite(amount) else _odd(amount)


def count(number: float) -> str:
    """`4,653`; fractions to two digits: `0.25`."""
    if not isfinite(number):
        return _odd(number)
    return f"{number:,.0f}" if number == round(number) else f"{number:,.2f}".rstrip("0").rstrip(".")


def plural(number: float, noun: str, many: str = "") -> str:
    """`1 node`, `2 nodes`."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def duration(seconds: float) -> str:
    """`230 ms`, `42 s`, `35 min`, `3.2 h`, `14 d 6 h`, `3.4 years`: the unit in which it is easily imagined."""
    if not isfinite(seconds):
        return _odd(seconds)
    if seconds == 0:
        return "0 s"
    sign = "-" if seconds < 0 else ""
    size = abs(seconds)
    for limit, show in SCALES:
        if size < limit:
            return sign + show(size)
    return f"{sign}{_significant(size / YEAR, 3, grouped=True)} years"


def _days(seconds: float) -> str:
    hours = round(seconds / HOUR)
    days, rest = divmod(hours, 24)
    if days >= 60:
        return f"{round(seconds / DAY)} d"
    return f"{days} d {rest} h" if rest else f"{days} d"


SCALES: tuple[tuple[float, Callable[[float], str]], ...] = (
    (0.9995, lambda size: f"{_significant(size * 1e3, 3)} ms"),
    (9.995, lambda size: f"{_significant(size, 3)} s"),
    (99.5, lambda size: f"{size:.0f} s"),
    (99.5 * MINUTE, lambda size: f"{_significant(size / MINUTE, 2)} min"),
    (47.95 * HOUR, lambda size: f"{_significant(size / HOUR, 3)} h"),
    (2 * YEAR, _days),
)


def hours(number: float) -> str:
    """A duration given in hours."""
    return duration(number * HOUR)


def gpu_hours(number: float) -> str:
    """`2.8e+05 GPU-h`, `412 GPU-h`."""
    if not isfinite(number):
        return _odd(number)
    return f"{number:,.0f} GPU-h" if number >= 100 else f"{_significant(number, 3)} GPU-h"


def gib(number: float) -> str:
    """`12.5 GiB`, `1.5 TiB`, `0.4 MiB`."""
    if not isfinite(number):
        return _odd(number)
    if number and abs(number) < 0.0995:
        return f"{_significant(number * 1024, 3)} MiB"
    if abs(number) >= 10240:
        return f"{_significant(number / 1024, 3, grouped=True)} TiB"
    return f"{_significant(number, 4 if number >= 1000 else 3, grouped=True)} GiB"


def energy(kwh: float) -> str:
    """`35 Wh`, `412 kWh`, `1.59 TWh`."""
    if not isfinite(kwh):
        return _odd(kwh)
    for limit, factor, unit in ((1.0, 1e3, "Wh"), (1e4, 1.0, "kWh"), (1e7, 1e-3, "MWh"), (1e9, 1e-6, "GWh")):
        if abs(kwh) < limit:
            return f"{_significant(kwh * factor, 3, grouped=True)} {unit}"
    return f"{_significant(kwh * 1e-9, 3, grouped=True)} TWh"


def watts(number: float) -> str:
    """`700 W`, `1.2 kW`."""
    if not isfinite(number):
        return _odd(number)
    return f"{_significant(number / 1e3, 3)} kW" if number >= 1e4 else f"{number:,.0f} W"


def scientific(number: float) -> str:
    """`3.15e+23`: at most four digits."""
    return f"{number:.4g}" if isfinite(number) else _odd(number)


def engineering(number: float) -> str:
    """`358e12`: three digits and an exponent that is a multiple of three, as tables of FLOPs print it."""
    if not isfinite(number):
        return _odd(number)
    if number == 0:
        return "0"
    exponent = 3 * floor(log10(abs(number)) / 3)
    mantissa = _significant(number / 10.0**exponent, 3)
    if mantissa in {"1000", "-1000"}:  # 999.7e9 rounds up into the next exponent
        exponent, mantissa = exponent + 3, mantissa[:-3]
    return f"{mantissa}e{exponent}" if exponent else mantissa


def quantity(number: float) -> str:
    """A count as the field writes it: `6.74B` parameters, `2T` tokens, `1,024` tokens."""
    if not isfinite(number):
        return _odd(number)
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(number) >= limit:
            return f"{number / limit:,.4g}{unit}"
    return count(number)


def percent(share: float) -> str:
    """`38 %`; below ten per cent with one decimal."""
    if not isfinite(share):
        return _odd(share)
    points = share * 100
    return f"{points:.0f} %" if points == 0 or abs(points) >= 9.95 else f"{points:.1f} %"


def band(estimate: Band, show: Callable[[float], str]) -> str:
    """`3.2 h (2.8 h to 4.1 h)`: the median and the 10th to 90th percentile; a certain number stands alone."""
    low, middle, high = show(estimate.p10), show(estimate.p50), show(estimate.p90)
    return middle if low == middle == high else f"{middle} ({low} to {high})"


def age(observed_at: datetime, now: datetime) -> str:
    """How old an observation is at `now`: `today`, `3 d`, `232 d`; the future reads `new`."""
    seconds = (now - observed_at).total_seconds()
    if seconds < 0:
        return "new"
    if seconds < MINUTE:
        return "now"
    return f"{floor(seconds / DAY)} d" if seconds >= 2 * DAY else duration(seconds)


def moment(at: datetime) -> str:
    """`2026-11-22 01:06:25Z`, RFC 3339 with a blank."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def _significant(number: float, digits: int, *, grouped: bool = False) -> str:
    """`number` to at most so many digits, without an exponent and without trailing zeros."""
    if number == 0:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(number))))
    text = f"{number:,.{places}f}" if grouped else f"{number:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _odd(number: float) -> str:
    return UNKNOWN if isnan(number) else (UNBOUNDED if number > 0 else f"-{UNBOUNDED}")


class Ledger(NamedTuple):
    """Amounts rounded together, so that what is printed adds up: whole units of 10^-places US dollars."""

    units: tuple[int, ...]
    places: int

    def texts(self) -> tuple[str, ...]:
        """Every amount."""
        return tuple(self.text(units) for units in self.units)

    def total(self) -> str:
        """Their sum."""
        return self.text(sum(self.units))

    def text(self, units: int) -> str:
        """`$1,234.56` of so many units."""
        sign = "-" if units < 0 else ""
        whole, part = divmod(abs(units), 10**self.places)
        return f"{sign}${whole:,}.{part:0{self.places}d}"


def ledger(amounts: Sequence[float]) -> Ledger:
    """Finite amounts in US dollars, rounded so that they add up to the rounded sum (largest remainders first).

    Two decimals, or as many as the largest amount needs to show two digits where that is below ten cents, nine at most.
    """
    largest = max((abs(amount) for amount in amounts), default=0.0)
    places = 2 if largest >= TEN_CENTS or largest == 0 else min(9, 1 - floor(log10(largest)))
    unit = 10.0**places
    floors = [floor(amount * unit) for amount in amounts]
    missing = max(0, round(sum(amounts) * unit) - sum(floors))
    by_remainder = sorted(range(len(amounts)), key=lambda row: floors[row] - amounts[row] * unit)
    for row in by_remainder[:missing]:
        floors[row] += 1
    return Ledger(tuple(floors), places)


def sum_of(amounts: Sequence[float]) -> tuple[tuple[str, ...], str]:
    """The texts of `ledger(amounts)` and of their sum; where the sum is no number, each by itself."""
    total = sum(amounts)
    if not isfinite(total):
        return tuple(usd(amount) for amount in amounts), usd(total)
    rounded = ledger(amounts)
    return rounded.texts(), rounded.total()
