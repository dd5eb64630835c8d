"""The power policy: how many kilowatts a placement may draw, and what your own machines' electricity costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain import footprint
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import BoolArray
from orchestrator.domain.reason import ReasonCode

NAME = "power"
DEFAULTS: Mapping[str, float] = {
    "max_kw": 0.0,  # the most one placement may draw from the grid, cooling and losses included; 0 is no limit
    "usd_per_kwh": 0.0,  # electricity of machines of your own whose rate does not include it
}
OWNED = frozenset((str(Billing.OWNED),))


class PowerPolicy:
    """The term `power` is kWh · PUE · `usd_per_kwh` of owned machines: money, for the utility invoices it. The rates of
    rented machines include it.
    """

    name = NAME
    bills = frozenset({"power"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """POWER where a candidate at work draws more than `max_kw`."""
        limit = overridden(view.workload, NAME, self._settings)["max_kw"]
        if not limit:
            return ()
        drawn = footprint.kw(candidates) * footprint.pue(view, candidates)
        template = f"draws {{figure:,.1f}} kW with cooling and losses; the limit is {limit:,.1f} kW"
        return (Refusals(ReasonCode.POWER, drawn > limit, template, drawn),)

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The term `power` where a kilowatt-hour has a price; 0 for what is rented."""
        rate = overridden(view.workload, NAME, self._settings)["usd_per_kwh"]
        if not rate:
            return {}
        metered = footprint.kwh(candidates) * footprint.pue(view, candidates)
        return {"power": np.where(_owned(candidates), metered * rate, 0.0)}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing: more nodes draw more, and boot more machines; but fewer leases may end before the work does."""
        return frozenset() if view.snapshot.book.max_lease_s is None else frozenset({NAME})

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """Where the draw of a device had to be assumed."""
        settings = overridden(view.workload, NAME, self._settings)
        if not any(settings.values()):
            return ()
        told = _owned(candidates) if not settings["max_kw"] else np.ones(len(candidates), np.bool_)
        unknown = int(np.count_nonzero(footprint.draw_unknown(candidates) & told))
        if not unknown:
            return ()
        return (
            f"nobody publishes the power of the device of {unknown} of the placements shown; "
            f"assumed {footprint.ASSUMED_WATTS:g} W",
        )


def _owned(candidates: Candidates) -> BoolArray:
    return candidates.book.billing.isin(OWNED)


def create(context: PolicyContext) -> PowerPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return PowerPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
