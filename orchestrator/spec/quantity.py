"""Quantities as people write them (`7B`, `30d`, `$200k`, `80GiB`, `20/s`) to and from floats in base units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from types import MappingProxyType
from typing import NamedTuple

LONGEST = 64  # characters of a quantity; no human writes more, and nothing below sees hostile lengths
GIB = Decimal(2**30)
CENTURY_S = 100 * 365.25 * 86400


class QuantityError(ValueError):
    """A text that is not the quantity asked for; `expected` says what would be."""

    def __init__(self, message: str, expected: str) -> None:
        self.message = message
        self.expected = expected
        super().__init__(f"{message} (expected {expected})")


class Dimension(NamedTuple):
    """One kind of quantity: its units in base units, and the range within which a value can be meant.

    Symbols are matched as written, words (three letters and more) in any case. Zero is always in range: whether it
    makes sense depends on the field.
    """

    name: str  # with its article: "a duration"
    examples: str
    units: Mapping[str, Decimal]
    least: float  # the smallest value above zero
    most: float
    bare: bool = False  # a number without a unit is in base units
    any_case: bool = False  # of the symbols too
    repeats: bool = False  # "1h30m"
    hints: Mapping[str, str] = MappingProxyType({})  # what to say about a unit that is ambiguous


def _units(*groups: tuple[Decimal | int | str, str]) -> dict[str, Decimal]:
    """Every word of a group has the group's scale: `_units((60, "m min"))`."""
    return {word: Decimal(scale) for scale, words in groups for word in words.split()}


COUNT = Dimension(
    name="a count",
    examples="a number with k, M, B or T, such as 7B, 405e9 or 2T",
    units=_units(
        ("1e3", "k thousand"),
        ("1e6", "m million mn"),
        ("1e9", "b g billion bn"),
        ("1e12", "t trillion tn"),
    ),
    least=1.0,
    most=1e24,
    bare=True,
    any_case=True,
)
DURATION = Dimension(
    name="a duration",
    examples="a number with ms, s, min, h, d or w, such as 500ms, 30d or 1h30m",
    units=_units(
        ("0.001", "ms millisecond milliseconds msec"),
        (1, "s sec secs second seconds"),
        (60, "m min mins minute minutes"),
        (3600, "h hr hrs hour hours"),
        (86400, "d day days"),
        (604800, "w wk week weeks"),
    ),
    least=1e-6,
    most=CENTURY_S,
    repeats=True,
    hints={"M": "m is minutes; months have no fixed length, write days"},
)
SIZE = Dimension(
    name="a size",
    examples="a number with B, kB, MB, GB, TB, PB (powers of 1000) or KiB, MiB, GiB, TiB, PiB (of 1024), such as 80GiB",
    units=_units(
        (1 / GIB, "B byte bytes"),
        (10**3 / GIB, "kB KB kb"),
        (10**6 / GIB, "MB mb"),
        (10**9 / GIB, "GB gb"),
        (10**12 / GIB, "TB tb"),
        (10**15 / GIB, "PB pb"),
        (2**10 / GIB, "KiB Ki"),
        (2**20 / GIB, "MiB Mi"),
        (2**30 / GIB, "GiB Gi"),
        (2**40 / GIB, "TiB Ti"),
        (2**50 / GIB, "PiB Pi"),
    ),
    least=2.0**-30,  # one byte
    most=2.0**40,
    hints={
        **{unit: f"{unit} can mean {unit}B or {unit.upper()}iB: write which" for unit in ("k", "K", "M", "G", "T")},
        **{
            unit: f"{unit} is bits, and data sizes are in bytes"
            for unit in ("Kb", "Mb", "Gb", "Tb", "Mib", "Gib", "Tib")
        },
    },
)
MONEY = Dimension(
    name="an amount of money",
    examples="US dollars, such as $200k, 1500 USD or $1.5M",
    units=_units(("1e3", "k thousand"), ("1e6", "m million mn"), ("1e9", "b billion bn")),
    least=0.01,
    most=1e15,
    bare=True,
    any_case=True,
)
RATE = Dimension(
    name="a rate",
    examples="requests per time, such as 20/s, 5/min or 100k/day",
    units=COUNT.units,
    least=1e-9,
    most=1e12,
    bare=True,
    any_case=True,
)
RATIO = Dimension(
    name="a ratio",
    examples="a number from 0 to 1 or a percentage, such as 0.45 or 45%",
    units={"%": Decimal("0.01")},
    least=1e-9,
    most=1.0,
    bare=True,
)
BANDWIDTH = Dimension(
    name="a bandwidth",
    examples="bits or bytes per second, such as 400Gbps, 10 Gbit/s or 50 GB/s",
    units=_units(
        ("1e-3", "Mb Mbit Mbits"),
        (1, "Gb Gbit Gbits"),
        ("1e3", "Tb Tbit Tbits"),
        ("8e-3", "MB megabytes"),
        (8, "GB gigabytes"),
        ("8e3", "TB terabytes"),
    ),
    least=1e-6,
    most=1e6,
    hints={f"{x.lower()}b": f"{x.lower()}b can mean {x}bit or {x}B: write which" for x in "MGT"},
)
NUMBER = Dimension(name="a number", examples="a number, such as 0.5", units={}, least=1e-300, most=1e300, bare=True)

