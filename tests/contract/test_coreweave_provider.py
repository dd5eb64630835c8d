"""The CoreWeave provider keeps the promises of a provider, over HTTP against simulated clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider, ProviderContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.account import CloudAccount
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.coreweave import app
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.simulation.clouds.wire import Wire
from orchestrator.testing.accounts import Account, Refusal
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.provider_contract import ProviderContract
from providers.coreweave.provider import create


def pool(zone: str, name: str, accelerator: str, billing: Billing, *, capacity: int) -> Pool:
    return Pool(
        key=Key("coreweave", zone[:-1], zone, name, billing),
        accelerator=accelerator,
        gpus=8,
        vcpus=128,
        host_memory_gib=2048,
        usd_per_hour=49.24,
        capacity=capacity,
        boot_s=40.0,
    )


POOLS = (
    pool("US-EAST-01A", "gd-8xh100ib-i128", "H100-SXM", Billing.ON_DEMAND, capacity=3),
    pool("US-EAST-01A", "gd-8xh100ib-i128", "H100-SXM", Billing.SPOT, capacity=3),
    pool("RNO2A", "gd-8xa100-i128", "A100-80GB", Billing.SPOT, capacity=2),
)
RATE = {"instance_type": "gd-8xh100ib-i128", "usd_per_hour": 30.0}
SPOT_RATE = {**RATE, "billing": "spot", "usd_per_hour": 15.0}


class CoreWeaveAccount(CloudAccount):
    launches = ("createNodePool",)
    releases = ("deleteNodePool",)
    listings = ("listNodePools",)
    catalogues = ("listClusters",)

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        if how is Refusal.CLOCK_SKEW:
            pytest.skip("nothing of a call to CoreWeave is signed by the time")
        super().refuse(how, times=times)


def maker(wire: Wire, url: str, folder: Path, rates: list[dict[str, object]]) -> Callable[[str], Provider]:
    def make(owner: str) -> Provider:
        context = ProviderContext(
            owner=owner,
            settings={"endpoint_url": url, "access_token": "file:token", "list_prices": False, "rates": rates},
            secret=lambda _: Secret(app.TOKEN),
            clock=wire.market.clock,
            state_dir=folder,
        )
        return create(context)

    return make


class _OverTheWire(ProviderContract):
    rates: tuple[dict[str, object], ...]

    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        market = Market(POOLS, seed=7, clock=MarketClock(EPOCH), hazards=False)
        wire = app.create(market)
        facts = {"accelerator": "H100 SXM 80GB", "gpus": 8}
        rates = [{**facts, "zone": "US-*", **rate} for rate in self.rates]
        with Server(wire) as server:
            make = maker(wire, server.url, tmp_path, rates)
            yield CoreWeaveAccount(wire, make, secrets=(app.TOKEN,), quotas={"gpus": 64.0})
        assert wire.nonconforming == []


class TestCoreWeaveProvider(_OverTheWire):
    """On-demand pools, which are never taken back."""

    rates = (RATE,)

    def test_an_announced_reclaim_is_heard_before_the_lease_goes(self) -> None:
        pytest.skip("nodes of on-demand pools are cordoned for maintenance, and come back")


class TestCoreWeaveSpot(_OverTheWire):
    """Spot pools."""

    rates = (SPOT_RATE,)
