"""Processes that share a state folder and nothing else buy once at Lambda, also when one of them is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.lambda_cloud import app
from orchestrator.simulation.clouds.machines import Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.serving import Server
from orchestrator.testing.clock import EPOCH
from tests.wire.lambda_account import POOL, SPECS

BUYER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.lease import Boot
from orchestrator.domain.secret import Secret
from providers.lambda_cloud.provider import create

class SystemClock:
    def now(self): return datetime.now(UTC)
    def sleep(self, seconds): time.sleep(seconds)

url, folder, key = sys.argv[1:]
settings = {"endpoint_url": url, "request_spacing_s": 0.0, "launch_spacing_s": 0.0, "settle_s": 0.0}
context = ProviderContext(
    owner="me", settings=settings, secret=lambda _: Secret(key), clock=SystemClock(), state_dir=Path(folder)
)
provider = create(context)
offer = next(offer for offer in provider.offers() if offer.available is None)
print(provider.acquire(offer, 2, token="run-1-1", boot=Boot()).id)
"""


def buyer(url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUYER, url, str(folder), app.KEY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_three_processes_with_one_token_buy_one_lease(tmp_path: Path) -> None:
    market = Market((POOL,), seed=3, clock=MarketClock(EPOCH, scale=1.0))
    with Server(app.create(market, specs=SPECS, rates=False)) as server:
        told = [process.communicate(timeout=60) for process in [buyer(server.url, tmp_path) for _ in range(3)]]
    assert {err for _, err in told} == {""}
    assert len({out for out, _ in told}) == 1
    assert len(market.machines("lambda")) == 2


def test_a_killed_purchase_is_completed_by_the_next_process(tmp_path: Path) -> None:
    market = Market((POOL,), seed=3, clock=MarketClock(EPOCH, scale=1.0))
    wire = app.create(market, specs=SPECS, rates=False)
    market.script(Fault(provider="lambda", kind=Kind.SLOW, operation="launchInstance", times=1, seconds=2.0))
    with Server(wire) as server:
        first = buyer(server.url, tmp_path)
        while not any(line.what == "fault slow" for line in market.log()):
            assert first.poll() is None, first.communicate()
            time.sleep(0.01)
        first.kill()  # its first launch is under way and will be done
        first.communicate()
        second = buyer(server.url, tmp_path)
        out, err = second.communicate(timeout=90)
    assert err == ""
    assert out.strip()
    live = [machine for machine in market.machines("lambda") if machine.phase(market.clock.now()) is not Phase.GONE]
    assert sorted(machine.name.rpartition("-")[2] for machine in live) == ["0of2", "1of2"]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
