"""The ssh provider keeps the promises of a provider, with real SSH servers on loopback for hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.kit.shell.ssh import Hub
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.provider_contract import OWNER, Account, ProviderContract
from providers.ssh.provider import SshProvider
from tests.e2e.yard import Yard, YardHost

STUBBORN = "#!/bin/sh\nexit 1\n"  # in place of `ln`: a file system without hard links


class Unlucky(SshProvider):
    """Its first purchase is made, and the answer to it lost."""

    lost = False

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        lease = super().acquire(offer, nodes, token=token, boot=boot)
        if not self.lost:
            self.lost = True
            raise TransientError(self.name, "the answer was lost")
        return lease


class YardAccount(Account):
    """Several hosts, and control planes each with a state folder of its own. Connections are shared, for speed."""

    def __init__(self, yard: Yard, hub: Hub) -> None:
        self._yard, self._hub, self._clock = yard, hub, FakeClock()

    def provider(self, owner: str) -> Provider:
        return self._yard.provider(owner, self._hub, self._clock, quiet_s=0.0)

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def lose_next_answer(self) -> Provider:
        provider = self._yard.provider(OWNER, self._hub, self._clock)
        provider.__class__ = Unlucky
        return provider

    def deliver_partly(self) -> None:
        for host in self._yard.hosts[1:]:
            host.install("ln", STUBBORN)

    def mend(self) -> None:
        for host in self._yard.hosts:
            if host.locked or not (host.bin / "ln").is_symlink():
                host.install("ln", '#!/bin/sh\nexec /bin/ln "$@"\n')

    def mishaps(self) -> tuple[Callable[[], object], ...]:
        return (self.deliver_partly, lambda: self._yard.hosts[0].install("ln", STUBBORN), self._reboot)

    def held_by(self, token: str) -> int | None:
        return sum(_token(host) == token for host in self._yard.hosts)

    def really_held(self) -> int:
        return sum(host.locked for host in self._yard.hosts)

    def secrets(self) -> tuple[str, ...]:
        return (self._yard.hosts[0].identity.read_text().splitlines()[1],)

    def _reboot(self) -> None:
        self._yard.hosts[0].down()
        self._yard.hosts[0].up()


def _token(host: YardHost) -> str:
    lock = host.folder / "lock"
    return json.loads(lock.read_text())["lease"]["token"] if lock.exists() else ""


class TestSshProvider(ProviderContract):
    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Account]:
        with closing(Hub("ssh")) as hub, Yard(tmp_path / "yard", hosts=3, gpus=2) as yard:
            yield YardAccount(yard, hub)
