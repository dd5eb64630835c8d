"""The replay bills to the cent, the optimum is what arithmetic says, and traces are read the right way round."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.domain.errors import UserError
from orchestrator.planning.spot.state import Market
from orchestrator.simulation.spot_baselines import greedy, on_demand_only
from orchestrator.simulation.spot_market import generate
from orchestrator.simulation.spot_optimum import optimum
from orchestrator.simulation.spot_replay import Jobs, Trace, replay
from orchestrator.simulation.traces import spot_aws, spot_gcp

SLOT_H = 0.5
ONE = Market(np.array([4.0]), np.array([[0.25]]), np.zeros((1, 1)), SLOT_H)


def job(work_h: float, slots: int) -> Jobs:
    return Jobs(np.array([0]), np.array([work_h]), np.array([slots]))


def trace(*rows: str) -> Trace:
    up = np.array([[letter == "u" for letter in row] for row in rows])
    return Trace(up, np.ones(up.shape))


def test_on_demand_costs_its_hours_and_one_change_over() -> None:
    outcome = replay(trace("u" * 8), ONE, job(2.0, 8), on_demand_only(ONE))
    assert outcome.usd[0] == pytest.approx(4.0 * 2.25)


def test_a_lost_machine_keeps_its_work_and_voids_its_change_over() -> None:
    # A slot on spot: 0.25 h of change-over, 0.25 h of work; lost for a slot; then anew.
    outcome = replay(trace("uduuuuuu"), ONE, job(1.0, 8), greedy(ONE))
    assert outcome.usd[0] == pytest.approx(0.5 + (0.25 + 0.75))
    assert (outcome.starts[0], outcome.missed_h[0]) == (2.0, 0.0)


def test_asking_another_region_is_billed_a_minute_and_moving_there_its_egress() -> None:
    market = Market(np.array([4.0, 4.0]), np.full((2, 2), 0.25), np.array([[0.0, 0.3], [0.3, 0.0]]), SLOT_H)
    prices = np.array([[1.0] * 10, [2.0] * 10])
    found = replay(Trace(trace("ddddddddd" + "d", "uuuuuuuuu" + "u").up, prices), market, job(1.0, 10), greedy(market))
    assert found.asked_usd[0] == pytest.approx(1.0 / 60.0)  # the cheaper one had none; the job had no checkpoint yet
    assert found.usd[0] == pytest.approx(1.0 / 60.0 + 2.0 * 1.25)
    moved = replay(Trace(trace("uddddddddd", "uuuuuuuuuu").up, prices), market, job(1.0, 10), greedy(market))
    assert moved.usd[0] == pytest.approx(0.5 + 0.3 + 2.0 * (0.25 + 0.75))


def test_the_optimum_waits_for_spot_where_there_is_time_and_buys_where_there_is_none() -> None:
    away = trace("dduuuuuu")
    best = optimum(away, ONE, 8, 8, 2)  # by quarters of an hour of work
    assert best[4] == pytest.approx(1.25)  # an hour, all on spot
    assert best[13] == pytest.approx(4.0 * 1.0 + 0.25 + 2.5)  # 45 minutes on demand until spot comes


def test_the_optimum_of_no_work_is_nothing_and_of_too_much_is_out_of_reach() -> None:
    best = optimum(trace("uuuu"), ONE, 4, 4, 2)
    assert best[0] == 0.0
    assert best[8] > 1e8


def test_a_generated_market_is_the_same_for_a_seed_and_has_capacity_and_its_absence() -> None:
    first, second = (generate((2, 1), 600, 1.0 / 6.0, np.random.default_rng(5)) for _ in range(2))
    assert (first.up == second.up).all()
    assert (first.spot_usd_per_hour == second.spot_usd_per_hour).all()
    assert 0.05 < first.up.mean() < 0.98


def test_one_is_available_in_the_aws_files_and_preempted_in_the_gcp_files(tmp_path: Path) -> None:
    document = {"metadata": {"gap_seconds": 600}, "data": [1, 0, 0]}
    (tmp_path / "zone.json").write_text(json.dumps(document))
    document["metadata"] |= {"price_info": {"price": 19.0, "on_demand_price": 82.5}}  # type: ignore[operator]
    folder = tmp_path / "us-west1-a_h100_16"
    folder.mkdir()
    (folder / "full.json").write_text(json.dumps(document))
    aws, gcp = spot_aws(tmp_path / "zone.json"), spot_gcp(folder / "full.json")
    assert aws.up.tolist() == [True, False, False]
    assert gcp.up.tolist() == [False, True, True]
    assert (gcp.name, gcp.spot_usd_per_hour, gcp.on_demand_usd_per_hour) == ("us-west1-a", 19.0, 82.5)
    assert aws.slot_h == pytest.approx(1.0 / 6.0)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"metadata": {"gap_seconds": 600}, "data": [2]}', '{"metadata": {"gap_seconds": 0}, "data": [1]}'],
)
def test_a_file_that_is_no_trace_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "zone.json").write_text(text)
    with pytest.raises(UserError, match=r"zone\.json"):
        spot_aws(tmp_path / "zone.json")
    with pytest.raises(UserError, match="cannot read"):
        spot_aws(tmp_path / "none.json")
