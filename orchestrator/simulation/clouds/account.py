"""An account at a simulated cloud with every lever of the provider contract, for the contract tests of adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from orchestrator.domain.contracts import Provider
from orchestrator.domain.lease import Lease
from orchestrator.domain.offer import Offer
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from orchestrator.simulation.clouds.machines import End, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Wire
from orchestrator.testing.accounts import OWNER, Account, Refusal, Spoilt

REFUSALS: Mapping[Refusal, Kind] = MappingProxyType(
    {
        Refusal.THROTTLED: Kind.THROTTLE,
        Refusal.FAILED: Kind.ERROR,
        Refusal.WRONG_KEY: Kind.UNAUTHORISED,
        Refusal.EXPIRED: Kind.EXPIRED,
        Refusal.CLOCK_SKEW: Kind.SKEW,
    }
)
SPOILT: Mapping[Spoilt, Kind] = MappingProxyType(
    {
        Spoilt.WEB_PAGE: Kind.HTML,
        Spoilt.CUT_OFF: Kind.TRUNCATED,
        Spoilt.ERROR_IN_SUCCESS: Kind.EMPTY_SUCCESS,
        Spoilt.ENDLESS: Kind.ENDLESS,
        Spoilt.FAILED: Kind.ERROR,
    }
)


class CloudAccount(Account):
    """Levers by scripting faults of one cloud's market.

    A subclass says which of the vendor's operations launch, release, list machines and list offers, as patterns of the
    wire's operation names; and overrides what its vendor does otherwise. Accounts share one market, so a test makes its
    own.
    """

    launches: tuple[str, ...] = ("*",)
    releases: tuple[str, ...] = ("*",)
    listings: tuple[str, ...] = ("*",)
    catalogues: tuple[str, ...] = ("*",)

    def __init__(
        self, wire: Wire, make: Callable[[str], Provider], *, secrets: tuple[str, ...], quotas: Mapping[str, float]
    ) -> None:
        """`make(owner)` is a new provider object; `quotas` are set at the start, by name, for every region."""
        self.wire, self.cloud = wire, wire.cloud.name
        self._make, self._secrets, self._initial = make, secrets, dict(quotas)
        for name, limit in quotas.items():
            self.market.set_quota(self.cloud, name, limit)

    @property
    def market(self) -> Market:
        """The market behind the wire."""
        return self.wire.market

    def provider(self, owner: str) -> Provider:
        """See Account."""
        return self._make(owner)

    def wait(self, seconds: float) -> None:
        """See Account."""
        self.market.clock.advance(seconds)

    def lose_next_answer(self) -> Provider:
        """See Account: the answer to the next launch is lost."""
        self._script(Kind.LOST_RESPONSE, self.launches)
        return self.provider(OWNER)

    def lose_next_release(self) -> None:
        """See Account."""
        self._script(Kind.LOST_RESPONSE, self.releases)

    def announce_reclaim(self, lease: Lease) -> None:
        """See Account: of every machine of the lease."""
        now = self.market.clock.now()
        for machine in self.market.machines(self.cloud):
            if machine.phase(now) is not Phase.GONE and lease.token in self.token_of(machine.serial):
                self.market.end(machine.serial, End.PREEMPTED, notice_s=120.0)

    def token_of(self, serial: int) -> str:
        """Text in which the isoflop token of a machine is found: its tags and its name."""
        machine = self.market.machine(serial)
        return "" if machine is None else f"{machine.name} {' '.join(machine.tags.values())}"

    def sell_out(self, offer: Offer) -> None:
        """See Account: at the purchase alone; listings go on as before."""
        where = f"{offer.region}/{offer.zone}/{offer.instance_type}/{offer.billing.value}"
        self.market.script(Fault(provider=self.cloud, kind=Kind.STOCKOUT, where=where, times=ALWAYS))

    def use_quota_up(self, offer: Offer) -> None:  # noqa: ARG002 - whatever it is, none is left
        """See Account: every quota of the account becomes 0."""
        for state in self.market.quotas(self.cloud):
            self.market.set_quota(self.cloud, state.name, 0.0, state.region)

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        """See Account."""
        self.market.script(Fault(provider=self.cloud, kind=REFUSALS[how], times=times))

    def deliver_partly(self) -> None:
        """See Account."""
        self._script(Kind.PARTIAL, ("*",))

    def hide_next(self, seconds: float) -> None:
        """See Account."""
        self.market.script(Fault(provider=self.cloud, kind=Kind.HIDE, seconds=seconds))

    def spoil(self, how: Spoilt, *, listing: bool) -> None:
        """See Account."""
        self._script(SPOILT[how], self.listings if listing else self.catalogues, times=ALWAYS)

    def mend(self) -> None:
        """See Account."""
        self.market.unscript(self.cloud)
        for name, limit in self._initial.items():
            self.market.set_quota(self.cloud, name, limit)

    def mishaps(self) -> tuple[Callable[[], object], ...]:
        """See Account: refusals, lost and spoilt answers, stock-outs, parts of gangs, hidden machines, reclaims."""
        return (
            lambda: self.refuse(Refusal.THROTTLED, times=2),
            lambda: self.refuse(Refusal.FAILED),
            lambda: self.refuse(Refusal.WRONG_KEY),
            lambda: self._script(Kind.LOST_RESPONSE, self.launches),
            lambda: self._script(Kind.LOST_RESPONSE, self.launches),
            self.lose_next_release,
            self.deliver_partly,
            lambda: self.hide_next(45.0),
            lambda: self.market.script(Fault(provider=self.cloud, kind=Kind.STOCKOUT)),
            lambda: self._script(Kind.TRUNCATED, self.listings),
            lambda: self._script(Kind.HTML, self.listings),
            self._reclaim_one,
        )

    def held_by(self, token: str) -> int | None:
        """See Account."""
        now = self.market.clock.now()
        held = [machine for machine in self.market.machines(self.cloud) if machine.phase(now) is not Phase.GONE]
        return sum(token in self.token_of(machine.serial).split() for machine in held)

    def really_held(self) -> int:
        """See Account."""
        now = self.market.clock.now()
        return sum(machine.phase(now) is not Phase.GONE for machine in self.market.machines(self.cloud))

    def secrets(self) -> tuple[str, ...]:
        """See Account."""
        return self._secrets

    def _reclaim_one(self) -> None:
        now = self.market.clock.now()
        for machine in self.market.machines(self.cloud):
            if machine.phase(now) is Phase.RUNNING:
                self.market.end(machine.serial, End.PREEMPTED, notice_s=30.0)
                return

    def _script(self, kind: Kind, operations: tuple[str, ...], times: int = 1) -> None:
        for operation in operations:
            self.market.script(Fault(provider=self.cloud, kind=kind, operation=operation, times=times))
