"""The latency policy: how far the users are, how fast the model answers, and what a millisecond is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.network import Place
from orchestrator.domain.offerbook import FloatArray, OfferBook
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sites import ANTIPODE_RTT_MS, Atlas, Sites
from orchestrator.domain.sizing import Service, Sizing
from orchestrator.domain.workload import Inference

NAME = "latency"
DEFAULTS: Mapping[str, float] = {
    "usd_per_ms": 0.0,  # what one millisecond of the mean round trip is worth over the whole horizon
}


class LatencyPolicy:
    """For workloads with users; it neither refuses nor prices any other.

    Hard: `limits.latency`, for the users that are farthest: the time in which 95 of 100 requests get their first token
    (the usual time where a sizing does not say), and every time at the 90th percentile of its estimate. Soft: the term
    `latency`, `usd_per_ms` times the round trip in ms, averaged over the users by request rate.
    """

    name = NAME
    enforces = frozenset({"latency"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def rewards_speed(self, _view: PlanView) -> frozenset[str]:
        """Nothing: how many replicas there are is sized before."""
        return frozenset()

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """LATENCY where the first token, a further token or the whole answer comes too late.

        Raises: UserError where the users' place is unknown.
        """
        workload = view.workload
        if not isinstance(workload, Inference):
            return ()
        target = workload.limits.latency
        atlas = Atlas(view.snapshot.network)
        users = _users(workload, atlas)
        refusals = []
        ttft_s, tpot_s = _answer_times(candidates)
        if target.per_token_s is not None:
            refusals.append(_over("a further token takes", tpot_s, target.per_token_s))
        if target.first_token_s is not None or target.total_s is not None:
            rtt_s = _round_trips(atlas, candidates.book, users).worst / 1000.0
            unknown = np.isnan(rtt_s)
            template = "the place of the offer's region is unknown, and so its distance to the users"
            refusals.append(Refusals(ReasonCode.LATENCY, unknown, template, np.zeros(len(candidates), np.float64)))
            first = np.where(unknown, 0.0, rtt_s) + ttft_s
            most = " in 95 of 100 requests" if all(_says_p95(sizing) for sizing in candidates.sizings) else ""
            if target.first_token_s is not None:
                refusals.append(_over("the first token takes", first, target.first_token_s, most))
            if target.total_s is not None:
                whole = first + workload.output_tokens * tpot_s
                refusals.append(_over("the whole answer takes", whole, target.total_s, most))
        return refusals

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The term `latency` where a millisecond has a price; a region whose place is unknown counts as the antipode.

        Raises: UserError where the users' place is unknown.
        """
        slope = overridden(view.workload, NAME, self._settings)["usd_per_ms"]
        if not isinstance(view.workload, Inference) or not slope:
            return {}
        atlas = Atlas(view.snapshot.network)
        mean_ms = _round_trips(atlas, candidates.book, _users(view.workload, atlas)).mean
        return {"latency": slope * np.where(np.isnan(mean_ms), ANTIPODE_RTT_MS, mean_ms)}


def _over(what: str, seconds: FloatArray, limit_s: float, most: str = "") -> Refusals:
    trip = "" if what.startswith("a further") else "round trip included, "
    template = f"{what} {{figure:,.0f}} ms{most} ({trip}90th percentile); the limit is {limit_s * 1000:,.0f} ms"
    return Refusals(ReasonCode.LATENCY, seconds > limit_s, template, seconds * 1000.0)


def _says_p95(sizing: Sizing) -> bool:
    return isinstance(sizing.effort, Service) and sizing.effort.ttft_p95_s is not None


def _answer_times(candidates: Candidates) -> tuple[FloatArray, FloatArray]:
    """Seconds to the first and to each further token at the 90th percentile of the estimates; a fraction of a device
    is slower by it.
    """
    efforts = {row: sizing.effort for row, sizing in enumerate(candidates.sizings)}
    first = {row: _first_s(effort) if isinstance(effort, Service) else 0.0 for row, effort in efforts.items()}
    further = {row: effort.tpot_s.p90 if isinstance(effort, Service) else 0.0 for row, effort in efforts.items()}
    share = np.minimum(candidates.book.gpus, 1.0)
    return candidates.sized(first) / share, candidates.sized(further) / share


def _first_s(effort: Service) -> float:
    return (effort.ttft_s if effort.ttft_p95_s is None else effort.ttft_p95_s).p90


class _RoundTrips(NamedTuple):
    """Milliseconds per candidate, NaN where the region's place is unknown."""

    mean: FloatArray  # by request rate
    worst: FloatArray


def _users(workload: Inference, atlas: Atlas) -> tuple[tuple[Place, float], ...]:
    """Every population's place and request rate."""
    users = []
    for population in workload.users:
        place = atlas.place(population.place)
        if place is None:
            close = atlas.similar(population.place)
            hint = f"did you mean {' or '.join(close)}?" if close else "give 'latitude,longitude' instead"
            raise UserError(f"the users' place '{population.place}' is unknown; {hint}")
        users.append((place, population.requests_per_s))
    return tuple(users)


def _round_trips(atlas: Atlas, book: OfferBook, users: Sequence[tuple[Place, float]]) -> _RoundTrips:
    """Found once per site, not per offer."""
    sites = Sites.of(book)
    mean, worst = [], []
    rate = sum(rate for _, rate in users)
    for provider, region in sites.keys:
        place = atlas.site(provider, region)
        if place is None:
            mean.append(float("nan"))
            worst.append(float("nan"))
            continue
        trips = [atlas.round_trip(user, place).ms for user, _ in users]
        worst.append(max(trips, default=0.0))
        weighted = sum(ms * share for ms, (_, share) in zip(trips, users, strict=True))
        mean.append(weighted / rate if rate else worst[-1])
    return _RoundTrips(sites.spread(mean), sites.spread(worst))


def create(context: PolicyContext) -> LatencyPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return LatencyPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
