"""Catalogues that others keep, in one form: machines with a price on demand, on spot or both, made into offers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import nan
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from orchestrator.catalog import vendors
from orchestrator.catalog.accelerators import canonical, share
from orchestrator.catalog.builder import Canonical
from orchestrator.catalog.row import LEAST_USD_PER_GPU_HOUR, MAX_GPUS, MOST_USD_PER_GPU_HOUR
from orchestrator.catalog.sheet import Fault, Numbers, Sheet, mapped, nameless, paired
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, Column, FloatArray, IntArray, OfferBook, Words

BOARD = re.compile(r"(?<![a-z])(pcie|nvl|sxm)(?![a-z])", re.IGNORECASE)
# What the community calls providers that we call otherwise.
ALIASES: Mapping[str, str] = MappingProxyType(
    {"lambdalabs": "lambda", "vastai": "vast", "datacrunch": "verda", "do": "digitalocean"}
)
# Providers of gpuhunt 0.1.34 and of SkyPilot's catalogues v5 to v8, read in November 2026, beside those in vendors.csv.
KNOWN = frozenset(
    "cloudrift crusoe cudo daytona digitalocean fluidstack hotaisle hyperbolic hyperstack ibm jarvislabs lium mithril "  # noqa: SIM905
    "nebius ovhcloud paperspace primeintellect scaleway scp seeweb shadeform simplepod spheron tensordock vast verda "
    "vultr yotta".split()
)
GENERIC = frozenset({"vms", "instances", "catalog", "offers"})  # file names that say nothing: the folder's does

NO_GPU = "machines without a GPU"
NO_MACHINE = "accelerators priced without a machine to put them in"
JOINED = "prices of GPUs, added to those of their machines"
OTHER_TERMS = "prices of other terms than on demand and spot"
FREE = "0 is no price: leave it empty where there is none"
REPEATED = "rows that say again what an earlier one says"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing:
    """The rows of one file of one provider in one form; all columns have a row per row of `sheet`.

    `gpu` is the vendor's word for the device, `board` what else may say which board it is on, `memory` that of one
    device in GiB (NaN unknown). Prices are US dollars per node and hour, NaN where there is none. `columns` has the
    file's own names of ours, for faults.
    """

    sheet: Sheet
    provider: str
    region: Words
    zone: Words
    instance_type: Words
    gpu: Words
    board: Words
    memory: FloatArray
    gpus: FloatArray
    vcpus: FloatArray
    host_memory_gib: FloatArray
    prices: Mapping[Billing, FloatArray]
    columns: Mapping[str, str]
    left_out: Mapping[str, BoolArray]  # why -> rows; of several reasons the first counts
    faults: tuple[Fault, ...]
    bad: BoolArray


class Made(NamedTuple):
    """The offers of a listing, and what became of its rows: they all are good, priceless, left out or bad."""

    book: OfferBook
    good: int
    priceless: int
    left_out: dict[str, int]
    faults: list[Fault]
    unknown_gpus: set[str]


def provider_of(path: PurePosixPath) -> str | None:
    """The provider that a file's name, or its folder's, stands for; None where it is none that we know."""
    stem = path.name.split(".")[0].casefold()
    name = path.parent.name.casefold() if stem in GENERIC else stem
    name = ALIASES.get(name, name)
    return name if name in KNOWN or name in vendors.load().vendors else None


def make(listing: Listing, *, observed_at: datetime, source: str, names: Canonical = canonical) -> Made:
    """The offers in `listing`, dated `observed_at`; stock is unknown. `names` gives our name of a vendor's device."""
    sheet = listing.sheet
    open_rows = ~listing.bad
    counts: dict[str, int] = {}
    for reason, mask in listing.left_out.items():
        counts[reason] = int((mask & open_rows).sum())
        open_rows &= ~mask
    faults = [*sheet.faults, *listing.faults]
    wrong, found = _faults(listing, open_rows)
    faults += found
    open_rows &= ~wrong
    priced = np.logical_or.reduce([~np.isnan(price) for price in listing.prices.values()])
    priceless = int((open_rows & ~priced).sum())
    open_rows &= priced
    again, contradicting, found = _repeats(listing, open_rows)
    faults += found
    open_rows &= ~(again | contradicting)
    counts[REPEATED] = int(again.sum())
    rows = np.flatnonzero(open_rows).astype(np.int64)
    devices, shares, unknown = _devices(listing, rows, names)
    book = _book(listing, rows, (devices, shares), observed_at=observed_at, source=source)
    good = len(rows)
    return Made(book, good, priceless, {k: n for k, n in counts.items() if n}, faults, unknown)


