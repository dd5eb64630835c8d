from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.errors import ConfigError, MissingCredentials
from orchestrator.domain.offer import Billing, Tier
from orchestrator.domain.secret import Secret
from orchestrator.testing.clock import EPOCH, FakeClock
from providers.local.machine import Host, Measurement, measure, measured, read_host
from providers.local.provider import LocalProvider, create
from providers.local.translate import accelerator_of

HOST = Host(cpu="Test CPU", cores=4, memory_gib=8.0)


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, now: datetime) -> Measurement:
        self.calls += 1
        return Measurement(fp32_tflops=0.25, copy_gb_s=20.0, measured_at=now)


def _tree(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_the_host_is_what_the_kernel_says(tmp_path: Path) -> None:
    proc = _tree(
        tmp_path / "proc",
        cpuinfo="processor\t: 0\nmodel name\t: Test CPU @ 3 GHz\n",
        meminfo="MemTotal:       16777216 kB\nMemFree: 1 kB\n",
    )
    host = read_host(proc, tmp_path / "no-cgroup")
    assert (host.cpu, host.memory_gib) == ("Test CPU @ 3 GHz", 16.0)
    assert host.cores == len(os.sched_getaffinity(0))


def test_a_containers_limits_count_and_not_the_boards(tmp_path: Path) -> None:
    proc = _tree(tmp_path / "proc", cpuinfo="", meminfo="MemTotal: 16777216 kB\n")
    cgroup = _tree(tmp_path / "cgroup", memory_max=f"{4 * 2**30}\n", cpu_max="100000 100000\n")
    host = read_host(proc, cgroup)
    assert (host.cpu, host.cores, host.memory_gib) == ("", 1, 4.0)


def test_a_container_without_limits_has_the_whole_board(tmp_path: Path) -> None:
    proc = _tree(tmp_path / "proc", cpuinfo="", meminfo="MemTotal: 16777216 kB\n")
    cgroup = _tree(tmp_path / "cgroup", memory_max="max\n", cpu_max="max 100000\n")
    host = read_host(proc, cgroup)
    assert (host.cores, host.memory_gib) == (len(os.sched_getaffinity(0)), 16.0)


def test_this_machine_does_arithmetic_and_moves_bytes() -> None:
    seen = measure(EPOCH)
    assert 1e-4 < seen.fp32_tflops < 1e3  # a slow core's scalar loop and a rack bound it
    assert 0.01 < seen.copy_gb_s < 1e5
    assert seen.measured_at == EPOCH


def test_the_machine_is_measured_once_and_remembered(tmp_path: Path) -> None:
    counter, path = Counter(), tmp_path / "cpu.json"
    first = measured(path, HOST, EPOCH, counter)
    again = measured(path, HOST, EPOCH.replace(year=2027), counter)
    assert (again, counter.calls) == (first, 1)
    assert json.loads(path.read_text())["host"] == {"cpu": "Test CPU", "cores": 4, "memory_gib": 8.0}
    assert os.listdir(tmp_path) == ["cpu.json"]


def test_another_host_is_measured_anew(tmp_path: Path) -> None:
    counter, path = Counter(), tmp_path / "cpu.json"
    measured(path, HOST, EPOCH, counter)
    measured(path, Host(cpu="Test CPU", cores=8, memory_gib=8.0), EPOCH, counter)
    assert counter.calls == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"host": 1}', '{"host": {}, "numpy": "x", "fp32_tflops": "y"}'])
def test_a_damaged_record_is_measured_anew(tmp_path: Path, text: str) -> None:
    counter, path = Counter(), tmp_path / "cpu.json"
    path.write_text(text)
    measured(path, HOST, EPOCH, counter)
    measured(path, HOST, EPOCH, counter)
    assert counter.calls == 1


def test_the_cpu_is_one_accelerator_with_its_measured_peak() -> None:
    seen = Measurement(fp32_tflops=0.25, copy_gb_s=20.0, measured_at=EPOCH)
    cpu = accelerator_of(HOST, seen, tdp_w=65.0)
    assert (cpu.name, cpu.vendor, cpu.generation) == ("cpu", "cpu", "cpu")
    assert (cpu.peak(Precision.FP32), cpu.peak(Precision.FP8)) == (0.25, None)
    assert (cpu.memory_gib, cpu.memory_bandwidth_gb_s, cpu.tdp_w) == (8.0, 20.0, 65.0)
    assert "Test CPU" in cpu.source
    assert cpu.as_of == "2026-01-01"


def _context(tmp_path: Path, **settings: object) -> ProviderContext:
    def secret(reference: str) -> Secret:
        raise MissingCredentials(reference)

    return ProviderContext(owner="me", settings=settings, secret=secret, clock=FakeClock(), state_dir=tmp_path)


def test_the_factory_sells_this_machine_at_the_owners_price(tmp_path: Path) -> None:
    provider = create(_context(tmp_path, usd_per_hour=0.12, slots=3, region="basement", tier="hpc"))
    assert isinstance(provider, LocalProvider)
    offer = next(offer for offer in provider.offers() if offer.accelerator == "cpu")
    assert (offer.region, offer.tier, offer.billing) == ("basement", Tier.HPC, Billing.OWNED)
    assert (offer.usd_per_hour, offer.available, offer.gpus) == (0.12, 3, 1.0)
    assert offer.vcpus == len(os.sched_getaffinity(0))
    assert offer.host_memory_gib > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"usd_per_hour": 0}, "usd_per_hour is above 0"),
        ({"usd_per_gpu_hour": -1}, "usd_per_gpu_hour is above 0"),
        ({"tdp_w": 0.0}, "tdp_w is above 0"),
        ({"slots": 0}, "slots is at least 1"),
        ({"region": ""}, "region is not empty"),
        ({"slot": 1}, "did you mean 'slots'"),
        ({"tier": "cloudy"}, "did you mean 'cloud'"),
    ],
)
def test_a_bad_setting_of_the_owner_is_refused(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(_context(tmp_path, **settings))
