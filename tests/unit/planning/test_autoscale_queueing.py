"""Tests of the queueing model of services."""

from __future__ import annotations

from math import exp, inf, log, nan

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.domain.sizing import Band, Service
from orchestrator.planning.autoscale.queueing import (
    Mix,
    Promise,
    Replica,
    Station,
    delay_probability,
    erlang_c,
    first_token_quantile,
    kept,
    of_service,
    rate_for,
    replicas_for,
    saturation,
    square_root_staffing,
    step_s,
    wait_quantile,
    waiting,
)

REPLICA = Replica(step_s=0.02, token_s=1 / 12_000, sequence_s=0.00015, chunk_tokens=768, batch=96)
MIX = Mix(prompt_tokens=1155, output_tokens=211, prompt_scv=0.92, output_scv=0.6)


def test_one_server_waits_with_the_probability_of_being_busy() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)


def test_erlang_c_has_its_textbook_value() -> None:
    # Ten servers offered eight Erlang: 0.409 in the tables.
    assert erlang_c(10, 8.0) == pytest.approx(0.40918, abs=1e-5)


def test_full_servers_make_everybody_wait() -> None:
    assert erlang_c(4, 4.0) == 1.0
    assert wait_quantile(0.5, 4.0, Station(4, 1.0)) == inf


def test_the_limit_for_many_servers_agrees_with_the_recursion() -> None:
    assert delay_probability(600, 575.0) == pytest.approx(erlang_c(600, 575.0), rel=0.03)


def test_waits_of_one_exponential_server_are_exact() -> None:
    # M/M/1: P(wait > t) = rho·exp(-(mu - lambda)·t).
    chance, decay = waiting(0.8, Station(1, 1.0))
    assert chance * exp(-decay * 5.0) == pytest.approx(0.8 * exp(-1.0))
    assert wait_quantile(0.95, 0.8, Station(1, 1.0)) == pytest.approx(log(0.8 / 0.05) / 0.2)


def test_constant_service_halves_the_wait() -> None:
    assert wait_quantile(0.99, 8.0, Station(10, 1.0, 0.0)) == pytest.approx(
        wait_quantile(0.99, 8.0, Station(10, 1.0, 1.0)) / 2.0
    )


@pytest.mark.parametrize("load", [0.5, 4.0, 97.3, 900.0, 20_000.0])
def test_square_root_staffing_is_the_least_that_keeps_the_delay(load: float) -> None:
    servers = square_root_staffing(load, 0.1)
    assert delay_probability(servers, load) <= 0.1
    assert servers == 1 or delay_probability(servers - 1, load) > 0.1


def test_saturation_is_where_the_batch_is_full() -> None:
    rate = saturation(REPLICA, MIX)
    step = REPLICA.step_s / (
        1.0 - rate * (MIX.prompt_tokens * REPLICA.token_s + MIX.output_tokens * REPLICA.sequence_s)
    )
    assert rate * MIX.output_tokens * step == pytest.approx(REPLICA.batch)
    assert step_s(rate, REPLICA, MIX) == pytest.approx(step)


def test_long_prompts_saturate_the_chunk_first() -> None:
    mix = Mix(prompt_tokens=12_000, output_tokens=100)
    rate = saturation(REPLICA, mix)
    assert rate * mix.prompt_tokens * step_s(rate, REPLICA, mix) == pytest.approx(REPLICA.chunk_tokens)


def test_no_traffic_needs_no_replica() -> None:
    assert replicas_for(0.0, REPLICA, MIX, Promise(2.0)) == 0


def test_replicas_are_the_fewest_that_keep_the_promise() -> None:
    promise = Promise(1.0, 0.99)
    count = replicas_for(200.0, REPLICA, MIX, promise)
    assert kept(1.0, 200.0, count, REPLICA, MIX) >= 0.99
    assert kept(1.0, 200.0, count - 1, REPLICA, MIX) < 0.99
    assert first_token_quantile(0.99, 200.0, count, REPLICA, MIX) <= 1.0


def test_the_highest_rate_is_the_inverse_of_the_fewest_replicas() -> None:
    promise = Promise(1.0, 0.99)
    rate = rate_for(12, REPLICA, MIX, promise)
    assert replicas_for(rate * 0.999, REPLICA, MIX, promise) == 12
    assert replicas_for(rate * 1.001, REPLICA, MIX, promise) == 13


def test_a_promise_that_an_idle_replica_breaks_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"an idle one takes .* Allow more time"):
        replicas_for(1.0, REPLICA, MIX, Promise(0.01, 0.95))


@pytest.mark.parametrize("rate", [-1.0, nan, inf])
def test_rates_that_are_no_rates_are_refused(rate: float) -> None:
    with pytest.raises(UserError, match="finite and at least 0"):
        replicas_for(rate, REPLICA, MIX, Promise(2.0))


def test_the_replica_of_a_sizing_gives_its_largest_throughput() -> None:
    service = Service(
        replicas=3,
        requests_per_s_per_replica=4.0,
        ttft_s=Band(0.1, 0.15, 0.3),
        tpot_s=Band(0.02, 0.025, 0.03),
        watts_per_replica=1000.0,
        most_tokens_per_s=2_400.0,
    )
    replica = of_service(service, 1024, 256)
    assert replica.batch == 60
    assert saturation(replica, Mix(1024, 256)) * 256 == pytest.approx(2_400.0)


def test_a_sizing_without_throughput_is_refused() -> None:
    service = Service(
        replicas=1,
        requests_per_s_per_replica=1.0,
        ttft_s=Band(0.1, 0.1, 0.1),
        tpot_s=Band(0.1, 0.1, 0.1),
        watts_per_replica=1.0,
    )
    with pytest.raises(UserError, match="size the service again"):
        of_service(service, 100, 100)