_NUMBER = re.compile(r"(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?", re.ASCII)
_UNIT = re.compile(r"\s*([A-Za-zµ%]*)\s*")
_NOT_FINITE = re.compile(r"[+-]?\.?(?:nan|inf|infinity)\b", re.IGNORECASE)
_NOUN = re.compile(r"(?<=[\s\dkKmMbBtTgG])\s*\b(?:tokens?|parameters?|params?|requests?|reqs?)$", re.IGNORECASE)
_PER = re.compile(r"\s*(?:/|\bper\b|\b(?=[rq]ps$))\s*", re.IGNORECASE)
_PER_SECOND = re.compile(r"(?:\s*(?:/|\bper\b)\s*(?:s|sec|second)|(?<=[bB])ps)$")
_CURRENCY = re.compile(r"^(?:US)?\$|^USD\b|\bUSD$|\bdollars?$", re.IGNORECASE)
_FOREIGN = re.compile(r"[€£¥₹]|\b(?:EUR|GBP|JPY|CNY|INR|CHF|AUD|CAD)\b", re.IGNORECASE)


def count(text: str) -> float:
    """Tokens, parameters or requests: `7B`, `2T tokens`, `1_000_000`, `1e9`; k, m, b (or g) and t in any case.

    Raises: QuantityError.
    """
    return _parse(_NOUN.sub("", _clean(text, COUNT)), COUNT, text)


def whole(text: str) -> int:
    """A whole number without a unit, at least 0: `4096`; `4k` is refused, since it can mean 4000 or 4096.

    Raises: QuantityError.
    """
    cleaned = _clean(text, NUMBER)
    if not re.fullmatch(r"[0-9][0-9_]*", cleaned) or len(cleaned) > 12:
        raise QuantityError(f"{shown(text)} is not a whole number", "a whole number, such as 4096")
    return int(cleaned.replace("_", ""))


def number(text: str) -> float:
    """A finite number, at least 0. Raises: QuantityError."""
    return _parse(_clean(text, NUMBER), NUMBER, text)


def ratio(text: str) -> float:
    """`0.45` or `45%`, from 0 to 1. Raises: QuantityError."""
    return _parse(_clean(text, RATIO), RATIO, text)


def duration_s(text: str) -> float:
    """Seconds: `500ms`, `90 s`, `30 min`, `12h`, `30d`, `2 weeks`, `1h30m`. Raises: QuantityError."""
    return _parse(_clean(text, DURATION), DURATION, text)


def size_gib(text: str) -> float:
    """GiB: `80GiB`, `1.5 TB`. GB is 10^9 bytes, GiB 2^30. Raises: QuantityError."""
    return _parse(_clean(text, SIZE), SIZE, text)


def money_usd(text: str) -> float:
    """US dollars: `$200k`, `1500`, `200 USD`, `$1.5M`. Raises: QuantityError."""
    cleaned = _clean(text, MONEY)
    if _FOREIGN.search(cleaned):
        raise QuantityError(f"{shown(text)} is in another currency", MONEY.examples)
    return _parse(_CURRENCY.sub("", cleaned, count=1).strip(), MONEY, text)


def rate_per_s(text: str) -> float:
    """Events per second: `20/s`, `5/min`, `100k requests/day`, `20 rps`. Raises: QuantityError."""
    cleaned = _clean(text, RATE)
    parts = _PER.split(cleaned, maxsplit=1)
    if len(parts) != 2:
        raise QuantityError(f"{shown(text)} does not say per what time", RATE.examples)
    events = _exact(_NOUN.sub("", parts[0]), RATE, text)
    unit = "s" if parts[1].lower() in {"rps", "qps"} else parts[1]
    return _bounded(events / _scale(unit, DURATION, text), RATE, text)


def bandwidth_gbit_s(text: str) -> float:
    """Gbit/s: `400Gbps`, `10 Gbit/s`, `50 GB/s` (bytes: 400 Gbit/s). Raises: QuantityError."""
    cleaned = _clean(text, BANDWIDTH)
    amount = _PER_SECOND.sub("", cleaned)
    if amount == cleaned:
        raise QuantityError(f"{shown(text)} does not say per second", BANDWIDTH.examples)
    return _parse(amount, BANDWIDTH, text)


def format_count(value: float) -> str:
    """`7B` for 7e9; parses back to exactly `value`."""
    return _scaled(value, (("T", "1e12"), ("B", "1e9"), ("M", "1e6"), ("k", "1e3")))


def format_money(usd: float) -> str:
    """`$200k`; parses back to exactly `usd`."""
    return "$" + _scaled(usd, (("M", "1e6"), ("k", "1e3")))


