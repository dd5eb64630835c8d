"""What the user has agreed with vendors, by the configuration file: negotiated prices, and capacity already paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from math import isfinite

import numpy as np

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, OfferBook, Words
from orchestrator.domain.spelling import hint
from orchestrator.domain.standing import Commitment

Table = Mapping[str, object]

PRICE_KEYS = ("provider", "instance_type", "region", "billing", "percent", "usd_per_hour")
COMMITMENT_KEYS = ("provider", "instance_type", "nodes", "region", "ends_at")
WEIGHTS = (("instance_type", 4), ("region", 2), ("billing", 1))  # how much a price that names it says of an offer
GLOBS = frozenset("*?[")
MARK = "negotiated ("  # how the source of an offer at a negotiated price begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """A price for the offers of `provider` that fit: list plus `percent` (-12.0), or `usd_per_hour` per node.

    `instance_type` and `region` are words or globs; "" is any. Exactly one of the two prices is given.
    """

    provider: str
    instance_type: str = ""
    region: str = ""
    billing: str = ""
    percent: float | None = None
    usd_per_hour: float | None = None

    @property
    def label(self) -> str:
        """`aws p5.48xlarge us-east-1 spot`."""
        return " ".join(word for word in (self.provider, self.instance_type, self.region, self.billing) if word)

    @property
    def weight(self) -> tuple[int, int]:
        """How specific it is: what it names, the instance type before the region before the billing, then exactness."""
        named = sum(weight for name, weight in WEIGHTS if getattr(self, name))
        words = (self.instance_type, self.region)
        return named, sum(bool(word) and GLOBS.isdisjoint(word) for word in words)

    def fits(self, book: OfferBook) -> BoolArray:
        """Shape (len(book),): the offers that it is a price for."""
        fits = book.provider.isin(frozenset((self.provider,)))
        for name, pattern in (("instance_type", self.instance_type), ("region", self.region)):
            if pattern:
                column: Words = getattr(book, name)
                fits &= column.isin(frozenset(word for word in column.vocab if fnmatchcase(word, pattern)))
        return fits & book.billing.isin(frozenset((self.billing,))) if self.billing else fits


def negotiated(book: OfferBook, prices: Sequence[Negotiated]) -> OfferBook:
    """`book` at the negotiated prices, each with the list price in its `source`.

    Of several that fit an offer the most specific counts, and of equally specific ones the last.
    """
    chosen = np.full(len(book), -1, np.int64)
    for index in sorted(range(len(prices)), key=lambda index: (prices[index].weight, index)):
        chosen[prices[index].fits(book)] = index
    rows = np.flatnonzero(chosen >= 0)
    if not len(rows):
        return book
    usd, source = book.usd_per_hour.copy(), [book.source.vocab[code] for code in book.source.codes.tolist()]
    for row, index in zip(rows.tolist(), chosen[rows].tolist(), strict=True):
        price, listed = prices[index], float(book.usd_per_hour[row])
        usd[row] = price.usd_per_hour if price.percent is None else listed * (1.0 + price.percent / 100.0)
        how = f"{price.percent:+g} % of list" if price.percent is not None else "instead of list"
        source[row] = f"{MARK}{how} {listed:g} USD/h, {source[row] or 'source unknown'})"
    return OfferBook.from_columns({**book.columns(), "usd_per_hour": usd, "source": Words.encode(source)})


def idle(book: OfferBook, prices: Sequence[Negotiated]) -> tuple[tuple[str, str], ...]:
    """(provider, sentence) for every price that no offer has: probably misspelt."""
    found = []
    for price in prices:
        if not price.fits(book).any():
            sold = book.provider.isin(frozenset((price.provider,)))
            what = f"no offer fits the negotiated price of {price.label}"
            found.append(
                (price.provider, what if sold.any() else f"{what}; {hint(price.provider, book.provider.vocab)}")
            )
    return tuple(found)


def read_prices(tables: Sequence[Table], file: str) -> tuple[Negotiated, ...]:
    """The `[[prices]]` of a configuration file. Raises: ConfigError with the file and the key at fault."""
    return tuple(_price(table, f"{file}: prices[{index}]") for index, table in enumerate(tables))


def read_commitments(tables: Sequence[Table], file: str) -> tuple[Commitment, ...]:
    """The `[[commitments]]` of a configuration file. Raises: ConfigError with the file and the key at fault."""
    return tuple(_commitment(table, f"{file}: commitments[{index}]") for index, table in enumerate(tables))


def _price(table: Table, where: str) -> Negotiated:
    _known(table, PRICE_KEYS, where)
    if ("percent" in table) == ("usd_per_hour" in table):
        raise ConfigError(f"{where} needs either percent, such as -12, or usd_per_hour")
    billing, kinds = _word(table, "billing", where), [str(kind) for kind in Billing]
    if billing and billing not in kinds:
        raise ConfigError(f"{where}.billing is one of {', '.join(kinds)}, not {billing!r} ({hint(billing, kinds)})")
    percent = _number(table, "percent", where) if "percent" in table else None
    if percent is not None and not -100.0 < percent <= 1000.0:
        raise ConfigError(
            f"{where}.percent is {percent:g}; a price is above -100 % and at most 1000 % over its list price"
        )
    usd = _number(table, "usd_per_hour", where) if "usd_per_hour" in table else None
    if usd is not None and (usd < 0 or (usd == 0 and billing != Billing.OWNED)):
        raise ConfigError(f"{where}.usd_per_hour is {usd:g}; a node costs more than nothing, unless billing is owned")
    return Negotiated(
        provider=_word(table, "provider", where, needed=True),
        instance_type=_word(table, "instance_type", where),
        region=_word(table, "region", where),
        billing=billing,
        percent=percent,
        usd_per_hour=usd,
    )


def _commitment(table: Table, where: str) -> Commitment:
    _known(table, COMMITMENT_KEYS, where)
    nodes = table.get("nodes")
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1:
        raise ConfigError(f"{where}.nodes is a whole number of at least 1, not {nodes!r}")
    return Commitment(
        provider=_word(table, "provider", where, needed=True),
        instance_type=_word(table, "instance_type", where, needed=True),
        nodes=nodes,
        region=_word(table, "region", where),
        ends_at=_moment(table["ends_at"], f"{where}.ends_at") if "ends_at" in table else None,
    )


def _known(table: Table, keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            raise ConfigError(f"{where}: unknown setting {key} ({hint(key, keys)})")


def _word(table: Table, key: str, where: str, *, needed: bool = False) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{key} is a text, not {value!r}")
    if needed and not value:
        raise ConfigError(f"{where} needs {key}")
    return value


def _number(table: Table, key: str, where: str) -> float:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ConfigError(f"{where}.{key} is a number, not {value!r}")
    return float(value)


def _moment(given: object, where: str) -> datetime:
    """A TOML date, its first moment, or a date with a time; UTC where no time zone is given."""
    if isinstance(given, datetime):
        return given.astimezone(UTC) if given.tzinfo is not None else given.replace(tzinfo=UTC)
    if isinstance(given, date):
        return datetime(given.year, given.month, given.day, tzinfo=UTC)
    raise ConfigError(f"{where} is a date such as 2027-01-01, without quotes, not {given!r}")
