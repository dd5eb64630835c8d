"""The pages of `isoflop hosts` over fixed hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.hosts import HostKey, HostLock, HostReport, HostState
from orchestrator.interfaces.views import machine, plain
from orchestrator.interfaces.views.hosts_view import HostsReport, KeyReport
from orchestrator.testing.clock import EPOCH

Golden = Callable[[str, str], None]

WELL = HostReport(
    name="tokyo-1",
    site="tokyo",
    address="gpu@10.0.0.5",
    state=HostState.FREE,
    usd_per_hour=0.8,
    accelerator="L4",
    gpus=2,
    cpus=32,
    memory_gib=251.6,
    disk_free_gib=771.6,
    python="3.11.2",
    containers=("docker", "apptainer"),
    clock_ahead_s=0.0,
    rtt_ms=12.34,
    gbit_s=0.094,
    probed_at=EPOCH - timedelta(minutes=4),
    labels={"rack": "a 1"},
)
LOCK = HostLock(lease_id="ssh-1f", owner="lab-7", since=EPOCH - timedelta(hours=30))
HOSTS = (
    WELL,
    replace(WELL, name="tokyo-2", state=HostState.TAKEN, lock=LOCK, clock_ahead_s=3600.0),
    replace(WELL, name="tokyo-3", state=HostState.OURS, lock=replace(LOCK, owner="me"), gpus=0, accelerator="cpu"),
    replace(WELL, name="tokyo-4", state=HostState.UNFIT, detail="its disk is full: 0.20 GiB are free, 1 are needed"),
    HostReport(
        name="oslo-1",
        site="oslo",
        address="gpu@192.0.2.9:2222",
        state=HostState.UNTRUSTED,
        usd_per_hour=1.5,
        detail="its host key is not known yet: isoflop hosts trust oslo-1",
    ),
)
KEY = HostKey(
    name="oslo-1", address="gpu@192.0.2.9:2222", kind="ssh-ed25519", fingerprint="SHA256:new", key="ssh-ed25519 A"
)


def test_hosts_are_listed_with_what_is_wrong_and_who_holds_them(golden: Golden) -> None:
    golden("hosts-list", plain.render(HostsReport(HOSTS, EPOCH, "me").page()))


def test_a_probe_shows_more_of_each_host(golden: Golden) -> None:
    report = HostsReport(HOSTS[:2], EPOCH, "me", details=True)
    golden("hosts-probe", plain.render(report.page()))
    assert '"labels"' in machine.document(report.document())


def test_a_key_is_shown_with_what_to_do_about_it(golden: Golden) -> None:
    changed = replace(KEY, pinned="SHA256:old", pinned_by="isoflop hosts trust")
    pages = [KeyReport(KEY, pinned=False), KeyReport(changed, pinned=False), KeyReport(changed, pinned=True)]
    pages.append(KeyReport(replace(changed, pinned="SHA256:new"), pinned=False))
    golden("hosts-trust", "\n----\n".join(plain.render(page.page()) for page in pages))
