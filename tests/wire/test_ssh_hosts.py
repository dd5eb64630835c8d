"""The ssh provider over real SSH servers: hosts that die, come back, lie, fill up, and locks that two want."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import AuthError, CapacityError, LeaseNotFound, TransientError, UserError
from orchestrator.domain.hosts import HostState
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.kit.shell import ssh
from orchestrator.kit.shell.ssh import Hub
from orchestrator.testing.clock import FakeClock
from providers.ssh.provider import SshProvider
from tests.e2e.yard import Yard

ME, OTHER = "me", "other"
NASTY = """it's "$HOME" `x`; {x: y} #%\\ é😀"""


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


def buy(provider: SshProvider, nodes: int = 1, token: str = "t") -> Lease:  # noqa: S107 - no password
    (offer,) = [each for each in provider.offers() if each.available]
    return provider.acquire(offer, nodes, token=token, boot=Boot())


def locked(yard: Yard) -> list[str]:
    return [host.name for host in yard.hosts if host.locked]


def gaps(provider: SshProvider) -> str:
    return "\n".join(provider.survey().gaps)


def test_a_lease_is_listed_while_its_host_is_silent_and_given_up_after_a_while(
    yard: Yard, hub: Hub, clock: FakeClock
) -> None:
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider)
    yard.hosts[0].down()
    (seen,) = provider.leases()
    assert (seen.id, seen.state, seen.endpoints) == (lease.id, LeaseState.READY, lease.endpoints)
    (again,) = yard.provider(ME, hub, clock).leases()  # another process knows it, too
    assert again.id == lease.id
    with pytest.raises(TransientError, match="host-0"):
        provider.release(lease.id)
    clock.advance(301)
    assert not provider.leases()
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)
    yard.hosts[0].up()  # the machine was never off, and still has our lock and, maybe, our job
    clock.advance(30)
    (back,) = provider.leases()
    assert (back.id, back.token) == (lease.id, lease.token)
    provider.release(lease.id)
    assert not provider.leases()
    assert not locked(yard)


def test_where_nobody_answers_nothing_is_said_and_nothing_given_up(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider)
    for host in yard.hosts:
        host.down()
    for _ in range(2):
        with pytest.raises(TransientError, match="no host of the fleet answers"):
            provider.leases()
        clock.advance(1000)
    for host in yard.hosts[1:]:
        host.up()
    assert [each.id for each in provider.leases()] == [lease.id]  # it was us who were cut off, for all we know
    clock.advance(301)
    assert not provider.leases()


def test_a_gang_that_lost_a_node_is_reclaimed_and_what_is_left_given_back(
    yard: Yard, hub: Hub, clock: FakeClock
) -> None:
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider, 2)
    assert len({point.port for point in lease.endpoints}) == 2
    yard.hosts[1].down()
    assert provider.leases()[0].state is LeaseState.READY
    clock.advance(301)
    (seen,) = provider.leases()
    assert (seen.id, seen.state) == (lease.id, LeaseState.RECLAIMING)
    provider.release(lease.id)
    assert not provider.leases()
    assert locked(yard) == ["host-1"]


def test_a_release_ends_whatever_runs_under_the_lease_and_removes_its_folder(
    yard: Yard, hub: Hub, clock: FakeClock
) -> None:
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider)
    (point,) = lease.endpoints
    (Path(point.path) / "data").write_text("x")
    job = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
        env={**os.environ, **dict(point.env)},
        start_new_session=True,
    )
    bystander = subprocess.Popen(["sleep", "60"])
    time.sleep(0.2)
    provider.release(lease.id)
    assert job.wait(timeout=5) == -9
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert not Path(point.path).exists()
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)


