"""Relaxations: what each limit of a job costs, found by planning without it or with a looser one.

What a limit on places, vendors, devices or billing refuses is judged again alone: no other offer changes, so that the
best of both is what planning again gives. A deadline changes how many nodes every offer takes, so all are judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Audits, Bills, Policy, RewardsSpeed
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray
from orchestrator.domain.plan import Placement
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sites import Atlas
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import BatchInference, FineTune, Inference, LatencyTarget, Limits, Training, Workload
from orchestrator.planning.judge import Judgement, judge
from orchestrator.planning.limits import DEFAULT_BILLING
from orchestrator.planning.placements import build
from orchestrator.planning.plan import sizings_of

LEAST_USD, LEAST_SHARE = 1.0, 0.01  # a saving is told where it is more than either
LOOKED_AT = 64  # of the best offers that a limit refuses: whence the words come
NAMED = 3  # regions, providers, devices of one limit that are told apart
DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """One change of the job and the best placement with it.

    `saving_usd` is of the objective, None where nothing was feasible before; `share` is of the objective before.
    """

    limit: str  # the field of the job file: "limits.regions"
    change: str  # "allow eu-north-1"
    placement: Placement
    saving_usd: float | None
    share: float | None


class Case(NamedTuple):
    """What is planned: as for `planning.plan.plan`."""

    workload: Workload
    snapshot: Snapshot
    policies: tuple[Policy, ...]
    buyable_only: bool = False


class _Change(NamedTuple):
    """A looser job; only offers where `among` is True can change by it (None: all), `policies` where those do."""

    limit: str
    words: str
    workload: Workload
    among: BoolArray | None = None
    policies: tuple[Policy, ...] | None = None
    resized: bool = False


def relaxations(case: Case) -> tuple[Relaxation, ...]:
    """What loosening or lifting each limit of `case` saves, the largest saving first.

    Only savings of more than 1 % or a dollar. Where nothing is feasible: every single change that makes the job
    feasible, the cheapest first, and pairs of changes where no single one does. Raises: as `planning.plan.plan`.
    """
    sizings = sizings_of(case.workload, case.snapshot)
    now = _judged(case, sizings, case.workload)
    changes = list(_changes(case, sizings, now))
    found = [each for change in changes if (each := _tried(case, sizings, now, change)) is not None]
    if not len(now.candidates) and not found:
        found = [
            each for pair in combinations(_lifts(changes), 2) if (each := _pair(case, sizings, now, pair)) is not None
        ]
    kept: dict[tuple[str, float], Relaxation] = {}
    for each in sorted(found, key=lambda r: (r.placement.objective_usd, _size(r.change), r.limit, r.change)):
        # The same placement by a larger change of the same limit says nothing new.
        kept.setdefault((f"{each.limit} {each.placement.label}", round(each.placement.objective_usd, 6)), each)
    return tuple(kept.values())


def _size(change: str) -> tuple[bool, int]:
    """Lifting a limit is a larger change than loosening it."""
    return (change.startswith("no "), len(change))


def _judged(
    case: Case,
    sizings: Mapping[str, Sizing | Reason],
    workload: Workload,
    *,
    among: BoolArray | None = None,
    policies: Sequence[Policy] | None = None,
    keep: int = 1,
) -> Judgement:
    chosen = case.policies if policies is None else policies
    return judge(workload, case.snapshot, sizings, chosen, buyable_only=case.buyable_only, keep=keep, among=among)


def _tried(case: Case, sizings: Mapping[str, Sizing | Reason], now: Judgement, change: _Change) -> Relaxation | None:
    """What `change` is worth; None where it is not."""
    if change.among is not None and not change.among.any():
        return None
    sizes = sizings_of(change.workload, case.snapshot) if change.resized else sizings
    then = _judged(case, sizes, change.workload, among=change.among, policies=change.policies)
    if not len(then.candidates):
        return None
    best = build(then, then.best(1))[0]
    if not len(now.candidates):
        return Relaxation(limit=change.limit, change=change.words, placement=best, saving_usd=None, share=None)
    before = float(now.objective.min())
    saved = before - best.objective_usd
    share = saved / before if before > 0 else 0.0
    if saved <= LEAST_USD and (share <= LEAST_SHARE or saved <= 0):
        return None
    return Relaxation(limit=change.limit, change=change.words, placement=best, saving_usd=saved, share=share)


def _lifts(changes: Iterable[_Change]) -> list[_Change]:
    return [change for change in changes if change.words.startswith("no ") and not change.resized]


def _pair(
    case: Case, sizings: Mapping[str, Sizing | Reason], now: Judgement, pair: tuple[_Change, _Change]
) -> Relaxation | None:
    """Two limits lifted at once."""
    one, other = pair
    if one.policies is not None and other.policies is not None:
        return None
    limits = replace(other.workload.limits, **_apart(case.workload.limits, one.workload.limits))
    data = one.workload.data if one.workload.data != case.workload.data else other.workload.data
    workload = replace(other.workload, limits=limits, data=data)
    policies = one.policies or other.policies
    both = _Change(f"{one.limit} and {other.limit}", f"{one.words} and {other.words}", workload, None, policies)
    return _tried(case, sizings, now, both)


def _apart(before: Limits, after: Limits) -> dict[str, Any]:
    names = Limits.__slots__
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


def _changes(case: Case, sizings: Mapping[str, Sizing | Reason], now: Judgement) -> Iterable[_Change]:
    yield from _places(case, sizings, now)
    yield from _billing(case, now)
    yield from _deadline(case)
    yield from _budget(case, now)
    yield from _latency(case, now)
    yield from _arithmetic(case)
    yield from _data(case, now)
    yield from _refusers(case, now)


class _Filter(NamedTuple):
    """A limit that is a list of words."""

    field: str
    code: ReasonCode
    lifted: str
    verb: str
    word: Callable[[int], str]  # the word that would admit a row


def _places(case: Case, sizings: Mapping[str, Sizing | Reason], now: Judgement) -> Iterable[_Change]:
    """Regions, residency, providers and accelerators: each word that would help, and none of the limit at all."""
    book, limits, atlas = case.snapshot.book, case.workload.limits, Atlas(case.snapshot.network)

    def country(row: int) -> str:
        place = atlas.site(book.provider[row], book.region[row])
        return place.country if place is not None else ""

    for each in (
        _Filter("regions", ReasonCode.REGION, "no limit on regions", "allow", book.region.__getitem__),
        _Filter("residency", ReasonCode.RESIDENCY, "no limit on residency", "let the data be in", country),
        _Filter("providers", ReasonCode.PROVIDER, "no limit on providers", "allow", book.provider.__getitem__),
        _Filter("accelerators", ReasonCode.ACCELERATOR, "no limit on devices", "allow", book.accelerator.__getitem__),
    ):
        given: tuple[str, ...] = getattr(limits, each.field)
        caught = now.sieve.caught(each.code)
        if not given or not caught.any():
            continue
        lifted = _Change(f"limits.{each.field}", each.lifted, _limited(case, **{each.field: ()}), caught)
        admitted = _judged(case, sizings, lifted.workload, among=caught, keep=LOOKED_AT)
        words: dict[str, None] = {}
        for row in admitted.candidates.offer[admitted.best(len(admitted.candidates))].tolist():
            word = each.word(row)
            if word:
                words.setdefault(word)
            if len(words) == NAMED:
                break
        for word in words:
            named = _limited(case, **{each.field: (*given, word)})
            yield _Change(lifted.limit, f"{each.verb} {word}", named, caught)
        yield lifted


def _limited(case: Case, **changes: Any) -> Workload:
    return replace(case.workload, limits=replace(case.workload.limits, **changes))


def _billing(case: Case, now: Judgement) -> Iterable[_Change]:
    allowed = case.workload.limits.billing or DEFAULT_BILLING
    caught = now.sieve.caught(ReasonCode.BILLING)
    for kind in Billing:
        if kind not in allowed:
            yield _Change("limits.billing", f"allow {kind.value}", _limited(case, billing=(*allowed, kind)), caught)


def _deadline(case: Case) -> Iterable[_Change]:
    limits, field = case.workload.limits, "limits.deadline"
    if isinstance(case.workload, Inference) or (limits.deadline_s is None and limits.finish_by is None):
        return
    total_s = limits.deadline_s
    if limits.finish_by is not None:
        left_s = (limits.finish_by - case.snapshot.taken_at).total_seconds()
        total_s = left_s if total_s is None else min(total_s, left_s)
    for words, more_s in (("10 % more time", 0.1 * max(total_s or 0.0, 0.0)), ("one more day", DAY_S)):
        later = {
            "deadline_s": None if limits.deadline_s is None else limits.deadline_s + more_s,
            "finish_by": None if limits.finish_by is None else limits.finish_by + timedelta(seconds=more_s),
        }
        if more_s > 0:
            yield _Change(field, words, _limited(case, **later))
    yield _Change(field, "no deadline", _limited(case, deadline_s=None, finish_by=None))


def _budget(case: Case, now: Judgement) -> Iterable[_Change]:
    if case.workload.limits.budget_usd is not None:
        caught = now.sieve.caught(ReasonCode.BUDGET)
        yield _Change("limits.budget", "no budget", _limited(case, budget_usd=None), caught)


def _latency(case: Case, now: Judgement) -> Iterable[_Change]:
    target = case.workload.limits.latency
    if target == LatencyTarget():
        return
    caught = now.sieve.caught(ReasonCode.LATENCY)
    looser = LatencyTarget(
        first_token_s=None if target.first_token_s is None else 1.1 * target.first_token_s,
        per_token_s=None if target.per_token_s is None else 1.1 * target.per_token_s,
        total_s=None if target.total_s is None else 1.1 * target.total_s,
    )
    yield _Change("limits.latency", "10 % more latency", _limited(case, latency=looser), caught)
    yield _Change("limits.latency", "no limit on latency", _limited(case, latency=LatencyTarget()), caught)


def _arithmetic(case: Case) -> Iterable[_Change]:
    """Narrower weights where nobody allowed them, and the layout that was stated."""
    job = case.workload
    if isinstance(job, Inference | BatchInference) and not job.quantise and job.precision.bits > 8:
        narrow = Precision.INT8 if Precision.FP8 in job.stack.lacks else Precision.FP8
        narrower: Workload = replace(job, quantise=(narrow,))
        yield _Change("quantise", f"allow 8-bit weights ({narrow})", narrower, resized=True)
    if isinstance(job, Training | FineTune) and job.parallelism is not None:
        free: Workload = replace(job, parallelism=None)
        yield _Change("parallelism", "no stated layout", free, resized=True)


def _data(case: Case, now: Judgement) -> Iterable[_Change]:
    """Data that has to be brought: what it would be worth to have it there already; data that may not leave."""
    data = case.workload.data
    if data.stays:
        free = replace(case.workload, data=replace(data, stays=False))
        yield _Change("data.stays", "no limit on where the data goes", free, now.sieve.caught(ReasonCode.RESIDENCY))
    if data.location and data.size_gib > 0:
        here = replace(case.workload, data=replace(data, size_gib=0.0))
        yield _Change("data.location", "have the data where the job runs", here)


def _refusers(case: Case, now: Judgement) -> Iterable[_Change]:
    """Whatever else a policy refuses by its settings: what its plan would be if it only priced."""
    told = {ReasonCode.BUDGET, ReasonCode.LATENCY, ReasonCode.RESIDENCY}
    for index, policy in enumerate(case.policies):
        codes = {rule.code for rule in now.sieve.rules if rule.by == policy.name}
        if not codes - told:
            continue
        caught = np.zeros(len(case.snapshot.book), np.bool_)
        for code in codes - told:
            caught |= now.sieve.caught(code, policy.name)
        lenient = (*case.policies[:index], _Lenient(policy, frozenset(codes - told)), *case.policies[index + 1 :])
        words = f"no refusals for {', '.join(sorted(codes - told))}"
        # More nodes may have been taken to pass: then every offer is judged again.
        wide = "refusals" in (_rewards(policy, now.view) or {"refusals"})
        among = None if wide else caught
        yield _Change(f"policies.{policy.name}", words, case.workload, among, lenient)


def _rewards(policy: Policy, view: PlanView) -> frozenset[str]:
    return policy.rewards_speed(view) if isinstance(policy, RewardsSpeed) else frozenset()


class _Lenient:
    """A policy that prices as another does and does not refuse for some reasons."""

    def __init__(self, policy: Policy, codes: frozenset[ReasonCode]) -> None:
        self.name = policy.name
        self._policy, self._codes = policy, codes
        self.bills = policy.bills if isinstance(policy, Bills) else frozenset[str]()
        self.enforces = frozenset(getattr(policy, "enforces", ()))

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        return [found for found in self._policy.refuse(view, candidates) if found.code not in self._codes]

    def audit(self, view: PlanView, candidates: Candidates, bill: Usd) -> Sequence[Refusals]:
        if not isinstance(self._policy, Audits):
            return ()
        return [found for found in self._policy.audit(view, candidates, bill) if found.code not in self._codes]

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        return self._policy.price(view, candidates)

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        return _rewards(self._policy, view)
