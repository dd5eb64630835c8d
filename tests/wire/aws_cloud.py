"""A simulated AWS on a loopback port, and adapters at it through the real SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.lease import Lease
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.aws.app import ACCESS_KEY_ID, SECRET_ACCESS_KEY, AwsCloud, create
from orchestrator.simulation.clouds.aws.catalogue import quota_of
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.testing.accounts import OWNER, Account, Refusal, Spoilt
from providers.aws.provider import AwsProvider
from providers.aws.provider import create as create_provider

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRETS = {"env:KEY_ID": ACCESS_KEY_ID, "env:SECRET": SECRET_ACCESS_KEY}
REFUSALS = {
    Refusal.THROTTLED: Kind.THROTTLE,
    Refusal.FAILED: Kind.ERROR,
    Refusal.WRONG_KEY: Kind.UNAUTHORISED,
    Refusal.EXPIRED: Kind.EXPIRED,
    Refusal.CLOCK_SKEW: Kind.SKEW,
}
SPOILT = {
    Spoilt.WEB_PAGE: Kind.HTML,
    Spoilt.CUT_OFF: Kind.TRUNCATED,
    Spoilt.ERROR_IN_SUCCESS: Kind.EMPTY_SUCCESS,
    Spoilt.ENDLESS: Kind.ENDLESS,
    Spoilt.FAILED: Kind.ERROR,
}


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


class SimulatedAws(Account):
    """One account at one simulated AWS; use it in a `with`."""

    def __init__(self, folder: Path, stock: Sequence[Pool] | None = None, settings: Mapping[str, object] = {}) -> None:
        self._folder, self._settings = folder, settings
        self.clock = MarketClock(START)
        self.market = Market(usual_pools() if stock is None else stock, seed=5, clock=self.clock, hazards=False)
        self.wire = create(self.market)
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
    def cloud(self) -> AwsCloud:
        assert isinstance(self.wire.cloud, AwsCloud)
        return self.wire.cloud

    def provider(self, owner: str, *, folder: Path | None = None, **settings: object) -> AwsProvider:
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
        made = create_provider(context)
        assert isinstance(made, AwsProvider)
        return made

    def script(self, kind: Kind, operation: str = "*", *, times: int = ALWAYS, **more: object) -> None:
        """Let a fault strike."""
        self.market.script(Fault(provider="aws", kind=kind, operation=operation, times=times, **more))  # type: ignore[arg-type]

    def machines(self) -> list[Machine]:
        """Those that are billed."""
        now = self.clock.now()
        return [machine for machine in self.market.machines("aws") if machine.phase(now) is not Phase.GONE]

    # Levers

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def lose_next_answer(self) -> AwsProvider:
        self.script(Kind.LOST_RESPONSE, "RunInstances", times=1)
        return self.provider(OWNER)

    def announce_reclaim(self, lease: Lease) -> None:
        for machine in self.machines():
            if str(machine.extra["reservation"]) in lease.id:
                self.market.end(machine.serial, End.PREEMPTED, notice_s=120.0)

    def sell_out(self, offer: Offer) -> None:
        where = f"{offer.region}/*/{offer.instance_type}/{offer.billing.value}"
        self.script(Kind.STOCKOUT, where=where)

    def use_quota_up(self, offer: Offer) -> None:
        self.market.set_quota("aws", quota_of(offer.instance_type, offer.billing), 0.0, offer.region)

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        self.script(REFUSALS[how], times=times)

    def deliver_partly(self) -> None:
        self.script(Kind.PARTIAL, times=1)

    def hide_next(self, seconds: float) -> None:
        self.script(Kind.HIDE, times=1, seconds=seconds)

    def lose_next_release(self) -> None:
        self.script(Kind.LOST_RESPONSE, "TerminateInstances", times=1)

    def spoil(self, how: Spoilt, *, listing: bool) -> None:
        listings, offers = ("DescribeInstances",), ("Describe*Offerings", "GetProducts", "DescribeSpotPriceHistory")
        for operation in listings if listing else offers:
            self.script(SPOILT[how], operation)

    def mend(self) -> None:
        self.market.unscript("aws")

    def really_held(self) -> int:
        return len(self.machines())

    def secrets(self) -> tuple[str, ...]:
        return tuple(SECRETS.values())
