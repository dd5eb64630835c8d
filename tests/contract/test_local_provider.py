"""The local provider keeps the promises of a provider: with its CPU alone, and with GPUs in the machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.provider_contract import Account, ProviderContract
from providers.local.machine import Host, Measurement
from providers.local.nvml import Device
from providers.local.provider import LocalProvider
from providers.local.settings import LocalSettings

GPUS = tuple(Device(uuid=f"GPU-{number}", name="NVIDIA L4", memory_gib=22.5, busy=number == 0) for number in range(4))


def _measure(now: datetime) -> Measurement:
    return Measurement(fp32_tflops=0.1, copy_gb_s=10.0, measured_at=now)


class LocalAccount(Account):
    def __init__(self, folder: Path, devices: Sequence[Device] = (), slots: int = 2) -> None:
        self._folder = folder
        self._devices = devices
        self._settings = LocalSettings(slots=slots)
        self._clock = FakeClock()

    def provider(self, owner: str) -> Provider:
        return LocalProvider(
            owner=owner,
            settings=self._settings,
            clock=self._clock,
            state_dir=self._folder,
            host=Host(cpu="test", cores=4, memory_gib=8.0),
            devices=lambda: self._devices,
            measure=_measure,
        )

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)


class TestLocalProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Account:
        return LocalAccount(tmp_path)


class TestLocalProviderWithOneSlot(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Account:
        return LocalAccount(tmp_path, slots=1)


class TestLocalProviderWithGpus(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Account:
        return LocalAccount(tmp_path, GPUS)
