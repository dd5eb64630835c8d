"""The carbon policy: what a tonne of CO2 is worth, and how much of it a job may cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain import footprint
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.reason import ReasonCode

NAME = "carbon"
DEFAULTS: Mapping[str, float] = {
    "usd_per_tonne": 0.0,  # what a tonne of CO2 that is not emitted is worth to you
    "max_kg": 0.0,  # the most one job may cause; 0 is no limit
    "assumed_g_per_kwh": footprint.WORLD_G_PER_KWH,  # where nobody knows the grid
}


class CarbonPolicy:
    """The term `carbon` is kWh · PUE · grid intensity · `usd_per_tonne`: worth, for nobody sends an invoice for it."""

    name = NAME

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """CARBON where a candidate causes more than `max_kg`."""
        settings = overridden(view.workload, NAME, self._settings)
        limit = settings["max_kg"]
        if not limit:
            return ()
        kg = _kg(view, candidates, settings)
        template = f"causes {{figure:,.1f}} kg of CO2; the limit is {limit:,.1f} kg"
        return (Refusals(ReasonCode.CARBON, kg > limit, template, kg),)

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The term `carbon` where a tonne has a price."""
        settings = overridden(view.workload, NAME, self._settings)
        if not settings["usd_per_tonne"]:
            return {}
        return {"carbon": _kg(view, candidates, settings) / 1000.0 * settings["usd_per_tonne"]}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing: more nodes boot more machines and do no less work; but fewer leases may end before it is done."""
        return frozenset() if view.snapshot.book.max_lease_s is None else frozenset({NAME})

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """What the best placement causes, and what was assumed."""
        settings = overridden(view.workload, NAME, self._settings)
        if not len(candidates) or not (settings["usd_per_tonne"] or settings["max_kg"]):
            return ()
        notes = [f"the best placement causes about {_kg(view, candidates, settings)[0]:,.3g} kg of CO2"]
        strange = int(np.count_nonzero(np.isnan(footprint.g_per_kwh(view, candidates))))
        if strange:
            assumed = settings["assumed_g_per_kwh"]
            notes.append(
                f"the grid of {strange} of the placements shown is unknown; assumed {assumed:g} g of CO2 a kWh"
            )
        unknown = int(np.count_nonzero(footprint.draw_unknown(candidates)))
        if unknown:
            notes.append(
                f"nobody publishes the power of the device of {unknown} of the placements shown; "
                f"assumed {footprint.ASSUMED_WATTS:g} W"
            )
        return notes


def _kg(view: PlanView, candidates: Candidates, settings: Mapping[str, float]) -> FloatArray:
    return footprint.kg_co2(view, candidates, assumed_g_per_kwh=settings["assumed_g_per_kwh"])


def create(context: PolicyContext) -> CarbonPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return CarbonPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
