"""Hard limits that belong to no policy: where, what, from whom, and whether the offer is one at all."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from orchestrator.domain import deadline
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, OfferBook, Words
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sites import Sites
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Checkpointing, Limits, Workload
from orchestrator.planning.refusing import blocked
from orchestrator.planning.sanity import absurd
from orchestrator.planning.sieve import Sieve

BY = "planning"
DEFAULT_BILLING = (Billing.ON_DEMAND, Billing.SPOT, Billing.OWNED)  # a reservation is bought for a year: only if asked


def hours_left(workload: Workload, snapshot: Snapshot) -> float | None:
    """Hours from the snapshot to the deadline; None without one (`domain.deadline.hours_left`)."""
    return deadline.hours_left(workload, snapshot.taken_at)


def due_h(workload: Workload, left_h: float, book: OfferBook) -> FloatArray:
    """Hours from the purchase until each offer's work has to be done, shape (len(book),).

    That is the deadline, but on spot it leaves time for one fall-back at the last moment: what the controller sees to
    (`lifecycle.punctual`). After a loss the grace passes, other machines boot, and the work since the last checkpoint,
    at most all of it, is done again: with L = left − 2·boot − grace the work may take max(L / 2, L − interval).
    """
    due = np.full(len(book), left_h)
    spot = book.billing.isin(frozenset((str(Billing.SPOT),)))
    if not spot.any():
        return due
    saves = workload.program.checkpoint if workload.program else Checkpointing()
    boot_h = book.boot_s / 3600.0
    room_h = left_h - 2.0 * boot_h - saves.grace_s / 3600.0
    work_h = np.maximum(room_h / 2.0, room_h - saves.interval_s / 3600.0)
    return np.where(spot, boot_h + work_h, due)


def apply_limits(sieve: Sieve, workload: Workload, snapshot: Snapshot, *, buyable_only: bool) -> None:
    """Refuse what the workload's limits and the offers' own state rule out.

    The order is fixed, and an offer is refused by the first that catches it: a deadline already past, provider,
    buyable (if asked), accelerator, region, billing, no usable price, no quota, refused a short while ago and sold out,
    sold out.
    """
    limits, book = workload.limits, snapshot.book
    left = hours_left(workload, snapshot)
    if left is not None and left <= 0:
        past = f"the deadline was {-left:,.1f} h before the snapshot of {snapshot.taken_at:%Y-%m-%d %H:%M} UTC"
        sieve.refuse(np.ones(len(book), np.bool_), BY, ReasonCode.DEADLINE, lambda _: past)
    _whom(sieve, limits, snapshot, buyable_only=buyable_only)
    _where(sieve, limits)
    _how(sieve, limits)
    _priced(sieve)
    _stock(sieve, snapshot)


def matches(word: str, patterns: Iterable[str]) -> bool:
    """Whether `word` is one of `patterns` or fits one as a glob, whatever the case."""
    folded = word.casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


def accelerator_matches(name: str, patterns: Iterable[str]) -> bool:
    """As `matches`; a family's name stands for its members: `H100` for `H100-SXM` and `H100-PCIe`."""
    family = [f"{pattern}-*" for pattern in patterns]
    return matches(name, [*patterns, *family])


def region_matches(provider: str, region: str, patterns: Iterable[str]) -> bool:
    """Whether `region` or `provider/region` matches."""
    return matches(region, patterns) or matches(f"{provider}/{region}", patterns)


def _words(column: Words, allowed: Iterable[bool]) -> BoolArray:
    """Shape (n,): the answer for each row's word, from one answer per word of the vocabulary."""
    return np.fromiter(allowed, np.bool_, len(column.vocab))[column.codes]


def _whom(sieve: Sieve, limits: Limits, snapshot: Snapshot, *, buyable_only: bool) -> None:
    book = sieve.book
    if limits.providers:
        allowed = _words(book.provider, (matches(word, limits.providers) for word in book.provider.vocab))
        sieve.refuse(
            ~allowed,
            BY,
            ReasonCode.PROVIDER,
            lambda row: f"{book.provider[row]} is not among the providers allowed: {', '.join(limits.providers)}",
        )
    if buyable_only:
        sieve.refuse(
            ~book.provider.isin(frozenset(snapshot.buyable)),
            BY,
            ReasonCode.NOT_BUYABLE,
            lambda row: f"a list price only: no adapter with credentials for {book.provider[row]} is set up",
        )
    if limits.accelerators:
        wanted = limits.accelerators
        allowed = _words(book.accelerator, (accelerator_matches(word, wanted) for word in book.accelerator.vocab))
        sieve.refuse(
            ~allowed,
            BY,
            ReasonCode.ACCELERATOR,
            lambda row: f"{book.accelerator[row]} is not among the accelerators allowed: {', '.join(wanted)}",
        )


def _where(sieve: Sieve, limits: Limits) -> None:
    if not limits.regions:
        return
    book, sites = sieve.book, Sites.of(sieve.book)
    inside = [region_matches(provider, region, limits.regions) for provider, region in sites.keys]
    sieve.refuse(
        ~np.array(inside, np.bool_)[sites.index],
        BY,
        ReasonCode.REGION,
        lambda row: f"{book.region[row]} is outside the regions allowed: {', '.join(limits.regions)}",
    )


def _how(sieve: Sieve, limits: Limits) -> None:
    book = sieve.book
    allowed = tuple(str(billing) for billing in (limits.billing or DEFAULT_BILLING))
    sieve.refuse(
        ~book.billing.isin(frozenset(allowed)),
        BY,
        ReasonCode.BILLING,
        lambda row: f"{book.billing[row]} is not among the kinds of billing allowed: {', '.join(allowed)}",
    )


def _priced(sieve: Sieve) -> None:
    book = sieve.book
    price = book.usd_per_hour
    free = book.billing.isin(frozenset((str(Billing.OWNED),)))  # your own machine may cost nothing
    usable = np.isfinite(price) & ((price > 0) | (free & (price >= 0)))
    usable &= np.isfinite(book.boot_s) & (book.boot_s >= 0) & np.isfinite(book.min_billing_s)
    sieve.refuse(~usable, BY, ReasonCode.NO_PRICE, lambda row: _price_detail(book, row))
    wrong = absurd(book)
    sieve.refuse(wrong.mask, BY, ReasonCode.NO_PRICE, lambda row: wrong.sentence(book, row))


def _stock(sieve: Sieve, snapshot: Snapshot) -> None:
    book, none = sieve.book, sieve.book.available == 0
    if book.quota_nodes is not None:
        sieve.refuse(
            book.quota_nodes == 0, BY, ReasonCode.QUOTA, lambda row: f"quota allows 0 nodes in {book.region[row]}"
        )
    if snapshot.blocks:
        refused = blocked(book, snapshot)
        again = none & refused.among(np.arange(len(book)))
        sieve.refuse(again, BY, ReasonCode.RECENTLY_REFUSED, refused.sentence)
    sieve.refuse(none, BY, ReasonCode.SOLD_OUT, lambda _: "sold out: 0 nodes on sale")


def _price_detail(book: OfferBook, row: int) -> str:
    price, boot_s, least_s = (float(c[row]) for c in (book.usd_per_hour, book.boot_s, book.min_billing_s))
    if np.isfinite(price) and price > 0:
        return f"a boot time of {boot_s} s and a minimum billing of {least_s} s are no basis for a price"
    return f"{price} USD/h is no usable price (source: {book.source[row] or 'none given'})"
