"""The spot policy: what it is expected to cost that machines are taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.deadline import hours_left
from orchestrator.domain.interruptions import ASSUMED_SPOT_PER_HOUR, NEVER_PER_HOUR, hazards, rework
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.tenure import working_h
from orchestrator.domain.workload import BatchInference, Checkpointing, Workload
from policies.spot.poisson import excess

NAME = "spot"
DEFAULTS: Mapping[str, float] = {
    "assumed_interruptions_per_hour": ASSUMED_SPOT_PER_HOUR,
    # Independent losses are the dearest a gang can have; nobody publishes how many come together.
    "correlated_share": 0.0,
    # Where no on-demand twin is on the market: vendors advertise 60 to 90 % off, three times is the cautious end.
    "assumed_on_demand_over_spot": 3.0,
    "max_interruptions_per_hour": float("inf"),
}
WHOLE = 1e-9  # of a loss: what the slack pays for exactly is paid for


class SpotPolicy:
    """Terms, both expected money, at the candidates' hours h, nodes n and price p per node-hour.

    - `interruption` = n·p·(h - boot)·(E/τ - 1): work done again and boots of replacements, see `domain.interruptions`.
      Hours that the known ends of leases take are no work, and are not counted again.
    - `fallback`, with a deadline: once the losses have used up the slack, the rest runs on demand for the difference in
      price, see `_fallback_hours`.

    Refuses, as INTERRUPTION, what is taken back more often than `max_interruptions_per_hour`.
    """

    name = NAME
    bills = frozenset({"interruption", "fallback"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """More nodes leave more slack before the deadline, and so fall back less."""
        return frozenset({"fallback"}) if _left_to_fall_back(view) is not None else frozenset()

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """INTERRUPTION where a node is lost more often than accepted; an unknown rate counts as the one assumed."""
        settings = overridden(view.workload, NAME, self._settings)
        limit = settings["max_interruptions_per_hour"]
        if limit == float("inf"):
            return ()
        hazard = hazards(candidates.book, settings["assumed_interruptions_per_hour"])
        template = f"a node is taken back {{figure:.3g}} times an hour; the limit is {limit:g}"
        return (Refusals(ReasonCode.INTERRUPTION, hazard > limit, template, hazard),)

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """`interruption`, and `fallback` for finite work with a deadline that may fall back."""
        settings = overridden(view.workload, NAME, self._settings)
        exposure = _exposure(view.workload, candidates, settings)
        rate = candidates.nodes * candidates.book.usd_per_hour
        terms = {"interruption": rate * exposure.work_h * exposure.lost}
        left_h = _left_to_fall_back(view)
        if left_h is not None:
            terms["fallback"] = _fallback(view, candidates, exposure, left_h, settings)[0]
        return terms

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """What was assumed because nobody says, and what would be late."""
        settings = overridden(view.workload, NAME, self._settings)
        exposure = _exposure(view.workload, candidates, settings)
        return [
            *_guessed_rates(candidates, settings),
            *_late(view, candidates, exposure),
            *_guessed_prices(view, candidates, exposure, settings),
        ]


class _Exposure(NamedTuple):
    """Per candidate: losses an hour that cost work, hours of work, hours lost per hour of work."""

    rate: FloatArray
    work_h: FloatArray
    lost: FloatArray


def _exposure(workload: Workload, candidates: Candidates, settings: Mapping[str, float]) -> _Exposure:
    """Of a common shock that takes all nodes of a gang at once, and losses of single nodes (Marshall and Olkin, 1967).

    A share c of each node's hazard λ is the shock's, so a gang of n is lost c·λ + n·(1 - c)·λ times an hour.
    """
    hazard = hazards(candidates.book, settings["assumed_interruptions_per_hour"])
    boot_h = candidates.book.boot_s / 3600.0
    alone = candidates.nodes.astype(np.float64)
    together = np.minimum(settings["correlated_share"], 1.0)
    gang = alone if isinstance(workload, BatchInference) else 1.0 + (alone - 1.0) * (1.0 - together)
    lost = rework(workload, hazard, gang, boot_h)
    return _Exposure(hazard * gang, working_h(workload, candidates), lost)


def _fallback(
    view: PlanView, candidates: Candidates, exposure: _Exposure, left_h: float, settings: Mapping[str, float]
) -> tuple[Usd, BoolArray]:
    """USD expected for the rest on demand, and where the on-demand price had to be assumed."""
    hours = _fallback_hours(view.workload, candidates, exposure, left_h)
    rows = np.flatnonzero(hours > 0)
    usd, assumed = np.zeros(len(hours), np.float64), np.zeros(len(hours), np.bool_)
    price = candidates.book.usd_per_hour[rows]
    twin = _on_demand(view.snapshot.book, candidates.offer[rows])
    unknown = np.isnan(twin)
    twin = np.where(unknown, price * settings["assumed_on_demand_over_spot"], twin)
    usd[rows] = hours[rows] * candidates.nodes[rows] * np.maximum(twin - price, 0.0)
    assumed[rows] = unknown
    return usd, assumed


def _fallback_hours(workload: Workload, candidates: Candidates, exposure: _Exposure, left_h: float) -> FloatArray:
    """Hours expected on demand, shape (n,); 0 for what is not spot.

    The slack pays for k = floor(slack / hours lost per loss) losses; from loss m = k + 1 on, the rest runs on demand.
    With losses at rate Λ over W hours of work, the time after the m-th is E[max(0, W - T_m)] = E[max(0, N - m)] / Λ,
    where N ~ Poisson(ΛW): the compensator of a Poisson process stopped at m. A loss costs half an interval between
    checkpoints and a boot; of a batch's, that of one node in n.
    """
    found = np.zeros(len(candidates), np.float64)
    rows = np.flatnonzero(_spot(candidates) & (exposure.rate > NEVER_PER_HOUR) & (exposure.work_h > 0))
    checkpoint = workload.program.checkpoint if workload.program else Checkpointing()
    each_h = candidates.book.boot_s[rows] / 3600.0 + 0.5 * max(checkpoint.interval_s, 1.0) / 3600.0
    if isinstance(workload, BatchInference):
        each_h = each_h / candidates.nodes[rows]
    slack_h = np.maximum(left_h - candidates.hours[rows], 0.0)
    mark = np.floor(slack_h / each_h + WHOLE) + 1.0
    rate, work_h = exposure.rate[rows], exposure.work_h[rows]
    found[rows] = np.minimum(excess(rate * work_h, mark) / rate, work_h)
    return found


def _guessed_rates(candidates: Candidates, settings: Mapping[str, float]) -> list[str]:
    count = int(np.count_nonzero(_spot(candidates) & np.isnan(candidates.book.interruption_rate)))
    rate = settings["assumed_interruptions_per_hour"]
    note = f"interruption rate unknown for {count} of the spot placements shown; assumed {rate:g} an hour"
    return [note] if count else []


def _late(view: PlanView, candidates: Candidates, exposure: _Exposure) -> list[str]:
    left_h = hours_left(view.workload, view.snapshot.taken_at)
    if left_h is None:
        return []
    lost_h = exposure.work_h * exposure.lost
    # Nodes are counted to end just in time, so that a loss within a hundredth of the time is no news.
    late = int(np.count_nonzero((lost_h > 0.01 * left_h) & (candidates.hours + lost_h > left_h)))
    rescue = "; the term fallback is what going on demand in time would add" if _left_to_fall_back(view) else ""
    note = (
        f"the time shown is without interruptions: with those expected, {late} of the placements shown "
        f"would end after the deadline{rescue}"
    )
    return [note] if late else []


def _guessed_prices(
    view: PlanView, candidates: Candidates, exposure: _Exposure, settings: Mapping[str, float]
) -> list[str]:
    left_h = _left_to_fall_back(view)
    if left_h is None:
        return []
    usd, assumed = _fallback(view, candidates, exposure, left_h, settings)
    count, factor = int(np.count_nonzero(assumed & (usd > 0))), settings["assumed_on_demand_over_spot"]
    note = f"on-demand price unknown for {count} of the spot placements shown; assumed {factor:g} times the spot price"
    return [note] if count else []


def _on_demand(book: OfferBook, rows: IntArray) -> FloatArray:
    """The least on-demand price of the same provider, region and instance type, of offers `rows`; NaN for none."""
    found = np.full(len(rows), np.nan)
    if not len(rows):
        return found
    wanted = np.zeros(len(book.instance_type.vocab), np.bool_)
    wanted[book.instance_type.codes[rows]] = True
    listed = book.billing.isin(frozenset((str(Billing.ON_DEMAND),))) & wanted[book.instance_type.codes]
    twins = np.flatnonzero(listed & np.isfinite(book.usd_per_hour) & (book.usd_per_hour > 0))
    if not len(twins):
        return found
    keys = _site_type(book, twins)
    order = np.lexsort((book.usd_per_hour[twins], keys))
    keys, price = keys[order], book.usd_per_hour[twins][order]
    asked = _site_type(book, rows)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    hit = keys[at] == asked
    found[hit] = price[at[hit]]
    return found


def _site_type(book: OfferBook, rows: IntArray) -> IntArray:
    site = book.provider.codes[rows].astype(np.int64) * len(book.region.vocab) + book.region.codes[rows]
    return site * len(book.instance_type.vocab) + book.instance_type.codes[rows]


def _spot(candidates: Candidates) -> BoolArray:
    return candidates.book.billing.isin(frozenset((str(Billing.SPOT),)))


def _left_to_fall_back(view: PlanView) -> float | None:
    """Hours to the deadline of work that may go on demand; None without a deadline, or where on demand is ruled out."""
    allowed = view.workload.limits.billing
    if allowed and Billing.ON_DEMAND not in allowed:
        return None
    return hours_left(view.workload, view.snapshot.taken_at)


def create(context: PolicyContext) -> SpotPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return SpotPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