def test_two_control_planes_never_have_one_host(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    ours, theirs = yard.provider(ME, hub, clock), yard.provider(OTHER, hub, clock)
    (offer,) = ours.offers()
    assert offer.available == 3
    mine = ours.acquire(offer, 2, token="t", boot=Boot())
    with pytest.raises(CapacityError, match="1 of 2"):
        theirs.acquire(offer, 2, token="t", boot=Boot())
    assert not theirs.leases()
    rest = theirs.acquire(offer, 1, token="t", boot=Boot())
    assert not {each.port for each in mine.endpoints} & {each.port for each in rest.endpoints}
    (report,) = ours.hosts(("host-2",))
    assert report.state is HostState.TAKEN
    assert report.lock is not None
    assert (report.lock.owner, report.lock.lease_id) == (OTHER, rest.id)


def test_a_connection_lost_while_a_host_is_locked_leaves_one_lease(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    host = yard.hosts[0]
    session = 'cut -d" " -f4 "/proc/$PPID/stat"'
    (host.bin / "cut").symlink_to("/usr/bin/cut")
    host.install("ln", f'#!/bin/sh\n/bin/ln "$@"\nrm "{host.bin}/ln"\nkill -9 "$({session})"\n')
    provider = yard.provider(ME, hub, clock)
    try:
        lease = buy(provider)
    except TransientError:
        lease = buy(provider)
    assert [each.id for each in provider.leases()] == [lease.id]
    assert len(locked(yard)) == 1


def test_a_purchase_cut_off_between_two_hosts_is_taken_up_again(
    yard: Yard, hub: Hub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = yard.provider(ME, hub, clock)
    take = provider._client.take

    class Killed(Exception):
        pass

    def once(name: str, lease_id: str, record: str) -> object:
        if name == "host-1":
            raise Killed
        return take(name, lease_id, record)

    monkeypatch.setattr(provider._client, "take", once)
    with pytest.raises(Killed):
        buy(provider, 2)
    assert locked(yard) == ["host-0"]
    fresh = yard.provider(ME, hub, clock)
    (half,) = fresh.leases()
    assert half.state is LeaseState.BOOTING
    whole = buy(fresh, 2)
    assert (whole.id, len(whole.endpoints)) == (half.id, 2)
    assert locked(yard) == ["host-0", "host-1"]


def test_a_half_taken_gang_can_be_given_back_without_being_finished(
    yard: Yard, hub: Hub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_a_purchase_cut_off_between_two_hosts_is_taken_up_again(yard, hub, clock, monkeypatch)
    provider = yard.provider(ME, hub, clock)
    (lease,) = provider.leases()
    (yard.hosts[1].folder / "lock").unlink()
    assert provider.leases()[0].state is LeaseState.RECLAIMING
    provider.release(lease.id)
    assert not provider.leases()
    assert not locked(yard)


def test_a_host_that_accepts_and_hangs_is_a_gap(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    yard.hosts[0].down()
    with socket.create_server(("127.0.0.1", yard.hosts[0].port)):
        provider = yard.provider(ME, hub, clock)
        (gap,) = provider.survey().gaps
        assert gap.startswith("host-0: ")
        assert "no answer" in gap
        assert provider.offers()[0].available == 2


def test_a_changed_host_key_is_an_error_of_that_host_and_nothing_is_sent_there(
    yard: Yard, hub: Hub, clock: FakeClock
) -> None:
    yard.fields["host-0"]["host_key"] = yard.hosts[1].keys.host_public
    provider = yard.provider(ME, hub, clock)
    assert "host-0: " in gaps(provider)
    assert "another host key" in gaps(provider)
    assert provider.offers()[0].available == 2
    assert {host.name: host.state for host in provider.hosts()}["host-0"] is HostState.SILENT
    with pytest.raises(UserError, match="fleet file says"):
        provider.trust(provider.host_key("host-0"))


def test_all_hosts_refusing_our_key_is_an_auth_error(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider)
    for host in yard.hosts:
        yard.fields[host.name]["host_key"] = yard.hosts[0].keys.login_public
    refused = yard.provider(ME, hub, clock)
    with pytest.raises(AuthError, match="no host of the fleet lets us in"):
        refused.leases()
    assert [each.id for each in provider.leases()] == [lease.id]


def test_a_first_contact_is_made_by_hand_and_pinned_to_the_address(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    for host in yard.hosts:
        yard.fields[host.name]["host_key"] = None
    provider = yard.provider(ME, hub, clock)
    with pytest.raises(AuthError, match="isoflop hosts trust host-0"):
        provider.offers()
    assert provider.hosts()[0].state is HostState.UNTRUSTED
    key = provider.host_key("host-0")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", "-"], input=yard.hosts[0].keys.host_public, capture_output=True, text=True, check=True
    ).stdout
    assert key.fingerprint in shown.split()
    assert (key.pinned, key.kind) == ("", "ssh-ed25519")
    provider.trust(key)
    clock.advance(30)
    assert provider.offers()[0].available == 1
    assert provider.host_key("host-0").pinned == key.fingerprint
    yard.fields["host-0"]["address"] = "localhost"  # the name may lead to another machine
    moved = yard.provider(ME, hub, clock)
    with pytest.raises(AuthError, match="trust host-0"):
        moved.offers()


def test_hosts_behind_a_gateway_are_reached_through_it(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    yard.fields["host-0"] |= {"gateway": "true"}
    yard.fields["host-1"] |= {"jump": "host-0"}
    provider = yard.provider(ME, hub, clock)
    assert provider.offers()[0].available == 2
    lease = buy(provider)
    (point,) = lease.endpoints
    assert point.jump is not None
    assert point.jump.port == yard.hosts[0].port
    assert provider.hosts(("host-0",))[0].state is HostState.GATEWAY


def test_what_is_wrong_with_hosts_is_told_and_they_are_not_on_sale(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    first, second, third = yard.hosts
    (first.bin / "python3").unlink()
    second.install("nvidia-smi", "#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    third.install("date", "#!/bin/sh\necho $(($(/bin/date +%s) + 3600))\n")
    provider = yard.provider(ME, hub, clock)
    survey = provider.survey()
    told = "\n".join(survey.gaps)
    assert "host-0: there is no Python 3.6 or later on it" in told
    assert "host-1: nvidia-smi fails: NVIDIA-SMI has failed" in told
    assert "host-2: its clock is 3600 s ahead of ours" in told or "host-2: its clock is 3601 s ahead of ours" in told
    assert [offer.available for offer in survey.book] == [1]
    states = [host.state for host in provider.hosts()]
    assert states == [HostState.UNFIT, HostState.UNFIT, HostState.FREE]
    assert buy(provider).endpoints[0].port == third.port


def test_a_host_whose_gpus_work_for_somebody_else_is_not_on_sale(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    (yard.hosts[0].home / "apps").write_text("GPU-host-0-0\nGPU-host-0-0\n")
    provider = yard.provider(ME, hub, clock)
    assert "host-0: its GPUs run 2 programs of somebody without a lease" in gaps(provider)
    assert provider.offers()[0].available == 2
    assert provider.hosts()[0].state is HostState.BUSY


def test_noisy_start_up_files_change_nothing(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    for name in (".bashrc", ".profile", ".kshrc", ".zshenv"):
        (yard.hosts[0].home / name).write_text('echo "Welcome! {lock: yes}"; echo noise >&2\n')
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider)
    assert lease.endpoints[0].port == yard.hosts[0].port
    provider.release(lease.id)
    assert not locked(yard)


def test_quotes_blanks_and_line_breaks_of_users_stay_what_they_are(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    for host in yard.hosts:
        yard.sites[host.name] = NASTY.replace("/", "")
        yard.fields[host.name] |= {"folder": f"a {NASTY} b", "labels": {NASTY: NASTY}}
    token = f"{NASTY}\n@end\n'\n"
    provider = yard.provider(f"owner {NASTY}".replace("/", ""), hub, clock)
    lease = buy(provider, 2, token)
    (seen,) = provider.leases()
    assert (seen.token, seen.offer.region, seen.id) == (token, NASTY, lease.id)
    assert (yard.hosts[0].home / f"a {NASTY} b" / "lock").exists()
    assert Path(seen.endpoints[0].path).is_dir()
    assert provider.hosts()[0].labels == {NASTY: NASTY}
    provider.release(lease.id)
    assert not provider.leases()
    assert sorted(path.name for path in yard.hosts[0].home.iterdir()) == [f"a {NASTY} b", "apps", "gpus"]


def test_a_lock_whose_owner_never_comes_back_is_broken_by_hand(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    theirs = yard.provider(OTHER, hub, clock)
    lease = buy(theirs)
    ours = yard.provider(ME, hub, clock)
    lock = ours.unlock("host-0")
    assert lock is not None
    assert (lock.lease_id, lock.owner) == (lease.id, OTHER)
    assert ours.unlock("host-0") is None
    assert not theirs.leases()
    (yard.hosts[1].folder).mkdir(exist_ok=True)
    (yard.hosts[1].folder / "lock").write_text("\0 what is this")
    assert "host-1: its lock cannot be read" in gaps(ours)
    assert ours.offers()[0].available == 2
    assert ours.hosts()[1].state is HostState.TAKEN
    ours.unlock("host-1")
    assert ours.offers()[0].available == 3


def test_a_host_that_died_for_good_is_forgotten_with_its_leases(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    provider = yard.provider(ME, hub, clock)
    lease = buy(provider)
    with pytest.raises(UserError, match="--force"):
        provider.forget("host-0")
    with pytest.raises(UserError, match="answers"):
        provider.forget("host-0", force=True)
    yard.hosts[0].down()
    assert provider.forget("host-0", force=True) == [lease.id]
    assert not provider.leases()
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)
    with pytest.raises(UserError, match="did you mean 'host-0'"):
        provider.forget("hots-0")


def test_a_host_taken_out_of_the_fleet_file_keeps_its_lease_until_it_is_given_up(
    yard: Yard, hub: Hub, clock: FakeClock
) -> None:
    lease = buy(yard.provider(ME, hub, clock))
    gone = yard.hosts.pop(0)
    provider = yard.provider(ME, hub, clock)
    assert [each.id for each in provider.leases()] == [lease.id]
    assert "no longer in the fleet file" in gaps(provider)
    clock.advance(301)
    assert not provider.leases()
    yard.hosts.insert(0, gone)
