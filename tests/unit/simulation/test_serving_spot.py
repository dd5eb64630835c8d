"""Tests of the spot serving replay, its generator and its baselines, and of the readers of LLM traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.hedge import Held, Orders
from orchestrator.simulation.llm_traces import denser, read_azure, read_mooncake
from orchestrator.simulation.serving_baselines import OnDemand, RoundRobin, SpotHedge
from orchestrator.simulation.serving_spot import Capacity, generated, replay


def capacity(rows: list[list[int]]) -> Capacity:
    """Zones a, b, ... with these instances, tick by tick; spot 1 USD/h, on demand 3."""
    table = np.array(rows)
    return Capacity(tuple("abcd"[: table.shape[1]]), table, np.ones(table.shape[1]), 3.0)


def test_on_demand_alone_costs_one_and_is_always_there() -> None:
    served = replay(capacity([[0]] * 100), 2, 120.0, OnDemand(1, 2))
    assert served.cost_ratio == pytest.approx(1.0)
    assert served.availability == 1.0
    assert served.on_demand_share == 1.0


def test_a_lost_replica_is_short_until_its_successor_has_booted() -> None:
    rows = [[1, 1]] * 20 + [[0, 1]] * 20
    served = replay(capacity(rows), 1, 120.0, RoundRobin(2, 1))
    assert served.losses == 1
    assert np.flatnonzero(served.short[4:]).tolist() == [16, 17, 18, 19]


def test_a_zone_without_capacity_refuses_and_the_next_in_the_walk_is_asked() -> None:
    seen: list[Held] = []

    def policy(held: Held) -> Orders:
        seen.append(held)
        return Orders((held.ready[0] + held.booting[0], held.ready[1] + held.booting[1]), 1 - held.spot, (0, 1), 0, 0)

    replay(capacity([[0, 1]] * 3), 1, 120.0, policy)
    assert seen[1].refused == (True, False)
    assert seen[1].booting == (0, 1)


def test_what_no_zone_takes_goes_on_demand_save_the_spares() -> None:
    seen: list[Held] = []

    def policy(held: Held) -> Orders:
        seen.append(held)
        return Orders((0,), 3, (0, 0, 0), 0, 1)

    replay(capacity([[0]] * 2), 2, 120.0, policy)
    assert seen[1].on_demand_booting == 2


def test_spothedge_falls_back_to_on_demand_until_spot_serves() -> None:
    policy = SpotHedge(3, 2, 1)
    orders = policy(Held(0.0, (0, 0, 0), (0, 0, 0), (0, 0, 0), (False,) * 3, 0, 0))
    assert (orders.launch, orders.walk, orders.on_demand) == (3, (0, 1, 2), 2)
    orders = policy(Held(30.0, (1, 1, 0), (0, 0, 1), (0, 0, 0), (False,) * 3, 2, 0))
    assert (orders.launch, orders.on_demand) == (0, 1)


def test_spothedge_leaves_zones_that_preempt_until_fewer_than_two_are_left() -> None:
    policy = SpotHedge(3, 2, 0)
    orders = policy(Held(0.0, (0, 1, 0), (0, 0, 0), (1, 0, 0), (False,) * 3, 0, 0))
    assert orders.walk == (2,)
    orders = policy(Held(30.0, (0, 0, 0), (0, 0, 0), (0, 1, 0), (False,) * 3, 0, 0))
    assert orders.walk == (0, 1)


def test_generated_capacity_is_the_same_for_a_seed_and_comes_and_goes() -> None:
    one, other = generated(2.0, 4, 3, 5), generated(2.0, 4, 3, 5)
    assert np.array_equal(one.instances, other.instances)
    assert one.instances.min() == 0
    assert one.instances.max() == 3
    assert not np.array_equal(one.instances, generated(2.0, 4, 3, 6).instances)


def test_a_replay_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="needs a tick"):
        replay(capacity([[1]]).part(0, 0), 1, 120.0, OnDemand(1, 1))


def test_an_azure_trace_is_read_from_its_first_request_on(tmp_path: Path) -> None:
    path = tmp_path / "conv.csv"
    rows = (
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:50.9951690,396,9",
    )
    path.write_text("\n".join(rows))
    trace = read_azure(path)
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 4.314579])
    assert trace.prompt_tokens.tolist() == [374, 396]
    assert trace.horizon_s == 5.0


def test_a_mooncake_trace_is_read_in_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"timestamp": 1500, "input_length": 7, "output_length": 3, "hash_ids": [0]}\n')
    trace = read_mooncake(path)
    assert (trace.arrival_s[0], trace.prompt_tokens[0], trace.output_tokens[0]) == (1.5, 7, 3)


def test_files_that_are_no_traces_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("TIMESTAMP,ContextTokens\nyesterday,1\n")
    with pytest.raises(UserError, match="no Azure LLM trace"):
        read_azure(path)
    with pytest.raises(UserError, match="no Mooncake trace"):
        read_mooncake(path)
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    with pytest.raises(UserError, match="holds no requests"):
        read_azure(path)


def test_a_denser_trace_keeps_its_lengths_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = ('0, "input_length": 7, "output_length": 3', '9000, "input_length": 8, "output_length": 4')
    path.write_text("\n".join(f'{{"timestamp": {row}}}' for row in rows))
    trace = denser(read_mooncake(path), 3, 2.0)
    # 9 s is the end of its second, 10 s: copies of the second request are wrapped to 1 s and 3 s.
    assert trace.arrival_s.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 9.0]
    assert sorted(trace.prompt_tokens.tolist()) == [7, 7, 7, 8, 8, 8]
    assert np.all(np.diff(trace.arrival_s) >= 0.0)
    assert trace.arrival_s.max() < trace.horizon_s
