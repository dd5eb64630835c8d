"""Filters and orders an offer book: what `isoflop offers` shows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from orchestrator.catalog import ages
from orchestrator.catalog.accelerators import canonical
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook, Words

GLOB = "*?["


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFilter:
    """What to show; an empty field does not filter. Words are matched without regard to case."""

    gpus: tuple[str, ...] = ()  # names ("A10"), prefixes ("H100" is every H100), vendors' spellings, globs
    providers: tuple[str, ...] = ()  # names or globs
    regions: tuple[str, ...] = ()  # of region, zone or `provider/region`: names or globs
    instance_types: tuple[str, ...] = ()  # names or globs
    billing: tuple[Billing, ...] = ()
    max_usd_per_hour: float | None = None  # of one node
    max_usd_per_gpu_hour: float | None = None
    min_gpus: float | None = None  # in one node
    min_gpu_memory_gib: float | None = None  # of one device, by the accelerator table; unknown devices do not pass
    available_only: bool = False  # known to be in stock
    max_age_s: float | None = None


class Order(StrEnum):
    """By what offers are shown; ties follow in the order of the book."""

    GPU_PRICE = "gpu-price"  # USD per GPU and hour
    PRICE = "price"  # USD per node and hour
    GPU = "gpu"
    PROVIDER = "provider"
    REGION = "region"
    GPUS = "gpus"  # most first
    AGE = "age"  # youngest first


def select(
    book: OfferBook, wanted: OfferFilter, *, accelerators: Sequence[Accelerator] = (), now: datetime | None = None
) -> OfferBook:
    """The offers of `book` that pass every condition of `wanted`, in the book's order.

    `accelerators` is needed for `min_gpu_memory_gib`, `now` for `max_age_s`.

    Raises: ValueError where `max_age_s` is set and `now` is not given.
    """
    return book.where(matching(book, wanted, accelerators=accelerators, now=now))


def matching(
    book: OfferBook, wanted: OfferFilter, *, accelerators: Sequence[Accelerator] = (), now: datetime | None = None
) -> BoolArray:
    """Shape (n,): which offers `select` takes. Raises: as `select` does."""
    return _matches_words(book, wanted) & _matches_numbers(book, wanted, accelerators, now)


def order(book: OfferBook, by: Order = Order.GPU_PRICE) -> IntArray:
    """The rows of `book` in the order they are shown, shape (n,): `book.take(order(book))`."""
    keys: dict[Order, npt.NDArray[np.float64 | np.int64 | np.int32]] = {
        Order.GPU_PRICE: usd_per_gpu_hour(book),
        Order.PRICE: book.usd_per_hour,
        Order.GPU: book.accelerator.codes,
        Order.PROVIDER: book.provider.codes,
        Order.REGION: book.region.codes,
        Order.GPUS: -book.gpus,
        Order.AGE: -book.observed_at,
    }
    return np.argsort(keys[by], kind="stable").astype(np.int64)


def usd_per_gpu_hour(book: OfferBook) -> FloatArray:
    """Price of one whole device per hour, shape (n,)."""
    return book.usd_per_hour / book.gpus


def suggest(word: str, known: Sequence[str]) -> tuple[str, ...]:
    """Up to three of `known` that `word` may have meant."""
    folded = {name.casefold(): name for name in known}
    return tuple(folded[near] for near in difflib.get_close_matches(word.casefold(), folded, n=3, cutoff=0.5))


def matching_gpus(wanted: str, known: Sequence[str]) -> frozenset[str]:
    """The names among `known` that `wanted` stands for.

    The first of these that finds any: a glob; the name itself; names it begins up to a dash or blank ("H100" finds
    H100-SXM and H100-PCIe); a vendor's spelling; names it begins.
    """
    word = wanted.casefold().strip()
    if any(sign in word for sign in GLOB):
        return frozenset(name for name in known if fnmatchcase(name.casefold(), word))
    exact = frozenset(name for name in known if name.casefold() == word)
    if exact:
        return exact
    family = frozenset(name for name in known if name.casefold().startswith((f"{word}-", f"{word} ")))
    if family:
        return family
    ours = canonical(wanted, None)
    if ours is not None and ours in known:
        return frozenset({ours})
    return frozenset(name for name in known if word and name.casefold().startswith(word))


def _matches_words(book: OfferBook, wanted: OfferFilter) -> BoolArray:
    mask = np.ones(len(book), np.bool_)
    if wanted.gpus:
        names = frozenset().union(*(matching_gpus(gpu, book.accelerator.vocab) for gpu in wanted.gpus))
        mask &= book.accelerator.isin(names)
    if wanted.providers:
        mask &= _like(book.provider, wanted.providers)
    if wanted.instance_types:
        mask &= _like(book.instance_type, wanted.instance_types)
    if wanted.billing:
        mask &= book.billing.isin(frozenset(kind.value for kind in wanted.billing))
    if wanted.regions:
        bare = tuple(pattern for pattern in wanted.regions if "/" not in pattern)
        at_provider = tuple(pattern.split("/", 1) for pattern in wanted.regions if "/" in pattern)
        somewhere = _like(book.region, bare) | _like(book.zone, bare)
        for provider, region in at_provider:
            somewhere |= _like(book.provider, (provider,)) & (
                _like(book.region, (region,)) | _like(book.zone, (region,))
            )
        mask &= somewhere
    return mask


def _matches_numbers(
    book: OfferBook, wanted: OfferFilter, accelerators: Sequence[Accelerator], now: datetime | None
) -> BoolArray:
    mask = np.ones(len(book), np.bool_)
    if wanted.max_usd_per_hour is not None:
        mask &= book.usd_per_hour <= wanted.max_usd_per_hour
    if wanted.max_usd_per_gpu_hour is not None:
        mask &= usd_per_gpu_hour(book) <= wanted.max_usd_per_gpu_hour
    if wanted.min_gpus is not None:
        mask &= book.gpus >= wanted.min_gpus
    if wanted.min_gpu_memory_gib is not None:
        large = frozenset(a.name for a in accelerators if a.memory_gib >= wanted.min_gpu_memory_gib)
        mask &= book.accelerator.isin(large)
    if wanted.available_only:
        mask &= book.available > 0
    if wanted.max_age_s is not None:
        if now is None:
            raise ValueError("an age needs a moment to be counted from")
        mask &= ~ages.older_than(book, now, wanted.max_age_s)
    return mask


def _like(column: Words, patterns: Sequence[str]) -> BoolArray:
    """Shape (n,): True where the word is one of `patterns`, each a name or a glob."""
    folded = [pattern.casefold() for pattern in patterns]
    table = [any(fnmatchcase(word.casefold(), pattern) for pattern in folded) for word in column.vocab]
    return np.array(table, np.bool_)[column.codes]
