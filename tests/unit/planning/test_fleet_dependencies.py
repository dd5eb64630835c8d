"""Jobs that wait for each other, and what moving results between them costs."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.domain.egress import Tariffs
from orchestrator.domain.errors import SpecError
from orchestrator.domain.network import EgressRate, Network
from orchestrator.planning.fleet.dependencies import dependencies
from orchestrator.planning.fleet.handover import Traffic
from orchestrator.testing.builders import network, training


def rate(provider: str, scope: str, usd: float) -> EgressRate:
    return EgressRate(provider=provider, scope=scope, from_gib=0.0, usd_per_gib=usd, source="test")


def test_a_job_comes_after_all_that_it_waits_for() -> None:
    jobs = [training(name="c", after=("b", "a")), training(name="b", after=("a",)), training(name="a")]
    found = dependencies(jobs)
    assert found.order == (2, 1, 0)
    assert found.depth.tolist() == [2, 1, 0]
    assert found.ends_h(np.array([1.0, 2.0, 4.0])).tolist() == [7.0, 6.0, 4.0]


def test_who_is_waited_for_inherits_the_priority() -> None:
    found = dependencies([training(name="a"), training(name="b", after=("a",), priority=3.0)])
    assert found.inherited([0.0, 3.0]) == [3.0, 3.0]


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([training(name="a", after=("prepair",)), training(name="prepare")], "no job is called 'prepair'"),
        ([training(name="a"), training(name="a")], "two jobs are called 'a'"),
        ([training(name="a", after=("a",))], "waits for itself"),
        (
            [training(name="a", after=("c",)), training(name="b", after=("a",)), training(name="c", after=("b",))],
            "jobs wait for each other: ",
        ),
    ],
)
def test_what_makes_no_order_is_an_error_of_its_file(jobs: list, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        dependencies(jobs, {job.name: f"{job.name}.yaml" for job in jobs})
    assert caught.value.file.endswith(".yaml")


def test_a_ring_behind_other_jobs_is_told_in_its_order() -> None:
    jobs = [training(name="z", after=("x",)), training(name="x", after=("y",)), training(name="y", after=("x",))]
    with pytest.raises(SpecError, match=r"x -> y -> x|y -> x -> y"):
        dependencies(jobs)


def test_traffic_between_all_sites_is_the_tariff_of_every_pair() -> None:
    sites = [("acme", "eu-central-1"), ("acme", "us-east-1"), ("zed", "zed-1"), ("dumb", "d-1")]
    rates = (rate("acme", "internet", 0.09), rate("acme", "region", 0.02), rate("zed", "internet", 0.0))
    net: Network = network(egress=rates)
    traffic = Traffic.between(sites, net, assumed_usd_per_gib=0.5)
    usd, tariffs = traffic.usd(10.0), Tariffs(net)
    for row, source in enumerate(sites):
        for column, arrival in enumerate(sites):
            known = tariffs.usd(tariffs.end(*source), tariffs.end(*arrival), 10.0)
            assert usd[row, column] == pytest.approx(5.0 if known is None else known)
            assert traffic.assumed[row, column] == (known is None)
