"""The Lambda provider keeps the promises of a provider, over HTTP against a simulated Lambda."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider, ProviderContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.account import CloudAccount
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.lambda_cloud import app
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.simulation.clouds.wire import Wire
from orchestrator.testing.accounts import Account, Refusal
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.provider_contract import ProviderContract
from providers.lambda_cloud.provider import create

SPECS = Path(os.environ.get("ISOFLOP_SPECS", "") or Path(__file__).parents[3] / "shared" / "data" / "specs")


def pool(region: str, name: str, accelerator: str, gpus: int, usd: float, *, capacity: int) -> Pool:
    return Pool(
        key=Key("lambda", region, "", name, Billing.ON_DEMAND),
        accelerator=accelerator,
        gpus=gpus,
        vcpus=26.0 * gpus,
        host_memory_gib=225.0 * gpus,
        usd_per_hour=usd,
        capacity=capacity,
        boot_s=20.0,
    )


POOLS = (
    pool("us-east-1", "gpu_1x_a10", "A10", 1, 1.29, capacity=6),
    pool("us-west-1", "gpu_1x_a10", "A10", 1, 1.29, capacity=0),
    pool("us-east-1", "gpu_8x_h100_sxm5", "H100-SXM", 8, 31.92, capacity=3),
    pool("us-south-1", "gpu_8x_a100", "A100-40GB", 8, 15.92, capacity=2),
)


class LambdaAccount(CloudAccount):
    launches = ("launchInstance",)
    releases = ("terminateInstance",)
    listings = ("listInstances",)
    catalogues = ("listInstanceTypes",)

    def deliver_partly(self) -> None:
        """One node is left of everything: of a gang, launched node by node, the second is refused."""
        for each in POOLS:
            self.market.set_capacity(each.key, min(1, each.capacity))

    def mend(self) -> None:
        super().mend()
        for each in POOLS:
            self.market.set_capacity(each.key, each.capacity)

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        if how is Refusal.CLOCK_SKEW:
            pytest.skip("nothing of a call to Lambda is signed by the time")
        super().refuse(how, times=times)


def maker(wire: Wire, url: str, folder: Path) -> Callable[[str], Provider]:
    def make(owner: str) -> Provider:
        state = folder / owner
        state.mkdir(exist_ok=True)
        context = ProviderContext(
            owner=owner,
            settings={"endpoint_url": url, "api_key": "file:key"},
            secret=lambda _: Secret(app.KEY),
            clock=wire.market.clock,
            state_dir=state,
        )
        return create(context)

    return make


class TestLambdaProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        market = Market(POOLS, seed=7, clock=MarketClock(EPOCH))
        wire = app.create(market, specs=SPECS)
        with Server(wire) as server:
            yield LambdaAccount(wire, maker(wire, server.url, tmp_path), secrets=(app.KEY,), quotas={"gpus": 64.0})
        assert wire.nonconforming == []
