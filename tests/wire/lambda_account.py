"""A small simulated Lambda on loopback, and providers that speak to it as processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.lambda_cloud import app
from orchestrator.simulation.clouds.machines import Machine, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.simulation.clouds.wire import Wire
from orchestrator.testing.clock import EPOCH
from providers.lambda_cloud.provider import LambdaProvider, create

SPECS = Path(os.environ.get("ISOFLOP_SPECS", "") or Path(__file__).parents[3] / "shared" / "data" / "specs")
H100 = Key("lambda", "us-east-1", "", "gpu_8x_h100_sxm5", Billing.ON_DEMAND)
POOL = Pool(
    key=H100,
    accelerator="H100-SXM",
    gpus=8,
    vcpus=208,
    host_memory_gib=1800,
    usd_per_hour=31.92,
    capacity=4,
    boot_s=30.0,
)
OWNER = "isoflop-test"


@dataclass
class LambdaScene:
    """One market, one wire, and as many processes as wanted."""

    wire: Wire
    url: str
    folder: Path

    @property
    def market(self) -> Market:
        return self.wire.market

    def provider(self, home: str = "home", owner: str = OWNER, **settings: object) -> LambdaProvider:
        """A new process of `owner` with the state folder `home`."""
        state = self.folder / home
        state.mkdir(exist_ok=True)
        context = ProviderContext(
            owner=owner,
            settings={"endpoint_url": self.url, "api_key": "file:key", **settings},
            secret=lambda _: Secret(app.KEY),
            clock=self.market.clock,
            state_dir=state,
        )
        made = create(context)
        assert isinstance(made, LambdaProvider)
        return made

    def fault(self, kind: Kind, operation: str = "*", *, times: int = 1, seconds: float = 0.0) -> None:
        self.market.script(Fault(provider="lambda", kind=kind, operation=operation, times=times, seconds=seconds))

    def live(self) -> list[Machine]:
        now = self.market.clock.now()
        return [machine for machine in self.market.machines("lambda") if machine.phase(now) is not Phase.GONE]

    def key_calls(self) -> list[str]:
        """Calls that changed the account's SSH keys, in order."""
        listed = [call for call in self.wire.calls() if call.operation in {"addSSHKey", "deleteSSHKey"}]
        return [call.operation for call in listed if call.status == 200]

    def counts(self) -> Mapping[str, int]:
        return self.wire.counts()


def h100(provider: LambdaProvider) -> Offer:
    """The offer that POOL makes."""
    return next(
        offer for offer in provider.offers() if (offer.region, offer.instance_type) == (H100.region, H100.instance_type)
    )


def buy(provider: LambdaProvider, nodes: int = 1, run: int = 1, boot: Boot | None = None) -> Lease:
    """What POOL sells, with the token `run-<run>-1`."""
    return provider.acquire(h100(provider), nodes, token=f"run-{run}-1", boot=boot or Boot())


@contextmanager
def scene(folder: Path, *pools: Pool) -> Iterator[LambdaScene]:
    """A market of `pools`, or of POOL alone. At the end every answer was one that Lambda's description allows."""
    market = Market(pools or (POOL,), seed=3, clock=MarketClock(EPOCH))
    wire = app.create(market, specs=SPECS)
    with Server(wire) as server:
        yield LambdaScene(wire, server.url, folder)
    assert wire.nonconforming == []
