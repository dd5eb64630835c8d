"""The deadline policy: how likely a candidate is in time, and what time and lateness are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.deadline import Spread, expected_lateness_h, hours_left, probability
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.interruptions import ASSUMED_SPOT_PER_HOUR, hazards, rework
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.tenure import working_h
from orchestrator.domain.workload import Inference

NAME = "deadline"
DEFAULTS: Mapping[str, float] = {
    "confidence": 0.0,  # least probability of being in time; 0 leaves it at the planner's 50th percentile
    "usd_per_hour": 0.0,  # what an hour until the result is worth
    "late_usd_per_hour": 0.0,  # what an hour past the deadline costs you
    "assumed_spot_interruptions_per_hour": ASSUMED_SPOT_PER_HOUR,  # for spot offers of unknown rate
}
LIKELY = 0.9  # a best placement that is in time less often is pointed out


class DeadlinePolicy:
    """For finite work; a service has no deadline.

    The hours are the boot, which the offer states (a queue's wait included), and the work's range p10, p50, p90 with
    the rework that interruptions are expected to cost (`domain.interruptions`). Hard: DEADLINE where the probability of
    being in time (`domain.deadline.probability`) is below `confidence`. Soft, and worth rather than money: `time` is
    `usd_per_hour` times the hours, `late` is `late_usd_per_hour` times the expected hours past the deadline.
    """

    name = NAME

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """DEADLINE where it is too unlikely to be in time.

        Raises: UserError for a setting that the policy does not have or cannot read.
        """
        settings = _settings(view, self._settings)
        left_h, wanted = hours_left(view.workload, view.snapshot.taken_at), settings["confidence"]
        if left_h is None or wanted <= 0:
            return ()
        likely = _probability(view, candidates, settings, left_h)
        template = (
            f"is in time {{figure:.0f}} points less often than the {wanted * 100:g} % asked for, interruptions "
            f"included; the deadline leaves {left_h:,.1f} h"
        )
        return (Refusals(ReasonCode.DEADLINE, likely < wanted, template, 100.0 * (wanted - likely)),)

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The terms `time` and `late`, where an hour has a price.

        Raises: UserError as `refuse`.
        """
        settings = _settings(view, self._settings)
        if isinstance(view.workload, Inference):
            return {}
        terms: dict[str, Usd] = {}
        if settings["usd_per_hour"]:
            boot_h, work_h = _hours(view, candidates, settings, candidates.hours)
            terms["time"] = settings["usd_per_hour"] * (boot_h + work_h)
        left_h = hours_left(view.workload, view.snapshot.taken_at)
        if settings["late_usd_per_hour"] and left_h is not None:
            boot_h, spread = _band(view, candidates, settings)
            terms["late"] = settings["late_usd_per_hour"] * expected_lateness_h(spread, left_h - boot_h)
        return terms

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Both terms, and the refusals where there is a confidence to reach."""
        settings = _settings(view, self._settings)
        priced = {"time": settings["usd_per_hour"], "late": settings["late_usd_per_hour"]}
        return frozenset(
            {*(name for name, usd in priced.items() if usd), *(["refusals"] if settings["confidence"] else [])}
        )

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """How likely the best is in time, where that is not very."""
        left_h = hours_left(view.workload, view.snapshot.taken_at)
        if left_h is None or not len(candidates):
            return ()
        likely = float(_probability(view, candidates, _settings(view, self._settings), left_h)[0])
        if likely >= LIKELY:
            return ()
        return (
            f"the best placement is in time with a probability of {likely * 100:.0f} %, interruptions included; "
            "`confidence` asks for more",
        )


def _settings(view: PlanView, base: Mapping[str, float]) -> dict[str, float]:
    settings = overridden(view.workload, NAME, base)
    if settings["confidence"] >= 1:
        raise UserError(f"policy '{NAME}': a confidence of {settings['confidence']:g} is never reached; stay below 1")
    return settings


def _hours(
    view: PlanView, candidates: Candidates, settings: Mapping[str, float], hours: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Hours of booting, and of work with the rework expected and the ends of leases, of candidates held for `hours`."""
    boot_h = np.minimum(candidates.book.boot_s / 3600.0, hours)
    hazard = hazards(candidates.book, settings["assumed_spot_interruptions_per_hour"])
    work_h = working_h(view.workload, candidates.at(hours))
    return boot_h, (hours - boot_h) + work_h * rework(view.workload, hazard, candidates.nodes, boot_h)


def _band(view: PlanView, candidates: Candidates, settings: Mapping[str, float]) -> tuple[FloatArray, Spread]:
    """Hours of booting, and of work as a range."""
    columns = (candidates.hours_p10, candidates.hours, candidates.hours_p90)
    (boot_h, low), (_, middle), (_, high) = (_hours(view, candidates, settings, column) for column in columns)
    return boot_h, Spread(low, middle, high)


def _probability(view: PlanView, candidates: Candidates, settings: Mapping[str, float], left_h: float) -> FloatArray:
    boot_h, spread = _band(view, candidates, settings)
    return probability(spread, left_h - boot_h)


def create(context: PolicyContext) -> DeadlinePolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    settings = configured(f"policy {NAME}", context.settings, DEFAULTS)
    if settings["confidence"] >= 1:
        raise ConfigError(f"policy {NAME}: a confidence of {settings['confidence']:g} is never reached; stay below 1")
    return DeadlinePolicy(settings)
