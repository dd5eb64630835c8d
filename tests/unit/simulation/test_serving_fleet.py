"""Tests of the fleet replay, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.queueing import Mix, Replica, first_token_quantile, kept
from orchestrator.simulation.llm_traces import Requests, generated
from orchestrator.simulation.serving_fleet import Observation, Terms, replay

REPLICA = Replica(step_s=0.02, token_s=1 / 12_000, sequence_s=0.00015, chunk_tokens=768, batch=96)


def requests(*rows: tuple[float, int, int], horizon_s: float = 100.0) -> Requests:
    """Requests by arrival, prompt and output."""
    times, prompts, outputs = zip(*rows, strict=True)
    return Requests(np.array(times), np.array(prompts), np.array(outputs), horizon_s)


def test_an_idle_replica_gives_the_first_token_after_one_step_per_chunk() -> None:
    result = replay(requests((0.0, 768, 1)), REPLICA, Terms(), lambda _: 1)
    assert result.first_token_s[0] == pytest.approx(0.02 + 768 / 12_000)
    result = replay(requests((0.0, 769, 1)), REPLICA, Terms(), lambda _: 1)
    assert result.first_token_s[0] == pytest.approx(2 * 0.02 + 769 / 12_000)


def test_a_request_in_the_middle_of_a_step_waits_for_its_end() -> None:
    # The first answers for 100 steps of 20.15 ms after its prompt of 28.33 ms; the second comes within one of them.
    result = replay(requests((0.0, 100, 101), (1.0, 100, 1)), REPLICA, Terms(), lambda _: 1)
    first, step = 0.02 + 100 / 12_000, 0.02 + 0.00015
    boundary = first + np.ceil((1.0 - first) / step) * step
    assert result.first_token_s[1] == pytest.approx(boundary + step + 100 / 12_000 - 1.0)


def test_two_prompts_share_a_chunk() -> None:
    result = replay(requests((0.0, 300, 1), (0.0, 300, 1), (0.0, 300, 1)), REPLICA, Terms(), lambda _: 1)
    # The first begins alone; the others come while it is under way and are read together.
    assert result.first_token_s[1] == pytest.approx(result.first_token_s[2])


def test_no_more_than_the_batch_are_answered_at_once() -> None:
    small = REPLICA._replace(batch=1)
    result = replay(requests((0.0, 10, 100), (0.0, 10, 100)), small, Terms(), lambda _: 1)
    assert result.first_token_s[1] > 99 * 0.02


def test_the_longest_gap_is_a_full_step_at_most() -> None:
    trace = generated(np.full(10, 20.0), 6.0, (1155.0, 211.0, 1.0, 0.8), 3)
    result = replay(trace, REPLICA, Terms(first=3), lambda _: 3)
    assert 0.02 < result.longest_gap_s <= REPLICA.longest_step_s
    assert result.attained(1e9, result.longest_gap_s - 1e-6) == 0.0


def test_a_new_replica_serves_and_is_billed_from_its_order_on() -> None:
    trace = requests((0.0, 10, 2), (99.0, 10, 2))
    result = replay(trace, REPLICA, Terms(boot_s=50.0, tick_s=10.0), lambda seen: 1 if seen.now_s < 20.0 else 2)
    assert result.replica_hours * 3600.0 == pytest.approx(100.0 + 80.0)


def test_a_removed_replica_is_billed_until_its_last_answer() -> None:
    trace = requests((9.0, 10, 1000), (9.0, 10, 1000))
    result = replay(trace, REPLICA, Terms(first=2), lambda _: 1)
    answer_s = 0.02 + 10 / 12_000 + 999 * (0.02 + 0.00015)
    assert result.replica_hours * 3600.0 == pytest.approx(100.0 + 9.0 + answer_s, abs=0.1)
    assert result.fleet[0] == 2
    assert result.fleet[-1] == 1


def test_a_controller_sees_what_came_and_what_waits_and_nothing_else() -> None:
    looks: list[Observation] = []

    def scaler(seen: Observation) -> int:
        looks.append(seen)
        return 1

    replay(requests((1.0, 100, 5), (2.0, 200, 5), (15.0, 300, 5), horizon_s=30.0), REPLICA, Terms(), scaler)
    assert [look.arrivals for look in looks] == [2, 1, 0]
    assert [look.prompt_tokens for look in looks] == [300, 300, 0]
    assert [look.finished for look in looks] == [2, 1, 0]
    # The prompt's step gives the first of the five tokens.
    assert [look.output_tokens for look in looks] == [8, 4, 0]
    assert all(look.waiting == 0 and look.ready == 1 and look.booting == 0 for look in looks)


def test_the_same_arguments_give_the_same_replay() -> None:
    trace = generated(np.full(5, 30.0), 6.0, (1155.0, 211.0, 1.0, 0.8), 7)
    one, other = (replay(trace, REPLICA, Terms(first=4), lambda seen: 3 + seen.arrivals % 3) for _ in range(2))
    assert np.array_equal(one.first_token_s, other.first_token_s)
    assert one.replica_hours == other.replica_hours


@pytest.mark.parametrize(("rate", "count"), [(43.0, 8), (43.0, 10), (20.0, 5)])
def test_the_queueing_model_foretells_the_replay_within_a_tenth(rate: float, count: int) -> None:
    trace = generated(np.full(10, rate), 60.0, (1155.0, 211.0, 0.96, 0.77), 1)
    result = replay(trace, REPLICA, Terms(first=count), lambda _: count)
    mix = Mix(1155, 211, 0.96**2, 0.77**2)
    for percentile in (0.5, 0.95, 0.99):
        seen = float(np.quantile(result.first_token_s, percentile))
        assert first_token_quantile(percentile, rate, count, REPLICA, mix) == pytest.approx(seen, rel=0.1)
    assert kept(2.0, rate, count, REPLICA, mix) == pytest.approx(result.attained(2.0), abs=0.002)


def test_terms_without_a_replica_or_a_tick_are_refused() -> None:
    for terms in (Terms(first=0), Terms(tick_s=0.0), Terms(boot_s=-1.0)):
        with pytest.raises(UserError, match="needs a first replica"):
            replay(requests((0.0, 1, 1)), REPLICA, terms, lambda _: 1)
