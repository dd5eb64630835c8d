"""The reliability policy: what failures beyond the usual, and purchases that come to nothing, are expected to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.interruptions import USUAL_FAILURES_PER_NODE_HOUR, rework
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.standing import ProviderScore
from orchestrator.domain.tenure import working_h

NAME = "reliability"
DEFAULTS: Mapping[str, float] = {
    "max_failures_per_node_hour": 0.0,  # more is refused; 0 is no limit
    "max_refused": 0.0,  # share of purchases that come to nothing; more is refused; 0 is no limit
    "retry_s": 300.0,  # what a purchase that comes to nothing delays the job by
}
DEVICE_SHARE = 0.59  # of a node's failures: they grow with their number; the sizing's number, which gives its origin
DETECT_H = 0.2  # to see the failure and read the last checkpoint back, besides the boot: the sizing's 12 minutes
DOUBTFUL = 0.5  # chance of getting machines below which it is said
MOST_REFUSED = 0.95  # twenty tries: a share of 1 would be a wait without end


class ReliabilityPolicy:
    """Failures are of machines that were not to be taken back; what is taken back is the term `interruption`.

    The hours of a sizing hold the failures of usual nodes already, so the term `failures` is the rework of what a
    provider's score has beyond them, n·p·(h − boot)·(lost(score) − lost(usual)), and a provider that is better than
    usual gets no credit. The term `refused` is the wait for a purchase that goes through, n·p·retry·r/(1 − r), where r
    is 1 − obtainability of an offer that comes with its vendor's advice, and else the share of the provider's purchases
    that were refused: advice is of this very offer and of now, a score of all that the provider sells.
    """

    name = NAME
    bills = frozenset({"failures"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """RELIABILITY where a node fails, or a purchase comes to nothing, more often than the settings allow."""
        settings = overridden(view.workload, NAME, self._settings)
        most, refused = settings["max_failures_per_node_hour"], settings["max_refused"]
        found = []
        if most:
            rate = _failures(view, candidates)
            template = f"a node fails {{figure:.3g}} times an hour; the limit is {most:.3g}"
            found.append(Refusals(ReasonCode.RELIABILITY, rate > most, template, rate))
        if refused:
            share = _refused(view, candidates)
            template = f"{{figure:.0%}} of the purchases come to nothing; the limit is {refused:.0%}"
            found.append(Refusals(ReasonCode.RELIABILITY, share > refused, template, share))
        return found

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The terms, where a provider has a score."""
        scores, advice = view.snapshot.scores, candidates.book.obtainability
        if not scores and advice is None:
            return {}
        rate, terms = candidates.nodes * candidates.book.usd_per_hour, {}
        if any(score.failures_per_node_hour is not None for score in scores):
            usual, scored = _usual(candidates), _failures(view, candidates)
            lost = _lost(view, candidates, np.maximum(scored, usual)) - _lost(view, candidates, usual)
            terms["failures"] = rate * working_h(view.workload, candidates) * lost
        if advice is not None or any(score.refused is not None for score in scores):
            share = np.minimum(_refused(view, candidates), MOST_REFUSED)
            wait_h = overridden(view.workload, NAME, self._settings)["retry_s"] / 3600.0
            terms["refused"] = rate * wait_h * share / (1.0 - share)
        return terms

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing: more nodes fail more often."""
        return frozenset()

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """Whose scores were counted, of the placements shown."""
        shown = set(candidates.book.provider.compact().vocab)
        told = [_said(score) for score in view.snapshot.scores if score.provider in shown and _says(score)]
        advice = candidates.book.obtainability
        doubtful = 0 if advice is None else int(np.count_nonzero(advice < DOUBTFUL))
        if doubtful:
            told.append(
                f"{doubtful} placements shown are hard to get now, by their vendors' advice: below {DOUBTFUL:.0%}"
            )
        return told


def _usual(candidates: Candidates) -> FloatArray:
    """Failures of a usual node per hour by its devices, shape (n,)."""
    return USUAL_FAILURES_PER_NODE_HOUR * (1.0 - DEVICE_SHARE + DEVICE_SHARE * candidates.book.gpus / 8.0)


def _failures(view: PlanView, candidates: Candidates) -> FloatArray:
    """Failures of a node per hour, shape (n,): the provider's score, else those of a usual node."""
    known = {s.provider: s.failures_per_node_hour for s in view.snapshot.scores if s.failures_per_node_hour is not None}
    scored = _by_provider(candidates, known)
    return np.where(np.isnan(scored), _usual(candidates), scored)


def _refused(view: PlanView, candidates: Candidates) -> FloatArray:
    """Share of purchases that come to nothing, shape (n,); 0 where nobody knows. What is owned is not bought."""
    known = {score.provider: score.refused for score in view.snapshot.scores if score.refused is not None}
    share = np.nan_to_num(_by_provider(candidates, known), nan=0.0)
    advice = candidates.book.obtainability
    if advice is not None:
        share = np.where(np.isnan(advice), share, 1.0 - np.clip(advice, 0.0, 1.0))
    return np.where(candidates.book.billing.isin(frozenset((str(Billing.OWNED),))), 0.0, share)


def _by_provider(candidates: Candidates, known: Mapping[str, float]) -> FloatArray:
    words = candidates.book.provider
    column = np.array([known.get(word, float("nan")) for word in words.vocab], np.float64)
    column[~(column >= 0)] = float("nan")  # no number is no score
    return column[words.codes] if len(column) else np.zeros(len(candidates), np.float64)


def _lost(view: PlanView, candidates: Candidates, rate: FloatArray) -> FloatArray:
    """Hours lost per hour of work at `rate` failures per node-hour."""
    return rework(view.workload, rate, candidates.nodes, candidates.book.boot_s / 3600.0 + DETECT_H)


def _says(score: ProviderScore) -> bool:
    return score.failures_per_node_hour is not None or score.refused is not None


def _said(score: ProviderScore) -> str:
    parts = []
    if score.failures_per_node_hour is not None:
        parts.append(f"{1000.0 * score.failures_per_node_hour:.3g} failures per 1000 node-hours")
    if score.refused is not None:
        parts.append(f"{score.refused:.0%} of purchases refused")
    return f"{score.provider} has {' and '.join(parts)} ({score.origin or 'origin not given'})"


def create(context: PolicyContext) -> ReliabilityPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return ReliabilityPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
