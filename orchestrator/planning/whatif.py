"""What if: a plan made again over an edited market or job, and how the two differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.errors import UserError
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, OfferBook
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.planning.explain import Difference, difference, matching, money, suggestions
from orchestrator.planning.plan import PlanOptions, plan

MOVES = 5  # offers told whose rank changed
PRICE = re.compile(r"^(?P<words>.*\S)\s*=\s*(?P<sign>[+-]?)\$?(?P<number>\d+(?:\.\d+)?)(?P<unit>%|/h)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of the market: what it says, and how many offers it changed."""

    words: str
    offers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An offer whose rank among the best changed; None is not among them."""

    offer: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How many offers a reason refused before and after."""

    by: str
    code: ReasonCode
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """Two plans of one job: `edits` are what was changed between them, in words."""

    edits: tuple[str, ...]
    headline: str
    before: Placement | None
    after: Placement | None
    more_usd: float | None  # of the objective; None where one of the two has no placement
    differences: tuple[Difference, ...]
    moves: tuple[Move, ...]
    shifts: tuple[Shift, ...]
    feasible_before: int
    feasible_after: int


class Market:
    """A snapshot under edits, each of which must match something."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.edits: list[Edit] = []
        self._said: dict[str, tuple[BoolArray, str]] = {}

    def price(self, text: str) -> None:
        """`aws p5.48xlarge=-20%` moves prices by a share, `=$30/h` sets them, per node and hour."""
        found = PRICE.match(text)
        if found is None or (found["unit"] == "%") == (found["sign"] == ""):
            raise UserError(f"--price {text}: write OFFER=-20%, OFFER=+10% or OFFER=$30/h")
        rows, number = self._rows("--price", found["words"]), float(found["number"])
        if found["unit"] == "%":
            factor = 1.0 + (number if found["sign"] == "+" else -number) / 100.0
            if factor <= 0:
                raise UserError(f"--price {text}: that leaves no price; to see a free offer set it to $0.01/h")
            words = f"{found['words']}: price {found['sign']}{number:g} %"
            self._edit("price", text, rows, words, usd_per_hour=lambda old: old * factor)
            return
        if found["sign"] or number <= 0:
            raise UserError(f"--price {text}: a price is more than 0")
        self._edit("price", text, rows, f"{found['words']}: {money(number)} an hour", usd_per_hour=lambda _: number)

    def sold_out(self, words: str) -> None:
        """No node of the offers that match `words` is on sale."""
        rows = self._rows("--sold-out", words)
        self._edit("stock", words, rows, f"{words}: sold out", available=lambda _: 0)

    def add_nodes(self, text: str) -> None:
        """`aws p5=+16` has so many more on sale, `=64` exactly so many."""
        words, _, number = text.rpartition("=")
        if not words.strip() or not re.fullmatch(r"\+?\d{1,7}", number.strip()):
            raise UserError(f"--add-nodes {text}: write OFFER=+16 or OFFER=64")
        rows, count, more = self._rows("--add-nodes", words), int(number), number.strip().startswith("+")
        if more:
            known = rows & (self.snapshot.book.available != UNKNOWN)
            if not known.any():
                raise UserError(f"--add-nodes {text}: nobody says how many are on sale: enough are assumed already")
            label = f"{words.strip()}: {count} more nodes"
            self._edit("stock", text, known, label, available=lambda old: old + count)
            return
        self._edit("stock", text, rows, f"{words.strip()}: {count} nodes on sale", available=lambda _: count)

    def without(self, provider: str) -> None:
        """No offer of `provider` is there."""
        book = self.snapshot.book
        known = {word.casefold(): word for word in book.provider.vocab}
        if provider.casefold() not in known:
            close = suggestions(book, provider)
            raise UserError(f"--without {provider}: no such provider{_hint(close or tuple(known.values())[:5])}")
        gone = book.provider.isin(frozenset({known[provider.casefold()]}))
        self.edits.append(Edit(words=f"without {known[provider.casefold()]}", offers=int(np.count_nonzero(gone))))
        self._said = {kind: (rows[~gone], text) for kind, (rows, text) in self._said.items()}
        self.snapshot = replace(self.snapshot, book=book.where(~gone))

    def _rows(self, option: str, words: str) -> BoolArray:
        book = self.snapshot.book
        rows = matching(book, words)
        if not words.split() or not rows.any():
            raise UserError(f"{option} {words}: no offer matches{_hint(suggestions(book, words))}")
        return rows

    def _edit(
        self, kind: str, text: str, rows: BoolArray, words: str, **columns: Callable[[FloatArray], FloatArray | float]
    ) -> None:
        before = self._said.get(kind)
        if before is not None and (before[0] & rows).any():
            raise UserError(f"'{text}' and '{before[1]}' change the same offers; say which of the two you mean")
        self._said[kind] = (rows if before is None else before[0] | rows, text)
        changed = self.snapshot.book.columns()
        for name, change in columns.items():
            old = getattr(self.snapshot.book, name)
            changed[name] = np.where(rows, change(old), old).astype(old.dtype)
        self.edits.append(Edit(words=words, offers=int(np.count_nonzero(rows))))
        self.snapshot = replace(self.snapshot, book=OfferBook.from_columns(changed))


def _hint(words: Sequence[str]) -> str:
    return f"; known and similar: {', '.join(words)}" if words else ""


def what_if(
    made: Plan, workload: Workload, snapshot: Snapshot, policies: Sequence[Policy], edits: Sequence[str]
) -> WhatIf:
    """`made` beside the plan of `workload` over `snapshot`, the edited job and market.

    Raises: as `planning.plan.plan`.
    """
    buyable_only = any(refusal.code is ReasonCode.NOT_BUYABLE for refusal in made.refusals)
    options = PlanOptions(keep=max(20, len(made.ranked)), buyable_only=buyable_only)
    again = plan(workload, snapshot, policies, options)
    before, after = made.best, again.best
    more = None if before is None or after is None else after.objective_usd - before.objective_usd
    return WhatIf(
        edits=tuple(edits),
        headline=_headline(before, after, more),
        before=before,
        after=after,
        more_usd=more,
        differences=() if before is None or after is None else difference(before, after),
        moves=_moves(made, again),
        shifts=_shifts(made, again),
        feasible_before=made.feasible,
        feasible_after=again.feasible,
    )


def _headline(before: Placement | None, after: Placement | None, more: float | None) -> str:
    if before is None:
        return "still nothing is feasible" if after is None else f"feasible then: {after.label}"
    if after is None or more is None:
        return f"nothing would be feasible; now it is {before.label}"
    share = f", {more / before.objective_usd * 100:+.1f} %" if before.objective_usd else ""
    price = "at the same objective" if abs(more) < 0.005 else f"at {money(more, sign=True)}{share}"
    same = before.label == after.label
    return f"the choice stays {after.label}, {price}" if same else f"the choice moves to {after.label}, {price}"


def _key(placement: Placement) -> str:
    """What keeps its rank whatever its number of nodes: the offer, or all offers of a placement in parts."""
    return " + ".join(part.offer.label for part in placement.parts)


def _moves(made: Plan, again: Plan) -> tuple[Move, ...]:
    """Offers of the first few of either plan whose rank is another, in the order of the new ranks."""
    ranks = [{_key(p): rank for rank, p in enumerate(each.ranked, 1)} for each in (made, again)]
    old, new = ranks
    first = [label for each in (new, old) for label, rank in each.items() if rank <= MOVES]
    moved = [label for label in dict.fromkeys(first) if old.get(label) != new.get(label)]
    return tuple(Move(offer=label, before=old.get(label), after=new.get(label)) for label in moved)


def _shifts(made: Plan, again: Plan) -> tuple[Shift, ...]:
    counts = [{(r.by, r.code): r.count for r in each.refusals} for each in (made, again)]
    keys = sorted({*counts[0], *counts[1]})
    shifts = (
        Shift(by=by, code=code, before=counts[0].get((by, code), 0), after=counts[1].get((by, code), 0))
        for by, code in keys
    )
    return tuple(shift for shift in shifts if shift.before != shift.after)
