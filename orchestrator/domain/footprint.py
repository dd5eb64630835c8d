"""Footprint: the electricity that candidates draw and the carbon dioxide behind it, as columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.offer import Tier
from orchestrator.domain.offerbook import BoolArray, FloatArray
from orchestrator.domain.sites import Atlas, Sites
from orchestrator.domain.sizing import Service, Sizing

# Ember, Global Electricity Review 2025: 473 g a kWh over all power generated in 2024 (from memory).
WORLD_G_PER_KWH = 473.0
# What a booting or waiting machine draws of its busy draw: servers of eight idle at a fifth to a third (from memory).
IDLE_SHARE = 0.25
# A device whose vendor publishes no power: an H100 in training with its share of the host, so never a reason to look
# frugal.
ASSUMED_WATTS = 620.0
# Total over IT energy of a usual site, where the place does not say: the sizing's numbers, which give the origins.
USUAL_PUE: Mapping[str, float] = {Tier.HPC: 1.2, Tier.CLOUD: 1.25, Tier.EDGE: 1.6}


def watts(candidates: Candidates) -> FloatArray:
    """Draw of one busy device with its share of the host in W, shape (n,), before cooling and losses."""
    return candidates.sized({row: _watts(sizing) or ASSUMED_WATTS for row, sizing in enumerate(candidates.sizings)})


def draw_unknown(candidates: Candidates) -> BoolArray:
    """Shape (n,): where `ASSUMED_WATTS` stands for a draw that nobody publishes."""
    unknown: BoolArray = candidates.sized({row: float(not _watts(s)) for row, s in enumerate(candidates.sizings)}) > 0
    return unknown


def kw(candidates: Candidates) -> FloatArray:
    """Expected draw of the machines at work in kW, shape (n,), before cooling and losses: those of a service that no
    replica needs stand idle.
    """
    held = candidates.gpus
    busy = np.minimum(held, candidates.sized({row: _wanted(s) for row, s in enumerate(candidates.sizings)}))
    return watts(candidates) * (busy + IDLE_SHARE * (held - busy)) / 1000.0


def kwh(candidates: Candidates) -> FloatArray:
    """Energy from boot to end in kWh, shape (n,), before cooling and losses: `kw` for the hours of work, the idle draw
    for those of the boot. The making of the machines is not in it.
    """
    boot_h = np.minimum(candidates.book.boot_s / 3600.0, candidates.hours)
    idle_kw = IDLE_SHARE * watts(candidates) * candidates.gpus / 1000.0
    return kw(candidates) * (candidates.hours - boot_h) + idle_kw * boot_h


def pue(view: PlanView, candidates: Candidates) -> FloatArray:
    """Total over IT energy, shape (n,): as published for the place, else usual for the offer's tier."""
    book, sites = candidates.book, Sites.of(candidates.book)
    atlas = Atlas(view.snapshot.network)
    places = [atlas.site(provider, region) for provider, region in sites.keys]
    published = sites.spread([float("nan") if p is None or p.pue is None else p.pue for p in places])
    usual = np.array([USUAL_PUE[word] for word in book.tier.vocab], np.float64)
    by_tier = usual[book.tier.codes] if len(usual) else published
    return np.where(np.isnan(published), by_tier, published)


def g_per_kwh(view: PlanView, candidates: Candidates) -> FloatArray:
    """Grams of CO2 behind a kWh of the place's grid, a yearly mean, shape (n,); NaN where nobody told us."""
    sites, atlas = Sites.of(candidates.book), Atlas(view.snapshot.network)
    places = [atlas.site(provider, region) for provider, region in sites.keys]
    return sites.spread([float("nan") if p is None or p.g_co2_per_kwh is None else p.g_co2_per_kwh for p in places])


def kg_co2(view: PlanView, candidates: Candidates, *, assumed_g_per_kwh: float = WORLD_G_PER_KWH) -> FloatArray:
    """Kilograms of CO2 behind the electricity of each candidate, shape (n,): kWh · PUE · grid intensity / 1000.

    A place that nobody knows is on a grid of `assumed_g_per_kwh`: the world's average.
    """
    grid = g_per_kwh(view, candidates)
    grid = np.where(np.isnan(grid), assumed_g_per_kwh, grid)
    return kwh(candidates) * pue(view, candidates) * grid / 1000.0


def _watts(sizing: Sizing) -> float:
    effort = sizing.effort
    if isinstance(effort, Service):
        return effort.watts_per_replica / sizing.min_gpus
    hours = effort.gpu_hours.p50
    return 1000.0 * effort.energy_kwh.p50 / hours if hours > 0 else 0.0


def _wanted(sizing: Sizing) -> float:
    """Devices that have something to do: all of a finite job's, and a service's replicas."""
    effort = sizing.effort
    return float(effort.replicas * sizing.min_gpus) if isinstance(effort, Service) else float("inf")
