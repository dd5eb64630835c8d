"""Explanations: why this placement, why not the next, and why not the one somebody asks about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import translate

import numpy as np

from orchestrator.domain.contracts import Policy
from orchestrator.domain.errors import UserError
from orchestrator.domain.offerbook import BoolArray, OfferBook, Words
from orchestrator.domain.plan import Placement, Plan, RefusalCount, Term
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.snapshot import Snapshot
from orchestrator.planning.judge import Judgement, judge
from orchestrator.planning.placements import build
from orchestrator.planning.plan import sizings_of

SHOWN = 20  # findings listed of all that match
CENT = 0.005
COLUMNS = ("provider", "region", "zone", "instance_type", "billing", "accelerator")
NODES = re.compile(r"^\d+x$")  # the count in a placement's label, which is no part of an offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One term of two placements: `usd` is how much more the other one costs."""

    by: str
    name: str
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One offer: its `rank` among all feasible ones (from 1) and how it differs from the best, or why it is out."""

    offer: str
    rank: int | None = None
    placement: Placement | None = None
    differences: tuple[Difference, ...] = ()
    reason: Reason | None = None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer to one question about a plan.

    Without a query: why the best is the best, and the next few with their differences. With one: a finding for each
    of the first of the `matched` offers, used ones first in rank order; `suggestions` are known words where none match.
    """

    query: str | None
    headline: str
    findings: tuple[Finding, ...]
    matched: int
    refusals: tuple[RefusalCount, ...]  # of the offers that match, or of all without a query
    suggestions: tuple[str, ...] = ()


def explain(plan: Plan, snapshot: Snapshot, policies: Sequence[Policy], query: str | None = None) -> Explanation:
    """Explain `plan`, made from `snapshot` by `policies`, by judging again.

    `query` holds words that each must be part of the offer's provider, region, zone, instance type, billing or
    accelerator, or match one as a glob: `aws spot`, `p5.48xlarge`, a label as the plan shows it.

    Raises: UserError where the snapshot or the policies are not those of the plan.
    """
    if plan.snapshot_id != snapshot.id:
        raise UserError(f"the plan was made from snapshot {plan.snapshot_id}, not from {snapshot.id}; plan again")
    names = tuple(policy.name for policy in policies)
    if plan.policies != names:
        raise UserError(f"the plan was made by the policies {', '.join(plan.policies)}, not {', '.join(names)}")
    # The options are not stored; this one can be read off the refusals.
    buyable_only = any(refusal.code is ReasonCode.NOT_BUYABLE for refusal in plan.refusals)
    if query is None or not query.split():
        return _overview(plan)
    sizings = sizings_of(plan.workload, snapshot)
    judgement = judge(
        plan.workload, snapshot, sizings, policies, buyable_only=buyable_only, keep=max(1, len(snapshot.book))
    )
    return _answer(plan, judgement, query)


def difference(best: Placement, other: Placement) -> tuple[Difference, ...]:
    """How much more each term of `other` costs than that of `best`, the largest first, cents and less left out."""
    usd: dict[tuple[str, str], float] = {(term.by, term.name): -term.usd for term in best.terms}
    for term in other.terms:
        usd[(term.by, term.name)] = usd.get((term.by, term.name), 0.0) + term.usd
    apart = [Difference(by=by, name=name, usd=more) for (by, name), more in usd.items() if abs(more) >= CENT]
    return tuple(sorted(apart, key=lambda part: (-abs(part.usd), part.by, part.name)))


def money(usd: float, *, sign: bool = False) -> str:
    """`$1,234.50`, `+$0.12`, `-$3.00`; four digits behind the point below a cent."""
    digits = 2 if abs(usd) >= 0.01 or usd == 0 else 4
    lead = "-" if usd < 0 else ("+" if sign else "")
    return f"{lead}${abs(usd):,.{digits}f}"


def _overview(plan: Plan) -> Explanation:
    best = plan.best
    if best is None:
        return Explanation(
            query=None,
            headline=_nothing(plan),
            findings=(),
            matched=plan.considered,
            refusals=plan.refusals,
        )
    largest = sorted(best.terms, key=lambda term: -term.usd)
    headline = (
        f"{best.label} has the least objective of {plan.feasible:,} feasible offers: {money(best.objective_usd)} = "
        f"{_sum(largest)}"
    )
    findings = [_ranked(best, placement, rank) for rank, placement in enumerate(plan.ranked, 1)]
    return Explanation(
        query=None,
        headline=headline,
        findings=tuple(findings[:SHOWN]),
        matched=plan.considered,
        refusals=plan.refusals,
    )


