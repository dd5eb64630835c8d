"""Two control planes over the same hosts, at once and in any order: no host is had twice, nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import LeaseNotFound, ProviderError, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.kit.shell.command import Done, after_mark
from orchestrator.kit.shell.ssh import Address
from orchestrator.testing.clock import FakeClock
from providers.ssh import fleet as fleets
from providers.ssh.provider import SshProvider
from providers.ssh.settings import SshSettings

HOSTS, OWNERS = 3, ("left", "right")
FLEET = "defaults: {user: u, site: s, usd_per_hour: 1, host_key: ssh-ed25519 AAAA}\nhosts:\n" + "".join(
    f"  h{number}: {{address: h{number}}}\n" for number in range(HOSTS)
)


class Step(NamedTuple):
    what: str
    number: int
    nodes: int
    lost: tuple[str, int] | None  # "before" or "after" the n-th command of the step reached its host, it is lost


STEP = st.builds(
    Step,
    st.sampled_from(("buy", "buy", "buy", "release", "look")),
    st.integers(0, 1),
    st.integers(1, 2),
    st.none() | st.tuples(st.sampled_from(("before", "after")), st.integers(3, 8)),
)


class LocalHub:
    """The very lines that SSH would carry, run here: a host is a home folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self.lose: tuple[str, int] | None = None

    def run(self, address: Address, line: str, stdin: bytes, timeout_s: float) -> Done:
        with self._lock:
            fate = ""
            if self.lose is not None:
                when, left = self.lose
                self.lose = None if left <= 0 else (when, left - 1)
                fate = when if left <= 0 else ""
        if fate == "before":
            raise TransientError("ssh", "the connection was lost")
        env = {"HOME": str(self._folder / address.host), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["sh", "-c", line], input=stdin, capture_output=True, timeout=timeout_s, env=env, check=False
        )
        if fate == "after":
            raise TransientError("ssh", "the connection was lost while a command ran")
        return Done(done.returncode, after_mark(done.stdout) or b"", after_mark(done.stderr) or b"")


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock()
        self.hubs = {owner: LocalHub(folder) for owner in OWNERS}
        for number in range(HOSTS):
            (folder / f"h{number}").mkdir()

    def provider(self, owner: str) -> SshProvider:
        state = self.folder / owner
        state.mkdir(exist_ok=True)
        return SshProvider(
            owner=owner,
            settings=SshSettings(fleet="f", quiet_s=0.0, min_disk_gib=0.0, probe_age_s=1e9),
            fleet=fleets.parse(FLEET, "f"),
            clock=self.clock,
            state_dir=state,
            hub=self.hubs[owner],  # type: ignore[arg-type]  # what of it a provider uses for leases
        )

    def play(self, owner: str, offer: Offer, steps: list[Step]) -> None:
        """As a control plane that is killed and starts again after every step."""
        asked: dict[str, int] = {}
        for step in steps:
            provider, token = self.provider(owner), f"token-{step.number}"
            self.hubs[owner].lose = step.lost
            with suppress(ProviderError):
                if step.what == "buy":
                    nodes = asked.setdefault(token, step.nodes)
                    lease = provider.acquire(offer, nodes, token=token, boot=Boot())
                    assert (lease.owner, lease.token, lease.nodes) == (owner, token, nodes)
                    assert len({point.address for point in lease.endpoints}) == nodes
                elif step.what == "release":
                    for lease in provider.leases():
                        if lease.token == token:
                            provider.release(lease.id)
                            asked.pop(token, None)
                else:
                    whole = [lease for lease in provider.leases() if lease.state is LeaseState.READY]
                    addresses = [point.address for lease in whole for point in lease.endpoints]
                    assert len(set(addresses)) == len(addresses)
            self.hubs[owner].lose = None

    def locks(self) -> list[Path]:
        return sorted(self.folder.glob("h*/.isoflop-host/lock"))


@contextmanager
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as folder:
        yield Scene(Path(folder))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # a race does not shrink
)
@given(left=st.lists(STEP, min_size=2, max_size=5), right=st.lists(STEP, min_size=2, max_size=5))
def test_two_control_planes_racing_for_hosts_never_share_one_and_leave_no_lock(
    left: list[Step], right: list[Step]
) -> None:
    with scene() as here:
        (offer,) = here.provider("left").offers()
        failures: list[BaseException] = []

        def play(owner: str, steps: list[Step]) -> None:
            try:
                here.play(owner, offer, steps)
            except BaseException as error:  # carried to the test's thread
                failures.append(error)

        players = [threading.Thread(target=play, args=pair) for pair in zip(OWNERS, (left, right), strict=True)]
        for player in players:
            player.start()
        for player in players:
            player.join()
        assert not failures, failures
        had: dict[str, str] = {}
        for owner in OWNERS:
            for lease in here.provider(owner).leases():
                for point in lease.endpoints:
                    assert point.address not in had, f"{point.address} is had by {had[point.address]} and {owner}"
                    had[point.address] = owner
        for owner in OWNERS:
            provider = here.provider(owner)
            for lease in provider.leases():
                with suppress(LeaseNotFound):
                    provider.release(lease.id)
            assert not provider.leases()
        assert not here.locks()
        assert not list(here.folder.glob("h*/.isoflop-host/.draft*"))
