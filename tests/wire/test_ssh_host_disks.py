"""Hosts whose disks are full or cannot be written: told, passed over, and nothing left locked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import CapacityError
from orchestrator.kit.shell import ssh
from orchestrator.kit.shell.ssh import Hub
from orchestrator.testing.clock import FakeClock
from tests.e2e.yard import Yard, is_root
from tests.wire.test_ssh_hosts import ME, buy, gaps, locked


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(ssh, "CONNECT_S", 1.0)
    with closing(Hub("ssh")) as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with Yard(tmp_path / "yard") as made:
        yield made


def test_a_full_disk_is_told_and_another_host_is_taken(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    if not is_root():
        pytest.skip("only root can mount the small disk that this test fills")
    folder = yard.hosts[0].folder
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        (folder / "filler").write_bytes(b"x" * 4096)
        with pytest.raises(OSError, match="space"):
            (folder / "more").write_bytes(b"x" * 65536)
        assert "host-0: its disk is full" in gaps(yard.provider(ME, hub, clock))
        provider = yard.provider("careless", hub, clock, min_disk_gib=0.0)
        lease = buy(provider)
        assert lease.endpoints[0].port == yard.hosts[1].port
        assert locked(yard) == ["host-1"]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_host_whose_folder_cannot_be_written_takes_no_lease_and_another_does(
    yard: Yard, hub: Hub, clock: FakeClock
) -> None:
    if not is_root():
        pytest.skip("only root can mount the folder of this test read-only")
    provider, folder = yard.provider(ME, hub, clock), str(yard.hosts[0].folder)
    provider.release(buy(provider).id)  # it was fine before
    try:
        subprocess.run(["mount", "--bind", folder, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True, capture_output=True)
        lease = buy(provider)
        assert lease.endpoints[0].port == yard.hosts[1].port
        with pytest.raises(CapacityError, match=r"host-0: .*the disk is full or read-only \(.*Read-only"):
            buy(provider, 2, "another")
        assert locked(yard) == ["host-1"]
        assert [each.id for each in provider.leases()] == [lease.id]
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
