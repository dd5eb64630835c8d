"""Conflicts: which few limits together refuse everything, where a job has no feasible placement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Bills, Policy
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import LatencyTarget, Limits, Workload
from orchestrator.planning.judge import Judgement, judge
from orchestrator.planning.limits import hours_left

Sizer = Callable[[Workload], Mapping[str, Sizing | Reason]]
MOST = 3  # conflicts that are told, each of limits of its own
ALL_LIMITS = frozenset({"budget_usd", "latency", "residency", "data.stays"})


class Case(NamedTuple):
    """What is judged: a job over a market by policies."""

    workload: Workload
    snapshot: Snapshot
    policies: tuple[Policy, ...]
    buyable_only: bool = False


class Lift(NamedTuple):
    """One limit that is set: what it is called, and the case without it."""

    words: str
    without: Callable[[Case], Case]


def conflicts(case: Case, sizer: Sizer) -> tuple[str, ...]:
    """For a job without a feasible placement: sentences, each about a few limits that cannot be kept together.

    Each is minimal: its limits together, all others lifted, refuse every offer, and without any one of them something
    is feasible; a pair is found where there is one. The limits told of in one sentence are left out of the next. Where
    nothing is feasible with all limits lifted, that is what is said. Empty for an empty market.

    Judges twice as often as there are limits, and once more for every pair where three or more are at odds.
    """
    if not len(case.snapshot.book):
        return ()
    trial = _Trial(case, sizer)
    lifts = _lifts(case)
    if not trial.feasible(()):
        return (f"without any of the limits nothing is feasible either: {trial.why(())}",)
    told: list[str] = []
    while lifts and len(told) < MOST and not trial.feasible(lifts):
        core = _core(trial, lifts)
        told.append(_sentence(trial, core))
        lifts = tuple(lift for lift in lifts if lift not in core)
    return tuple(told)


class _Trial:
    """Judges the case with some of its limits kept, each choice once."""

    def __init__(self, case: Case, sizer: Sizer) -> None:
        self._case = case
        self._sizer = sizer
        self._all = _lifts(case)
        self._sizings: dict[LatencyTarget, Mapping[str, Sizing | Reason]] = {}
        self._known: dict[frozenset[str], Judgement] = {}

    def judge(self, kept: Sequence[Lift]) -> Judgement:
        """The judgement with all limits lifted but those `kept`."""
        names = frozenset(lift.words for lift in kept)
        if names not in self._known:
            self._known[names] = self._judged(names)
        return self._known[names]

    def feasible(self, kept: Sequence[Lift]) -> int:
        """How many offers are feasible then."""
        return len(self.judge(kept).candidates)

    def why(self, kept: Sequence[Lift]) -> str:
        """The most frequent reason then, with its nearest example."""
        counts = self.judge(kept).sieve.counts()
        first = counts[0]
        example = first.examples[0]
        are = f"{_offers(first.count)} {'is' if first.count == 1 else 'are'}"
        return f"{are} refused for {first.code.value}, such as {example.offer}: {example.detail}"

    def _judged(self, names: frozenset[str]) -> Judgement:
        case = self._case
        for lift in self._all:
            if lift.words not in names:
                case = lift.without(case)
        latency = case.workload.limits.latency
        if latency not in self._sizings:  # a service is sized to keep its limits
            self._sizings[latency] = self._sizer(case.workload)
        sizings = self._sizings[latency]
        return judge(case.workload, case.snapshot, sizings, case.policies, buyable_only=case.buyable_only, keep=1)


def _core(trial: _Trial, lifts: tuple[Lift, ...]) -> tuple[Lift, ...]:
    """The least of `lifts` that refuse everything: one, else a pair, else what leaving out one after another leaves."""
    for lift in lifts:
        if not trial.feasible((lift,)):
            return (lift,)
    core = lifts
    for lift in reversed(lifts):  # what is set in the job is kept longest: it comes first
        rest = tuple(each for each in core if each is not lift)
        if not trial.feasible(rest):
            core = rest
    if len(core) == 2:
        return core
    for index, one in enumerate(lifts):
        for other in lifts[index + 1 :]:
            if not trial.feasible((one, other)):
                return one, other
    return core


def _sentence(trial: _Trial, core: tuple[Lift, ...]) -> str:
    words = [lift.words for lift in core]
    if len(core) == 1:
        return f"{words[0]} alone rules everything out: {trial.why(core)}"
    if len(core) == 2:
        left = [f"{_offers(trial.feasible((lift,)))} with {lift.words} alone" for lift in core]
        return (
            f"{words[0]} and {words[1]} cannot be kept together: feasible are {left[0]} and {left[1]}, none with both"
        )
    named = f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{named} cannot be kept together; without any one of them something is feasible"


def _offers(count: int) -> str:
    return "1 offer" if count == 1 else f"{count:,} offers"


def _lifts(case: Case) -> tuple[Lift, ...]:
    """The limits of the job, then those of the settings."""
    return (*_of_job(case), *_of_settings(case))


def _of_job(case: Case) -> list[Lift]:
    workload, limits, latency = case.workload, case.workload.limits, case.workload.limits.latency
    left_h = hours_left(workload, case.snapshot)
    given: list[tuple[object, str, dict[str, object]]] = [
        (limits.budget_usd, f"a budget of ${limits.budget_usd or 0:,.2f}", {"budget_usd": None}),
        (left_h is not None, _deadline(left_h or 0.0), {"deadline_s": None, "finish_by": None}),
        (limits.residency, f"residency in {', '.join(limits.residency)}", {"residency": ()}),
        (limits.regions, f"the regions {', '.join(limits.regions)}", {"regions": ()}),
        (limits.providers, f"the providers {', '.join(limits.providers)}", {"providers": ()}),
        (limits.accelerators, f"the accelerators {', '.join(limits.accelerators)}", {"accelerators": ()}),
        (limits.billing, f"billing {', '.join(limits.billing)}", {"billing": ()}),
    ]
    lifts = [Lift(words, _without(**fields)) for is_set, words, fields in given if is_set]
    if workload.data.stays:
        lifts.append(Lift(f"data that stays in {workload.data.location}", _free))
    for name, words in (("first_token_s", "a first token"), ("per_token_s", "a token"), ("total_s", "a whole answer")):
        seconds = getattr(latency, name)
        if seconds is not None:
            lifts.append(Lift(f"{words} within {seconds * 1000:,.0f} ms", _without_target(name)))
    return lifts


def _deadline(left_h: float) -> str:
    return f"a deadline in {left_h:,.1f} h" if left_h > 0 else "a deadline that is past"


def _of_settings(case: Case) -> list[Lift]:
    lifts = []
    if case.buyable_only:
        lifts.append(Lift("buying from the providers set up", lambda each: each._replace(buyable_only=False)))
    if case.snapshot.spends:
        lifts.append(Lift("what is left of the budgets in the settings", _without_purses))
    for policy in case.policies:
        # A policy that keeps a limit of the job is lifted with that limit.
        if not _enforces(policy) & ALL_LIMITS:
            lifts.append(Lift(f"the settings of policy '{policy.name}'", _lenient(policy.name)))
    return lifts


def _enforces(policy: Policy) -> frozenset[str]:
    found: frozenset[str] = getattr(policy, "enforces", frozenset())
    return found


def _without(**fields: object) -> Callable[[Case], Case]:
    def lifted(case: Case) -> Case:
        limits: Limits = replace(case.workload.limits, **fields)  # type: ignore[arg-type]
        return case._replace(workload=replace(case.workload, limits=limits))

    return lifted


def _without_target(name: str) -> Callable[[Case], Case]:
    def lifted(case: Case) -> Case:
        limits = case.workload.limits
        target: LatencyTarget = replace(limits.latency, **{name: None})
        return case._replace(workload=replace(case.workload, limits=replace(limits, latency=target)))

    return lifted


def _free(case: Case) -> Case:
    return case._replace(workload=replace(case.workload, data=replace(case.workload.data, stays=False)))


def _without_purses(case: Case) -> Case:
    return case._replace(snapshot=replace(case.snapshot, spends=()))


def _lenient(name: str) -> Callable[[Case], Case]:
    def lifted(case: Case) -> Case:
        policies = tuple(Lenient(policy) if policy.name == name else policy for policy in case.policies)
        return case._replace(policies=policies)

    return lifted


class Lenient:
    """A policy that prices as another does and refuses nothing."""

    def __init__(self, policy: Policy) -> None:
        self.name = policy.name
        self.bills = policy.bills if isinstance(policy, Bills) else frozenset[str]()
        self._policy = policy

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing."""
        del view, candidates
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """What the policy says."""
        return self._policy.price(view, candidates)