def checked(sheet: Sheet, columns: Sequence[tuple[str, Numbers]], among: BoolArray) -> tuple[BoolArray, list[Fault]]:
    """The rows `among` whose number in any of `columns` is at fault, and the faults."""
    bad, faults = np.zeros(len(sheet), np.bool_), []
    for name, numbers in columns:
        mask, found = sheet.at_fault(name, sheet.texts.get(name, ()), numbers.faults, among)
        bad |= mask
        faults += found
    return bad, faults


def _faults(listing: Listing, among: BoolArray) -> tuple[BoolArray, list[Fault]]:
    """Names that are none, counts and prices that nobody means."""
    sheet, gpus, columns = listing.sheet, listing.gpus, listing.columns
    bad, faults = np.zeros(len(sheet), np.bool_), []
    names = (("region", listing.region), ("instance_type", listing.instance_type), ("gpu", listing.gpu))
    for name, words in names:
        mask, found = sheet.at_fault(columns[name], words, nameless(words), among)
        bad |= mask
        faults += found
    odd = among & ~((gpus > 0) & (gpus <= MAX_GPUS))
    faults += sheet.found(odd, columns["gpus"], lambda row: _odd_count(gpus[row]))
    bad |= odd
    for billing, price in listing.prices.items():
        column = columns[billing.value]
        free = among & (price <= 0)
        faults += sheet.found(free, column, lambda _: FREE)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = price / gpus
        absurd = among & ~free & ~odd & ~((each >= LEAST_USD_PER_GPU_HOUR) & (each <= MOST_USD_PER_GPU_HOUR))
        absurd &= ~np.isnan(price)
        faults += sheet.found(absurd, column, _absurd(each))
        bad |= free | absurd
    return bad, faults


def _odd_count(count: float) -> str:
    return (
        "empty: a price says nothing without the number of GPUs it buys"
        if np.isnan(count)
        else f"{count:g} is no number of GPUs"
    )


def _absurd(each: FloatArray) -> Callable[[int], str]:
    return lambda row: f"${each[row]:g} per GPU and hour is absurd"


def _repeats(listing: Listing, among: BoolArray) -> tuple[BoolArray, BoolArray, list[Fault]]:
    """Rows that price what earlier ones price: those that say the same, and those that say something else."""
    again, contradicting = np.zeros(len(among), np.bool_), np.zeros(len(among), np.bool_)
    machine = np.zeros(len(among), np.int64)  # one number for a place and a type
    for words in (listing.region, listing.zone, listing.instance_type):
        machine = machine * len(words.vocab) + words.codes
    suspects = np.zeros(len(among), np.bool_)
    for price in listing.prices.values():
        rows = np.flatnonzero(among & ~np.isnan(price))
        _, code, count = np.unique(machine[rows], return_inverse=True, return_counts=True)
        suspects[rows[count[code.ravel()] > 1]] = True
    first: dict[tuple[int, Billing], tuple[int, tuple[float, float, int]]] = {}
    earlier: dict[int, int] = {}
    for row in np.flatnonzero(suspects).tolist():
        said = {
            (int(machine[row]), billing): (float(price[row]), float(listing.gpus[row]), int(listing.gpu.codes[row]))
            for billing, price in listing.prices.items()
            if not np.isnan(price[row])
        }
        known = {key: first[key] for key in said if key in first}
        others = [line for key, (line, facts) in known.items() if facts != said[key]]
        if others:
            contradicting[row], earlier[row] = True, min(others)
        elif len(known) == len(said):
            again[row] = True
        else:
            first |= {key: (row, facts) for key, facts in said.items() if key not in known}

    def message(row: int) -> str:
        line = listing.sheet.lines[earlier[row]]
        return f"line {line} holds the same machine in the same place and says something else"

    return again, contradicting, listing.sheet.found(contradicting, listing.columns["instance_type"], message)


