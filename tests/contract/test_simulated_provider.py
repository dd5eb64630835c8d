"""The simulated provider keeps the promises of a provider, on both markets and with slow, hidden and late answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.lease import Lease
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.provider_contract import OWNER, Account, ProviderContract
from providers.simulated.provider import SimulatedProvider
from providers.simulated.settings import Fault, FaultKind, MarketName, SimulatedSettings

RECLAIM = Fault(kind=FaultKind.RECLAIM, after_s=4000.0, notice_s=60.0, times=1000)


class SimulatedAccount(Account):
    def __init__(self, folder: Path, settings: SimulatedSettings) -> None:
        self._folder = folder
        self._settings = replace(settings, faults=(RECLAIM, *settings.faults))
        self._clock = FakeClock()

    def provider(self, owner: str) -> Provider:
        return SimulatedProvider(owner=owner, settings=self._settings, clock=self._clock, state_dir=self._folder)

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def lose_next_answer(self) -> Provider:
        lost = Fault(kind=FaultKind.LOST_RESPONSE)
        self._settings = replace(self._settings, faults=(*self._settings.faults, lost))
        return self.provider(OWNER)

    def announce_reclaim(self, lease: Lease) -> None:
        until = RECLAIM.after_s - RECLAIM.notice_s
        self._clock.advance(until / self._settings.time_scale)


class TestSimulatedProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Account:
        return SimulatedAccount(tmp_path, SimulatedSettings())


class TestSimulatedProviderOfTheWorld(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Account:
        return SimulatedAccount(tmp_path, SimulatedSettings(market=MarketName.WORLD, seed=7))


class TestSimulatedProviderOnABadDay(ProviderContract):
    """New leases hide, boots and releases are slow."""

    @pytest.fixture
    def account(self, tmp_path: Path) -> Account:
        hide = Fault(kind=FaultKind.HIDE, for_s=45.0, times=1000)
        slow = Fault(kind=FaultKind.SLOW_BOOT, delay_s=300.0, times=1000)
        return SimulatedAccount(tmp_path, SimulatedSettings(release_s=90.0, faults=(hide, slow)))
