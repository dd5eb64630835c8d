"""The simulated Lambda's limits of requests: by the market's clock, or by the real one where that one stands."""

from __future__ import annotations

import pytest

from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.lambda_cloud import app, cloud
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Request
from orchestrator.testing.clock import EPOCH


def ask(wire: cloud.LambdaCloud, path: str = "/api/v1/instances", method: str = "GET", key: str = app.KEY) -> int:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return wire.handle(Request(method, path, path, (), headers, b"{}", "http://127.0.0.1")).status


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(cloud.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def market() -> Market:
    return Market((), seed=1, clock=MarketClock(EPOCH))


def simulated(market: Market, *, rates: bool = True) -> cloud.LambdaCloud:
    keys = {app.KEY: "one", "another": "two"}
    return cloud.LambdaCloud(market, keys=keys, spec=None, rates=rates)


def test_a_second_has_to_pass_between_requests_of_an_account(market: Market, real: list[float]) -> None:
    lambda_cloud = simulated(market)
    assert [ask(lambda_cloud), ask(lambda_cloud), ask(lambda_cloud, key="another")] == [200, 429, 200]
    market.clock.advance(1.0)
    assert ask(lambda_cloud) == 200
    real[0] += 1.0
    assert ask(lambda_cloud) == 200


def test_twelve_have_to_pass_between_launches(market: Market, real: list[float]) -> None:
    lambda_cloud = simulated(market)
    launch = ("/api/v1/instance-operations/launch", "POST")
    assert ask(lambda_cloud, *launch) == 400  # it names no type, and counts all the same
    market.clock.advance(11.0)
    assert ask(lambda_cloud, *launch) == 429
    market.clock.advance(1.0)
    assert ask(lambda_cloud, *launch) == 400


def test_limits_can_be_left_out(market: Market, real: list[float]) -> None:
    lambda_cloud = simulated(market, rates=False)
    assert [ask(lambda_cloud) for _ in range(3)] == [200, 200, 200]


def test_a_wrong_key_and_an_unknown_call_are_refused(market: Market, real: list[float]) -> None:
    lambda_cloud = simulated(market, rates=False)
    assert ask(lambda_cloud, key="wrong") == 401
    assert ask(lambda_cloud, path="/api/v1/clusters") == 404