def _devices(listing: Listing, rows: IntArray, called: Canonical) -> tuple[Words, FloatArray, set[str]]:
    """Our names of the devices of `rows`, what share of one each row's count counts, and words that we do not know."""
    both = paired(listing.gpu.take(rows), listing.board.take(rows), lambda gpu, board: f"{gpu}\n{_board(gpu, board)}")
    memory = listing.memory[rows]
    sizes, size_codes = np.unique(np.nan_to_num(memory, nan=0.0), return_inverse=True)
    sizes = np.append(sizes, 0.0)  # no rows, no sizes
    pairs, codes = np.unique(both.codes.astype(np.int64) * len(sizes) + size_codes.ravel(), return_inverse=True)
    names, shares, unknown = [], [], set()
    for pair in pairs.tolist():
        gpu, board = both.vocab[pair // len(sizes)].split("\n")
        size = float(sizes[pair % len(sizes)]) or None
        ours = (called(f"{gpu} {board}", size) if board else None) or called(gpu, size)
        if ours is None:
            unknown.add(gpu)
        names.append(ours or gpu)
        shares.append(share(ours, size) if ours else 1.0)
    encoded = Words.encode(names)
    picked = codes.ravel()
    words = Words(encoded.codes[picked], encoded.vocab)
    counted = np.array(shares, np.float64)[picked]
    # A count that is a fraction already counts whole devices: a sixth of an A10, not a sixth of a sixth.
    whole = listing.gpus[rows] % 1.0 == 0
    return words, np.where(whole, counted, 1.0), unknown


def _board(gpu: str, text: str) -> str:
    """The word for the board in `text`, unless `gpu` has one itself."""
    found = None if BOARD.search(gpu) else BOARD.search(text)
    return found.group(1).casefold() if found else ""


def _book(
    listing: Listing, rows: IntArray, devices: tuple[Words, FloatArray], *, observed_at: datetime, source: str
) -> OfferBook:
    books = [
        _priced(listing, rows, devices, billing, observed_at=observed_at, source=source) for billing in listing.prices
    ]
    return OfferBook.merge(books)


def _priced(
    listing: Listing,
    rows: IntArray,
    devices: tuple[Words, FloatArray],
    billing: Billing,
    *,
    observed_at: datetime,
    source: str,
) -> OfferBook:
    """The offers of one kind of billing."""
    price = listing.prices[billing][rows]
    kept = np.flatnonzero(~np.isnan(price)).astype(np.int64)
    rows, price = rows[kept], price[kept]
    names, shares = devices
    known = vendors.load()
    facts = known.facts(listing.provider)
    kind = listing.instance_type.take(rows)

    def all_of(word: str) -> Words:
        return Words(np.zeros(len(rows), np.int32), (word,))

    columns: dict[str, Column] = {
        "provider": all_of(listing.provider),
        "region": listing.region.take(rows),
        "zone": listing.zone.take(rows),
        "instance_type": kind,
        "billing": all_of(billing.value),
        "accelerator": names.take(kept),
        "tier": all_of(facts.tier.value),
        "fabric": mapped(kind, lambda each: known.fabric(listing.provider, each)),
        "source": all_of(source),
        "gpus": listing.gpus[rows] * shares[kept],
        "usd_per_hour": price,
        "vcpus": np.nan_to_num(listing.vcpus[rows]),
        "host_memory_gib": np.nan_to_num(listing.host_memory_gib[rows]),
        "interruption_rate": np.full(len(rows), nan if billing is Billing.SPOT else 0.0),
        "boot_s": np.full(len(rows), facts.boot_s),
        "min_billing_s": np.full(len(rows), facts.min_billing_s),
        "available": np.full(len(rows), UNKNOWN, np.int64),
        "observed_at": np.full(len(rows), int(observed_at.timestamp()), np.int64),
    }
    return OfferBook.from_columns(columns).sort()
