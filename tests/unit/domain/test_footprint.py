"""Footprints: energy, PUE and carbon of candidates, and that the domain's copies of the sizing's numbers agree."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.domain import footprint
from orchestrator.domain.candidates import Candidates, PlanView
from orchestrator.domain.network import Network
from orchestrator.domain.offer import Offer, Tier
from orchestrator.domain.sizing import Band, FiniteWork, Service, Sizing
from orchestrator.domain.workload import Workload
from orchestrator.planning.candidates import build
from orchestrator.planning.sieve import Sieve
from orchestrator.sizing.energy import pue
from orchestrator.testing.builders import inference, offer, place, sizing, snapshot, training

CLEAN = place(key="acme/clean", g_co2_per_kwh=30.0, pue=1.1)
DIRTY = place(key="acme/dirty", g_co2_per_kwh=700.0)
SERVICE = Service(
    replicas=3,
    requests_per_s_per_replica=1.0,
    ttft_s=Band(0.1, 0.1, 0.1),
    tpot_s=Band(0.01, 0.01, 0.01),
    watts_per_replica=600.0,
)


def look(workload: Workload, sized: Sizing, *offers: Offer) -> tuple[PlanView, Candidates]:
    market = snapshot(*offers, network=Network(places=(CLEAN, DIRTY)))
    candidates = build(workload, market, {"H100-SXM": sized}, Sieve(market.book))
    return PlanView(workload=workload, snapshot=market), candidates


def test_finite_work_draws_what_its_sizing_says_and_a_quarter_of_it_while_booting() -> None:
    # 100 device-hours take 70 kWh, so a device draws 700 W; eight devices boot for an hour.
    _, candidates = look(training(), sizing(), offer(boot_s=3600.0))
    assert footprint.kwh(candidates).tolist() == pytest.approx([70.0 + 0.25 * 8 * 0.7])
    assert footprint.kw(candidates).tolist() == pytest.approx([5.6])


def test_the_ends_of_the_band_take_their_own_energy() -> None:
    _, candidates = look(training(), sizing(), offer(boot_s=0.0))
    assert footprint.kwh(candidates.at(candidates.hours_p90)).tolist() == pytest.approx([91.0])


def test_a_service_draws_for_its_replicas_and_idles_on_the_rest() -> None:
    _, candidates = look(inference(duration_s=36_000.0), sizing(effort=SERVICE), offer(boot_s=0.0))
    # Three of eight devices are busy for ten hours.
    assert footprint.kwh(candidates).tolist() == pytest.approx([10.0 * 0.6 * (3 + 0.25 * 5)])


def test_a_device_of_unknown_power_never_looks_frugal() -> None:
    silent = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 100.0, 130.0), energy_kwh=Band(0.0, 0.0, 0.0)))
    _, candidates = look(training(), silent, offer(boot_s=0.0))
    assert footprint.kwh(candidates).tolist() == pytest.approx([100.0 * footprint.ASSUMED_WATTS / 1000.0])
    assert footprint.draw_unknown(candidates).all()


def test_carbon_is_energy_times_pue_times_the_grid() -> None:
    offers = (offer(region="clean", boot_s=0.0), offer(region="dirty", boot_s=0.0), offer(region="mars", boot_s=0.0))
    view, candidates = look(training(), sizing(), *offers)
    by_region = dict(zip(candidates.book.region, footprint.kg_co2(view, candidates).tolist(), strict=True))
    assert by_region == pytest.approx(
        {"clean": 70 * 1.1 * 0.030, "dirty": 70 * 1.25 * 0.700, "mars": 70 * 1.25 * footprint.WORLD_G_PER_KWH / 1000}
    )


def test_sites_of_other_tiers_lose_what_is_usual_there() -> None:
    view, candidates = look(training(), sizing(), offer(tier=Tier.EDGE), offer(tier=Tier.HPC, instance_type="hpc"))
    tiers = [Tier(word) for word in candidates.book.tier]
    assert footprint.pue(view, candidates).tolist() == [footprint.USUAL_PUE[tier] for tier in tiers]


@pytest.mark.parametrize("tier", list(Tier))
def test_the_usual_pue_is_the_sizings(tier: Tier) -> None:
    assert footprint.USUAL_PUE[tier] == pue(tier).value


def test_no_candidates_have_no_footprint() -> None:
    view, candidates = look(training(), sizing(), offer())
    nobody = candidates.take(np.zeros(0, np.int64))
    assert footprint.kg_co2(view, nobody).shape == (0,)
    assert footprint.g_per_kwh(view, replace(nobody, sizings=())).shape == (0,)
