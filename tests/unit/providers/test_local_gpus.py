from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalog import accelerators
from orchestrator.domain.errors import CapacityError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.testing.clock import FakeClock
from providers.local.machine import Host
from providers.local.nvml import Device
from providers.local.provider import LocalProvider
from providers.local.settings import LocalSettings
from providers.local.translate import canonical

KNOWN = {device.name for device in accelerators.load()}


@pytest.mark.parametrize(
    ("driver", "ours"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe-80GB"),
        ("Tesla V100-SXM2-16GB", "V100-16GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
        ("NVIDIA GeForce RTX 3090", "RTX-3090"),
        ("NVIDIA GeForce RTX 2080 Ti", "RTX-2080-Ti"),
        ("Quadro RTX 8000", "Quadro-RTX-8000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
    ],
)
def test_a_driver_name_becomes_the_name_of_the_accelerator_table(driver: str, ours: str) -> None:
    assert canonical(driver) == ours
    assert ours in KNOWN


def test_a_device_we_do_not_know_keeps_a_name_that_no_known_device_has() -> None:
    assert canonical("NVIDIA Q9000 Turbo") not in KNOWN


class Machine:
    """Four L4, the first in use by somebody else, and one T4."""

    def __init__(self, folder: Path) -> None:
        l4 = [Device(uuid=f"L4-{n}", name="NVIDIA L4", memory_gib=22.5, busy=n == 0) for n in range(4)]
        t4 = Device(uuid="T4-0", name="Tesla T4", memory_gib=15.0, busy=False)
        self.provider = LocalProvider(
            owner="owner",
            settings=LocalSettings(usd_per_gpu_hour=0.2),
            clock=FakeClock(),
            state_dir=folder,
            host=Host(cpu="test", cores=10, memory_gib=100.0),
            devices=lambda: (*l4, t4),
        )

    def offers(self) -> dict[str, Offer]:
        return {offer.instance_type: offer for offer in self.provider.offers()}


def test_gpus_are_sold_in_powers_of_two_with_their_share_of_the_host(tmp_path: Path) -> None:
    offers = Machine(tmp_path).offers()
    assert set(offers) == {
        "this-machine",
        "this-machine-1x-L4",
        "this-machine-2x-L4",
        "this-machine-4x-L4",
        "this-machine-1x-T4",
    }
    pair = offers["this-machine-2x-L4"]
    assert (pair.accelerator, pair.gpus, pair.usd_per_hour, pair.vcpus, pair.host_memory_gib) == ("L4", 2, 0.4, 4, 40)


def test_a_busy_gpu_leaves_the_others_on_sale(tmp_path: Path) -> None:
    offers = Machine(tmp_path).offers()
    stock = {name: offer.available for name, offer in offers.items()}
    assert stock == {
        "this-machine": 1,
        "this-machine-1x-L4": 3,
        "this-machine-2x-L4": 1,
        "this-machine-4x-L4": 0,
        "this-machine-1x-T4": 1,
    }


def test_leases_name_their_gpus_and_never_share_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    pair = machine.provider.acquire(machine.offers()["this-machine-2x-L4"], 1, token="a", boot=Boot())
    single = machine.provider.acquire(machine.offers()["this-machine-1x-L4"], 1, token="b", boot=Boot())
    visible = [dict(lease.endpoints[0].env)["CUDA_VISIBLE_DEVICES"] for lease in (pair, single)]
    assert visible == ["L4-1,L4-2", "L4-3"]
    assert machine.offers()["this-machine-1x-L4"].available == 0
    with pytest.raises(CapacityError):
        machine.provider.acquire(machine.offers()["this-machine-1x-L4"], 1, token="c", boot=Boot())
    machine.provider.release(pair.id)
    assert machine.offers()["this-machine-2x-L4"].available == 1


def test_a_lease_of_the_cpu_hides_the_gpus(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    lease = machine.provider.acquire(machine.offers()["this-machine"], 1, token="a", boot=Boot())
    assert lease.endpoints[0].env == (("CUDA_VISIBLE_DEVICES", ""),)
    assert machine.offers()["this-machine-1x-L4"].available == 3
