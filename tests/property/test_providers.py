"""No provider sells more than it has, or one token twice, whatever its callers do and wherever they are cut off."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.testing.clock import FakeClock
from providers.local.machine import Host
from providers.local.nvml import Device
from providers.local.provider import LocalProvider
from providers.local.settings import LocalSettings
from providers.simulated.pools import pools
from providers.simulated.provider import SimulatedProvider
from providers.simulated.settings import Fault, FaultKind, MarketName, SimulatedSettings

OWNERS = st.sampled_from(["me", "you"])
TOKENS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
GPUS = tuple(Device(uuid=f"GPU-{n}", name="Tesla T4", memory_gib=15.0, busy=False) for n in range(3))


class Buyers(RuleBasedStateMachine):
    """Two owners with the same few tokens, each call from a fresh object as if the process before had been killed."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = Path(tempfile.mkdtemp(prefix="isoflop-"))
        self.ids: dict[str, tuple[str, str]] = {}  # every id ever seen, and whose it is
        self.freed: set[str] = set()

    def provider(self, owner: str) -> Provider:
        raise NotImplementedError

    def check_stock(self, leases: list[Lease]) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(owner=OWNERS, token=TOKENS, pick=st.integers(0, 99), nodes=st.integers(1, 3))
    def buy(self, owner: str, token: str, pick: int, nodes: int) -> None:
        before = {lease.token: lease for lease in self.provider(owner).leases()}
        book = self.provider(owner).offers()
        offer = book[pick % len(book)]
        try:
            lease = self.provider(owner).acquire(offer, nodes, token=token, boot=Boot())
        except CapacityError:
            assert token not in before
            assert nodes > (offer.available or 0)
            return
        except TransientError:  # the answer was lost: the purchase is in the books
            lease = next(held for held in self.provider(owner).leases() if held.token == token)
        if token in before:
            assert lease.id == before[token].id
        else:
            assert lease.id not in self.ids
            assert (lease.nodes, lease.offer.label) == (nodes, offer.label)
        self.ids[lease.id] = (owner, token)

    @rule(owner=OWNERS, pick=st.integers(0, 99))
    def release(self, owner: str, pick: int) -> None:
        if not self.ids:
            return
        lease_id = sorted(self.ids)[pick % len(self.ids)]
        try:
            self.provider(owner).release(lease_id)
        except LeaseNotFound:
            assert lease_id not in {lease.id for lease in self.provider(owner).leases()}
        else:
            assert self.ids[lease_id][0] == owner
            self.freed.add(lease_id)

    @rule(seconds=st.sampled_from([1.0, 30.0, 600.0, 7200.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_books_add_up(self) -> None:
        held = {owner: list(self.provider(owner).leases()) for owner in ("me", "you")}
        for owner, leases in held.items():
            assert len({lease.token for lease in leases}) == len(leases)
            for lease in leases:
                assert self.ids[lease.id] == (owner, lease.token)
                assert lease.id not in self.freed or lease.state is LeaseState.RELEASING
        self.check_stock([lease for leases in held.values() for lease in leases])


class LocalBuyers(Buyers):
    def provider(self, owner: str) -> Provider:
        return LocalProvider(
            owner=owner,
            settings=LocalSettings(slots=3),
            clock=self.clock,
            state_dir=self.folder,
            host=Host(cpu="test", cores=1, memory_gib=1.0),
            devices=lambda: GPUS,
        )

    def check_stock(self, leases: list[Lease]) -> None:
        assert sum(lease.nodes for lease in leases if lease.offer.accelerator == "cpu") <= 3
        used = [uuid for lease in leases for point in lease.endpoints for uuid in dict(point.env).values() if uuid]
        given = [uuid for listed in used for uuid in listed.split(",")]
        assert len(given) == len(set(given))
        assert sum(lease.nodes * lease.offer.gpus for lease in leases if lease.offer.accelerator == "T4") == len(given)


class DemoBuyers(Buyers):
    settings = SimulatedSettings(
        release_s=60.0,
        faults=(
            Fault(kind=FaultKind.RECLAIM, region="sim-east", after_s=900.0, times=1000),
            Fault(kind=FaultKind.LOST_RESPONSE, region="sim-north", times=1000),
            Fault(kind=FaultKind.STOCKOUT, region="sim-west", after_s=1200.0, for_s=1200.0),
        ),
    )

    def provider(self, owner: str) -> Provider:
        return SimulatedProvider(owner=owner, settings=self.settings, clock=self.clock, state_dir=self.folder)

    def check_stock(self, leases: list[Lease]) -> None:
        left = {offer.label: offer.available or 0 for offer in self.provider("me").offers()}
        for pool in pools(self.settings.market):
            label = f"simulated {pool.region} {pool.instance_type} {pool.billing.value}"
            sold = sum(lease.nodes for lease in leases if lease.offer.label == label)
            assert sold + left[label] <= pool.capacity


class WorldBuyers(DemoBuyers):
    """Others buy too, more at one time and less at another."""

    settings = SimulatedSettings(market=MarketName.WORLD, time_scale=60.0)


@pytest.mark.parametrize(("machine", "examples"), [(LocalBuyers, 30), (DemoBuyers, 20), (WorldBuyers, 6)])
def test_no_sequence_of_calls_sells_too_much_or_twice(machine: type[Buyers], examples: int) -> None:
    case = machine.TestCase
    case.settings = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    case().runTest()
