"""What hosts print, and what is made of it."""

from __future__ import annotations

import pytest

from orchestrator.testing.clock import EPOCH
from providers.ssh import fleet as fleets
from providers.ssh import scripts
from providers.ssh.desk import fingerprint
from providers.ssh.translate import Hardware, Member, hardware, offers

WELL = {
    "cpus": "32",
    "memory": "263855180 kB",
    "disk": "/dev/nvme0n1p2 960302768 102400000 809053344 12% /",
    "system": "Linux 6.1.0 x86_64",
    "python": "3.11.2",
    "containers": "docker\napptainer",
    "clock": "1000",
    "nvidia": "GPU-1, NVIDIA L4, 23034\nGPU-2, NVIDIA L4, 23034",
    "nvidia-code": "0",
    "nvidia-apps": "",
}
ROCM = """\
device,VRAM Total Memory (B),VRAM Total Used Memory (B),Card Series,Card Model
card0,206141652992,10850304,AMD Instinct MI300X,0x740f
card1,206141652992,10850304,AMD Instinct MI300X,0x740f
system,,,,
"""


def seen(**sections: str | None) -> Hardware:
    given = {name: text for name, text in {**WELL, **sections}.items() if text is not None}
    return hardware(given, asked_s=999.9, answered_s=1000.5, min_disk_gib=1.0)


def test_a_healthy_host_is_read_whole() -> None:
    found = seen()
    assert (found.accelerator, found.gpus, found.cpus, found.memory_gib) == ("L4", 2, 32, 251.63)
    assert (found.disk_free_gib, found.python, found.containers) == (771.57, "3.11.2", ("docker", "apptainer"))
    assert (found.clock_ahead_s, found.faults, found.notes, found.busy) == (0.0, (), (), 0)


@pytest.mark.parametrize(
    ("words", "memory", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "40960", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "81920", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "81559", "H100-SXM"),
        ("NVIDIA H100 PCIe", "81559", "H100-PCIe"),
        ("Tesla T4", "15360", "T4"),
    ],
)
def test_devices_have_their_exact_names(words: str, memory: str, name: str) -> None:
    assert seen(nvidia=f"GPU-1, {words}, {memory}").accelerator == name


def test_a_device_that_nobody_knows_keeps_its_word_and_is_told() -> None:
    found = seen(nvidia="GPU-1, NVIDIA Q9000, 512000")
    assert (found.accelerator, found.gpus) == ("NVIDIA Q9000", 1)
    assert found.notes == ("no facts are known of its GPU 'NVIDIA Q9000'",)


def test_of_gpus_that_are_not_alike_the_most_are_counted_and_the_rest_told() -> None:
    found = seen(nvidia="GPU-1, NVIDIA L4, 23034\nGPU-2, Tesla T4, 15360\nGPU-3, NVIDIA L4, 23034")
    assert (found.accelerator, found.gpus) == ("L4", 2)
    assert "beside 2 x L4 it has 1 x T4" in found.notes[0]


def test_radeon_cards_are_read_from_what_rocm_prints() -> None:
    found = seen(nvidia=None, rocm=ROCM)
    assert (found.accelerator, found.gpus) == ("MI300X", 2)
    assert "no list of cards" in seen(nvidia=None, rocm="WARNING: nonsense").faults[0]


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"python": ""}, "there is no Python 3.6"),
        ({"python": "3.5.2"}, "its Python is 3.5.2"),
        ({"python": "2.7.18\n3.4.1"}, "its Python is 3.4.1"),
        ({"disk": "/dev/sda 100 100 1000 99% /"}, "its disk is full"),
        ({"nvidia": "Failed to initialize NVML\nmore", "nvidia-code": "12"}, "nvidia-smi fails: Failed to initialize"),
        ({"nvidia": "<html>"}, "which is no GPU"),
    ],
)
def test_what_keeps_a_host_from_work_is_named(sections: dict[str, str], fault: str) -> None:
    assert fault in seen(**sections).faults[0]


def test_a_host_with_a_driver_and_no_gpu_is_a_host_without_gpus() -> None:
    found = seen(nvidia="No devices were found")
    assert (found.gpus, found.faults) == (0, ())


@pytest.mark.parametrize(
    ("clock", "ahead_s"), [("4600", 3600.3), ("-2600", -3599.7), ("1000", 0.0), ("", None), ("x", None)]
)
def test_the_clock_is_compared_with_the_middle_of_the_question(clock: str, ahead_s: float | None) -> None:
    found = seen(clock=clock)
    assert found.clock_ahead_s == ahead_s
    assert bool(found.notes) == (ahead_s is not None and abs(ahead_s) > 30)


def test_what_is_missing_or_nonsense_is_unknown_and_never_a_crash() -> None:
    found = hardware(dict.fromkeys(WELL, "\x1b[31m, ,%$ -1 nan"), asked_s=0, answered_s=0)
    assert (found.cpus, found.memory_gib, found.disk_free_gib) == (None, None, None)
    assert hardware({}, asked_s=0, answered_s=0).faults


def test_an_answer_that_is_cut_off_is_none() -> None:
    assert scripts.sections("noise\n@m folder\n/x\n@m end\n", "@m") == {"folder": "/x", "end": ""}
    assert scripts.sections("\n@m folder\n/x\n@m lo", "@m") is None
    assert scripts.sections("\n@m folder\n/x\n@other end\n", "@m") is None


def test_hosts_that_are_alike_are_one_offer_with_the_least_of_each() -> None:
    text = "defaults: {user: u, usd_per_hour: 1}\nhosts:\n"
    text += "".join(f"  h{number}: {{address: a, site: s{number % 2}}}\n" for number in range(4))
    fleet = fleets.parse(text, "f")
    found = seen()
    members = [
        Member(host, found._replace(cpus=8 + number), free=number != 0)
        for number, host in enumerate(fleet.hosts.values())
    ]
    left, right = offers(fleet, members, EPOCH)
    assert (left.region, left.instance_type, left.available, left.vcpus, left.gpus) == ("s0", "2x-L4", 1, 8.0, 2.0)
    assert (right.region, right.available) == ("s1", 2)
    assert offers(fleet, members[::-1], EPOCH) == [left, right]


def test_two_prices_at_one_site_are_two_offers_whoever_answers() -> None:
    prices = "  a: {address: x, usd_per_hour: 1}\n  b: {address: x, usd_per_hour: 2.5}\n"
    text = f"defaults: {{user: u, site: s}}\nhosts:\n{prices}"
    fleet = fleets.parse(text, "f")
    both = [Member(host, seen(), free=True) for host in fleet.hosts.values()]
    assert [(each.instance_type, each.usd_per_hour) for each in offers(fleet, both, EPOCH)] == [
        ("2x-L4-1usd", 1.0),
        ("2x-L4-2.5usd", 2.5),
    ]
    assert [each.instance_type for each in offers(fleet, both[:1], EPOCH)] == ["2x-L4-1usd"]


def test_a_fingerprint_of_nonsense_is_empty() -> None:
    assert fingerprint("") == fingerprint("ssh-ed25519 ***") == ""
