"""A simulated AWS on a loopback port, and adapters at it through the real SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.account import CloudAccount
from orchestrator.simulation.clouds.aws.app import ACCESS_KEY_ID, SECRET_ACCESS_KEY, AwsCloud, create
from orchestrator.simulation.clouds.aws.catalogue import quota_of
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from orchestrator.simulation.clouds.machines import Machine, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from providers.aws.provider import AwsProvider
from providers.aws.provider import create as create_provider

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRETS = {"env:KEY_ID": ACCESS_KEY_ID, "env:SECRET": SECRET_ACCESS_KEY}


def pools(
    place: str, instance_type: str, accelerator: str, gpus: float, prices: tuple[float, float | None], *, nodes: int = 6
) -> list[Pool]:
    """The pools of one type in `place` ("region/zone"): on demand and, where it has the second price, spot."""
    region, _, zone = place.partition("/")
    kinds = ((Billing.ON_DEMAND, prices[0], 0.0), (Billing.SPOT, prices[1], 0.1))
    return [
        Pool(
            key=Key("aws", region, zone, instance_type, billing),
            accelerator=accelerator,
            gpus=gpus,
            vcpus=8.0,
            host_memory_gib=64.0,
            usd_per_hour=usd,
            capacity=nodes,
            volatility=volatility,
            boot_s=20.0,
        )
        for billing, usd, volatility in kinds
        if usd is not None
    ]


def usual_pools() -> list[Pool]:
    """Two regions, and every kind of device that is easy to get wrong."""
    return [
        *pools("us-east-1/us-east-1a", "g6.xlarge", "L4", 1, (0.8048, 0.3)),
        *pools("us-east-1/us-east-1b", "g6.xlarge", "L4", 1, (0.8048, 0.32)),
        *pools("us-east-1/us-east-1a", "p5.48xlarge", "H100-SXM", 8, (55.04, 20.0), nodes=3),
        *pools("us-east-1/us-east-1b", "g4dn.metal", "T4", 8, (7.824, None)),
        *pools("eu-west-1/", "p4d.24xlarge", "A100-40GB", 8, (32.77, 10.0)),
        *pools("eu-west-1/eu-west-1b", "p4de.24xlarge", "A100-80GB", 8, (40.96, None)),
        *pools("eu-west-1/eu-west-1b", "g6f.xlarge", "L4", 0.125, (0.2, 0.1)),
        *pools("eu-west-1/eu-west-1b", "g5g.xlarge", "T4g", 1, (0.42, None)),
        *pools("eu-west-1/eu-west-1b", "trn2.48xlarge", "Trainium2", 16, (36.0, None)),
    ]


class SimulatedAws(CloudAccount):
    """One account at one simulated AWS; use it in a `with`."""

    launches = ("RunInstances",)
    releases = ("TerminateInstances",)
    listings = ("DescribeInstances",)
    catalogues = ("Describe*Offerings", "GetProducts", "DescribeSpotPriceHistory")

    def __init__(
        self, folder: Path, stock: Sequence[Pool] | None = None, settings: Mapping[str, object] | None = None
    ) -> None:
        self._folder, self._settings = folder, settings or {}
        self.clock = MarketClock(START)
        pools_sold = usual_pools() if stock is None else stock
        market = Market(pools_sold, seed=5, clock=self.clock, hazards=False)
        super().__init__(create(market), self.made, secrets=tuple(SECRETS.values()), quotas={})
        self.server = Server(self.wire)

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.__exit__(kind, error, trace)
        if error is None:
            assert not self.wire.nonconforming

    @property
    def aws(self) -> AwsCloud:
        assert isinstance(self.wire.cloud, AwsCloud)
        return self.wire.cloud

    def made(self, owner: str, *, folder: Path | None = None, **settings: object) -> AwsProvider:
        """A new provider object; `folder` is its state folder, where it shall not be everybody's."""
        context = ProviderContext(
            owner=owner,
            settings={
                "access_key_id": "env:KEY_ID",
                "secret_access_key": "env:SECRET",
                "endpoint_url": self.server.url,
                **self._settings,
                **settings,
            },
            secret=lambda reference: Secret(SECRETS[reference]),
            clock=self.clock,
            state_dir=folder or self._folder,
        )
        provider = create_provider(context)
        assert isinstance(provider, AwsProvider)
        return provider

    def script(self, kind: Kind, operation: str = "*", *, times: int = ALWAYS, **more: Any) -> None:
        """Let a fault strike."""
        self.market.script(Fault(provider="aws", kind=kind, operation=operation, times=times, **more))

    def machines(self) -> list[Machine]:
        """Those that are billed."""
        now = self.clock.now()
        return [machine for machine in self.market.machines("aws") if machine.phase(now) is not Phase.GONE]

    def sell_out(self, offer: Offer) -> None:
        """See Account; a pool of a price list without zones has none."""
        self.script(Kind.STOCKOUT, where=f"{offer.region}/*/{offer.instance_type}/{offer.billing.value}")

    def use_quota_up(self, offer: Offer) -> None:
        """See Account."""
        self.market.set_quota("aws", quota_of(offer.instance_type, offer.billing), 0.0, offer.region)


def offer_of(provider: AwsProvider, instance_type: str, billing: Billing = Billing.ON_DEMAND) -> Offer:
    """The first of those on sale."""
    found = [offer for offer in provider.offers() if (offer.instance_type, offer.billing) == (instance_type, billing)]
    return found[0]