def _nothing(plan: Plan) -> str:
    if not plan.refusals:
        return "there is nothing to choose from: the snapshot holds no offers"
    worst = plan.refusals[0]
    example = worst.examples[0]
    most = (
        f"none of {plan.considered:,} offers is feasible; most often, {worst.count:,} times, because of "
        f"{worst.code.value} ({worst.by}): {example.offer} {example.detail}"
    )
    return "; ".join((most, *plan.conflicts))


def _sum(terms: Sequence[Term]) -> str:
    return " + ".join(f"{term.name} {money(term.usd)}" for term in terms) or "no terms"


def _ranked(best: Placement, placement: Placement, rank: int) -> Finding:
    apart = difference(best, placement)
    more = placement.objective_usd - best.objective_usd
    label = " + ".join(part.offer.label for part in placement.parts)
    if rank == 1:
        sentence = f"the best of all, {money(placement.objective_usd)}: {_sum(placement.terms)}"
    elif more < CENT:
        sentence = f"no. {rank}: costs the same; behind on the tie-break (risk, then what can be bought, then name)"
    else:
        parts = ", ".join(f"{part.name} {money(part.usd, sign=True)}" for part in apart)
        sentence = f"no. {rank}: costs {money(more)} more: {parts or 'less than a cent in every term'}"
    return Finding(offer=label, rank=rank, placement=placement, differences=apart, sentence=sentence)


def _answer(plan: Plan, judgement: Judgement, query: str) -> Explanation:
    book = judgement.sieve.book
    asked = matching(book, query)
    matched = int(np.count_nonzero(asked))
    if not matched:
        close = suggestions(book, query)
        hint = f"; known and similar: {', '.join(close)}" if close else ""
        return Explanation(
            query=query,
            headline=f"no offer matches '{query}'{hint}",
            findings=(),
            matched=0,
            refusals=(),
            suggestions=close,
        )
    order = judgement.best(len(judgement.candidates))
    ranks = np.flatnonzero(asked[judgement.candidates.offer[order]])
    placements = build(judgement, order[ranks[:SHOWN]])
    best = plan.best
    ahead = sum(len(one.parts) > 1 for one in plan.ranked)  # placements in parts stand before all others
    findings = [
        _ranked(best or placement, placement, rank + 1 + ahead)
        for rank, placement in zip(ranks[:SHOWN].tolist(), placements, strict=True)
    ]
    refused = np.flatnonzero(asked & ~judgement.sieve.open)
    for row in refused[: SHOWN - len(findings)].tolist():
        reason = judgement.sieve.reason(row)
        if reason is not None:
            sentence = f"refused by {reason.by} ({reason.code.value}): {reason.detail}"
            findings.append(Finding(offer=book[row].label, reason=reason, sentence=sentence))
    verb = "offer matches" if matched == 1 else "offers match"
    headline = f"{matched:,} {verb} '{query}': {len(ranks):,} feasible, {len(refused):,} refused"
    if len(ranks):
        headline += f"; the best of them is no. {int(ranks[0]) + 1 + ahead} of {len(order) + ahead:,}"
    return Explanation(
        query=query,
        headline=headline,
        findings=tuple(findings),
        matched=matched,
        refusals=judgement.sieve.counts(among=asked),
    )


def _pieces(query: str) -> list[str]:
    words = [piece for word in query.split() for piece in word.split("/") if piece]
    return [word.casefold() for word in words if not NODES.match(word)]


def matching(book: OfferBook, query: str) -> BoolArray:
    """Shape (n,): every word of the query is in one of the row's words."""
    found = np.ones(len(book), np.bool_)
    for piece in _pieces(query):
        anywhere = np.zeros(len(book), np.bool_)
        for name in COLUMNS:
            anywhere |= _holds(getattr(book, name), piece)
        found &= anywhere
    return found


def _holds(column: Words, piece: str) -> BoolArray:
    glob = re.compile(translate(piece)) if any(sign in piece for sign in "*?[") else None
    folded = (word.casefold() for word in column.vocab)
    hits = (bool(glob.match(word)) if glob else piece in word for word in folded)
    return np.fromiter(hits, np.bool_, len(column.vocab))[column.codes]


def suggestions(book: OfferBook, query: str) -> tuple[str, ...]:
    """Known words that are spelt like those of the query that match nothing."""
    columns: list[Words] = [getattr(book, name) for name in COLUMNS]
    known = {word.casefold(): word for column in columns for word in column.vocab if word}
    strange = [piece for piece in _pieces(query) if not any(_holds(column, piece).any() for column in columns)]
    close = [match for piece in strange for match in get_close_matches(piece, known, 3, 0.6)]
    return tuple(dict.fromkeys(known[word] for word in close))
