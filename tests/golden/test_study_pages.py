"""The page of a small simulation, and the same figures in its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import Limits
from orchestrator.interfaces.views import machine, plain
from orchestrator.interfaces.views.study_view import StudyReport
from orchestrator.simulation.engine import Arrival, Scenario
from orchestrator.simulation.study_jobs import study
from orchestrator.simulation.weather import calm
from orchestrator.testing.builders import offer, snapshot, training
from policies.cost.policy import create as cost
from policies.spot.policy import create as spot

Golden = Callable[[str, str], None]


def report() -> StudyReport:
    """Three jobs in ten days; spot is away for five hours of every day."""
    demand = offer(provider="acme", instance_type="gpu", available=None)
    market = snapshot(demand, replace(demand, billing=Billing.SPOT, usd_per_hour=demand.usd_per_hour / 3.0))
    weather = calm(market.book)
    up = (np.arange(1440) % 144 < 114)[None, :]
    weather = weather._replace(up=up, factor=np.ones(up.shape), source="away for five hours a day")
    job = training(name="job", tokens=3e9, limits=Limits(deadline_s=86_400.0))
    coming = tuple(Arrival(number * 40_000.0, job) for number in range(3))
    policies = (cost(PolicyContext()), spot(PolicyContext()))
    return StudyReport(study(Scenario(coming, market, weather, 10.0, seed=7), policies).study)


def test_a_simulation_is_a_table_of_ways_to_buy(golden: Golden) -> None:
    golden("simulation", plain.render(report().page()))


def test_a_simulation_has_the_same_figures_in_its_document() -> None:
    shown = report()
    document = json.loads(machine.document(shown.document()))
    assert [row["name"] for row in document["rows"]] == [row.name for row in shown.study.rows]
    assert document["rows"][0]["usd"] == shown.study.rows[0].values[0]
    assert document["rows"][-1]["interruptions"] is None