def format_duration(seconds: float) -> str:
    """`30d`, `90min`, `0.5s`: the largest unit that divides it; parses back to exactly `seconds`."""
    exact = Decimal(repr(float(seconds)))
    for unit, scale in (("w", 604800), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if exact and exact % scale == 0:
            return f"{_plain(exact / scale)}{unit}"
    return f"{_plain(exact)}s"


def format_size(gib: float) -> str:
    """`80GiB`; parses back to exactly `gib`."""
    return f"{_plain(Decimal(repr(float(gib))))}GiB"


def format_rate(per_s: float) -> str:
    """`20/s`; parses back to exactly `per_s`."""
    return f"{_scaled(per_s, (('M', '1e6'), ('k', '1e3')))}/s"


def shown(text: object) -> str:
    """A user's text as an error quotes it: short, on one line, control characters escaped."""
    quoted = repr(text if isinstance(text, str) else str(text))
    return quoted if len(quoted) <= 48 else f"{quoted[:44]}...'"


def _clean(text: str, dimension: Dimension) -> str:
    """The text without blanks at its ends; refuses what is no positive finite number in any dimension."""
    cleaned = text.strip()
    expected = dimension.examples
    if not cleaned:
        raise QuantityError("there is no value", expected)
    if len(cleaned) > LONGEST:
        raise QuantityError(f"{shown(cleaned)} is too long for {dimension.name}", expected)
    if _NOT_FINITE.match(cleaned):
        raise QuantityError(f"{shown(cleaned)} is not a finite number", expected)
    if cleaned.startswith(("-", "$-", "-$")):
        raise QuantityError(f"{shown(cleaned)} is negative", expected)
    if "," in cleaned:
        raise QuantityError(f"{shown(cleaned)}: a comma is read in two ways, write 1500.5 or 1_500", expected)
    return cleaned


def _parse(cleaned: str, dimension: Dimension, text: str) -> float:
    return _bounded(_exact(cleaned, dimension, text), dimension, text)


def _exact(cleaned: str, dimension: Dimension, text: str) -> Decimal:
    """The value in base units, every digit kept, so that `0.1k` is the float 100.0."""
    total, position = Decimal(0), 0
    while position == 0 or (dimension.repeats and position < len(cleaned)):
        found = _NUMBER.match(cleaned, position)
        if not found:
            raise QuantityError(f"{shown(text)} is not {dimension.name}", dimension.examples)
        unit = _UNIT.match(cleaned, found.end())
        end = unit.end() if unit else found.end()
        total += _decimal(found.group(), dimension, text) * _scale(unit.group(1) if unit else "", dimension, text)
        position = end
    if position != len(cleaned):
        raise QuantityError(f"{shown(text)} is not {dimension.name}", dimension.examples)
    return total


def _decimal(digits: str, dimension: Dimension, text: str) -> Decimal:
    try:
        value = Decimal(digits.replace("_", ""))
    except InvalidOperation:
        raise QuantityError(f"{shown(text)} is not {dimension.name}", dimension.examples) from None
    if value and abs(value.adjusted()) > 400:  # far outside of a float, and Decimal would overflow next
        raise QuantityError(f"{shown(text)} is out of range for {dimension.name}", dimension.examples)
    return value


def _scale(unit: str, dimension: Dimension, text: str) -> Decimal:
    if not unit:
        if dimension.bare:
            return Decimal(1)
        raise QuantityError(f"{shown(text)} has no unit", dimension.examples)
    if unit in dimension.units:
        return dimension.units[unit]
    if unit in dimension.hints:
        raise QuantityError(f"{shown(text)}: {dimension.hints[unit]}", dimension.examples)
    if dimension.any_case or len(unit) >= 3:  # one and two letters differ by case alone: m and M, GB and Gb
        for known, scale in dimension.units.items():
            if known.lower() == unit.lower():
                return scale
    near = get_close_matches(unit.lower(), dimension.units, n=1)
    tail = f"; did you mean {near[0]}?" if near else ""
    raise QuantityError(f"{shown(unit)} is not a unit for {dimension.name}{tail}", dimension.examples)


def _bounded(exact: Decimal, dimension: Dimension, text: str) -> float:
    value = float(exact)
    if exact and not dimension.least <= value <= dimension.most:
        side = "small" if value < dimension.least else "large"
        bound = dimension.least if side == "small" else dimension.most
        word = "at least" if side == "small" else "at most"
        raise QuantityError(f"{shown(text)} is too {side} for {dimension.name}, {word} {bound:g}", dimension.examples)
    return value


def _scaled(value: float, units: tuple[tuple[str, str], ...]) -> str:
    exact = Decimal(repr(float(value)))
    for unit, scale in units:
        if exact >= Decimal(scale):
            return f"{_plain(exact / Decimal(scale))}{unit}"
    return _plain(exact)


def _plain(exact: Decimal) -> str:
    digits = exact.normalize()
    return f"{digits:f}" if -12 <= digits.adjusted() < 15 else f"{digits:e}"
