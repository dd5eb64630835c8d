"""The cost policy: what a candidate is expected to be invoiced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import UserError
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.network import Network
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook, Words
from orchestrator.domain.sites import Sites
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import BatchInference, Checkpointing, Inference, Workload

NAME = "cost"
DEFAULTS: Mapping[str, float] = {
    # A spot machine nobody gives a rate for is taken to be lost once in 50 hours: the upper half of the 5 to 15 % a day
    # that vendors have published for preemptible machines, and some more.
    "assumed_spot_interruptions_per_hour": 0.02,
    # The dearest first tier of a large vendor's list, so that an unknown rate never makes an offer look good.
    "assumed_egress_usd_per_gib": 0.12,
}
MAX_EXPONENT = 50.0  # e^50 dollars is finite, sorts last and means never


class CostPolicy:
    """Terms, all of them money at the candidates' hours h (boot included), nodes n and price p per node-hour.

    - `compute` + `boot` = n·p·max(h, least billing): what the lease is invoiced, of which the boot is n·p·boot.
    - `egress`: moving the input from `data.location` by the source provider's tiers; nothing within a region.
    - `interruption`: expected rework, n·p·(h − boot)·(E/τ − 1), see `rework`.
    """

    name = NAME
    bills = frozenset({"compute", "boot", "egress", "interruption"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing: what is too dear is for the budget to say."""
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The terms; `egress` only for data that lies somewhere.

        Raises: UserError where `data.location` names no place and no provider we know.
        """
        settings = overridden(view.workload, NAME, self._settings)
        book = candidates.book
        rate = candidates.nodes * book.usd_per_hour
        billed_h = np.maximum(candidates.hours, book.min_billing_s / 3600.0)
        boot_h = np.minimum(book.boot_s / 3600.0, candidates.hours)
        terms = {"compute": rate * (billed_h - boot_h), "boot": rate * boot_h}
        data = view.workload.data
        if data.location and data.size_gib > 0:
            terms["egress"] = self._egress(view, candidates, settings)[0]
        hazard = _hazard(candidates, settings)
        lost = rework(view.workload, hazard, candidates.nodes, book.boot_s / 3600.0)
        return {**terms, "interruption": rate * (candidates.hours - boot_h) * lost}

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """What was assumed because nobody says."""
        settings = overridden(view.workload, NAME, self._settings)
        notes = []
        guessed = int(np.count_nonzero(_spot(candidates) & np.isnan(candidates.book.interruption_rate)))
        if guessed:
            rate = settings["assumed_spot_interruptions_per_hour"]
            notes.append(
                f"interruption rate unknown for {guessed} of the spot placements shown; assumed {rate:g} an hour"
            )
        late = _late_by_rework(view, candidates, settings)
        if late:
            notes.append(
                f"the time shown is without interruptions: with those expected, {late} of the placements shown "
                "would end after the deadline"
            )
        data = view.workload.data
        if data.location and data.size_gib > 0:
            assumed = self._egress(view, candidates, settings)[1]
            if assumed.any():
                price = settings["assumed_egress_usd_per_gib"]
                count = int(np.count_nonzero(assumed))
                notes.append(
                    f"price of data leaving {data.location} unknown for {count} of the placements shown; "
                    f"assumed {price:g} USD/GiB"
                )
        return notes

    def _egress(
        self, view: PlanView, candidates: Candidates, settings: Mapping[str, float]
    ) -> tuple[FloatArray, BoolArray]:
        """USD to bring the data to each candidate, and where the rate had to be assumed."""
        book, network, data = candidates.book, view.snapshot.network, view.workload.data
        source, home = _source(data.location, network, view.snapshot.book)
        if not source:
            return np.zeros(len(book), np.float64), np.zeros(len(book), np.bool_)
        within = _is(book.provider, source)
        moves = ~(within & _is(book.region, home))
        usd, assumed = np.zeros(len(book), np.float64), np.zeros(len(book), np.bool_)
        for scope, rows in (("region", moves & within), ("internet", moves & ~within)):
            cost = network.egress_usd(source, scope, data.size_gib)
            usd[rows] = settings["assumed_egress_usd_per_gib"] * data.size_gib if cost is None else cost
            assumed[rows] = cost is None
        return usd, assumed


def rework(workload: Workload, hazard: FloatArray, nodes: IntArray, boot_h: FloatArray) -> FloatArray:
    """Expected hours lost to interruptions per hour of work, shape (n,).

    `hazard` is per node and hour. Work saved every τ hours under a constant hazard λ, with a restart that takes R hours
    and can itself be interrupted, takes E = (1/λ)·e^(λR)·(e^(λτ) − 1) hours per τ hours of progress (J. T. Daly,
    "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006, with the time of a dump at 0);
    about λ·(τ/2 + R) while interruptions are rare. Training is a gang: losing any node loses all nodes' work, so its λ
    is n times the hazard, as if nodes were lost independently. A request of batch inference or of a service concerns
    its own node alone; a service saves nothing and pays for the replacement's boot.
    """
    if isinstance(workload, Inference):
        return hazard * boot_h
    checkpoint = workload.program.checkpoint if workload.program else Checkpointing()
    tau = max(checkpoint.interval_s, 1.0) / 3600.0
    rate = hazard if isinstance(workload, BatchInference) else hazard * nodes
    risky = rate > 0
    lost = np.zeros(len(hazard), np.float64)
    exposed, restart = rate[risky], boot_h[risky]
    growth = np.exp(np.minimum(exposed * restart, MAX_EXPONENT)) * np.expm1(np.minimum(exposed * tau, MAX_EXPONENT))
    lost[risky] = np.maximum(growth / (exposed * tau) - 1.0, 0.0)
    return lost


def _spot(candidates: Candidates) -> BoolArray:
    return _is(candidates.book.billing, str(Billing.SPOT))


def _hazard(candidates: Candidates, settings: Mapping[str, float]) -> FloatArray:
    """Losses per node and hour: as observed, else assumed for spot and 0 for the rest."""
    known = candidates.book.interruption_rate
    assumed = np.where(_spot(candidates), settings["assumed_spot_interruptions_per_hour"], 0.0)
    return np.where(np.isnan(known), assumed, known)


def _late_by_rework(view: PlanView, candidates: Candidates, settings: Mapping[str, float]) -> int:
    """How many candidates are in time by their hours, and late with those that interruptions are expected to cost."""
    workload, limits = view.workload, view.workload.limits
    if isinstance(workload, Inference) or (limits.deadline_s is None and limits.finish_by is None):
        return 0
    left_s = float("inf") if limits.deadline_s is None else limits.deadline_s
    if limits.finish_by is not None:
        left_s = min(left_s, (limits.finish_by - view.snapshot.taken_at).total_seconds())
    boot_h = candidates.book.boot_s / 3600.0
    lost = rework(workload, _hazard(candidates, settings), candidates.nodes, boot_h)
    lost_h = np.maximum(candidates.hours - boot_h, 0.0) * lost
    left_h = left_s / 3600.0
    # Nodes are counted to end just in time, so that a loss within a hundredth of the time is no news.
    return int(np.count_nonzero((lost_h > 0.01 * left_h) & (candidates.hours + lost_h > left_h)))


def _is(column: Words, word: str) -> BoolArray:
    return column.isin(frozenset((word,)))


def _source(location: str, network: Network, market: OfferBook) -> tuple[str, str]:
    """The provider that bills the departure and the region; ("", "") for a place of the user's own.

    Raises: UserError where nothing of that name is known.
    """
    provider, _, region = location.partition("/")
    sold = _is(market.provider, provider)
    if region and (sold & _is(market.region, region)).any():
        return provider, region
    seller = sold.any() or any(rate.provider == provider for rate in network.egress)
    place = network.place(location)
    if seller and (not region or place):
        return provider, region
    if place:
        return "", ""
    known = [f"{name}/{where}" for name, where in Sites.of(market).keys] + [place.key for place in network.places]
    raise UserError(f"data.location '{location}' is no place and no provider/region we know; {hint(location, known)}")


def create(context: PolicyContext) -> CostPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return CostPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
