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
from orchestrator.testing.accounts import Refusal, Spoilt
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.provider_contract import OWNER, Account, ProviderContract
from providers.ssh.provider import SshProvider
from tests.e2e.yard import Yard, YardHost

STUBBORN = "#!/bin/sh\nexit 1\n"  # in place of `ln`: a file system without hard links
PAGE = "#!/bin/sh\necho '<!doctype html><html><body>Sign in</body></html>'\n"
CUT = "#!/bin/sh\nkill -9 $PPID\n"  # ends the shell that runs the script
BROKEN = "#!/bin/sh\nexit 9\n"
# Once the lock is gone, ends the session: the shell's parent is the server's process for it.
LOST = """\
#!/bin/sh
/bin/rm "$@"
if [ ! -e {lock} ] && [ -e {once} ]; then
  /bin/rm {once}
  kill -9 "$(/usr/bin/cut -d' ' -f4 "/proc/$PPID/stat")"
fi
"""


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

    def sell_out(self, offer: Offer) -> None:
        for host in self._yard.hosts:
            host.install("ln", STUBBORN)

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        if how is Refusal.CLOCK_SKEW:
            pytest.skip("a host's clock is told and refuses nothing")
        for host in self._yard.hosts if times < 0 else self._yard.hosts[:1]:
            if how is Refusal.WRONG_KEY:
                self._yard.fields[host.name]["host_key"] = host.keys.login_public
            elif how is Refusal.EXPIRED:
                self._yard.fields[host.name]["identity"] = str(self._yard.stranger)
            else:
                host.down()

    def lose_next_release(self) -> None:
        for host in self._yard.hosts:
            once = host.home / "once"
            once.touch()
            host.install("rm", LOST.format(lock=host.folder / "lock", once=once))

    def spoil(self, how: Spoilt, *, listing: bool) -> None:
        spoilt = {Spoilt.WEB_PAGE: PAGE, Spoilt.CUT_OFF: CUT, Spoilt.FAILED: BROKEN, Spoilt.ERROR_IN_SUCCESS: PAGE}
        if how not in spoilt:
            pytest.skip("a host has no pages")
        for host in self._yard.hosts:
            for program in ("head", "date") if listing else ("nvidia-smi", "date"):
                host.install(program, spoilt[how])
        self._clock.advance(0 if listing else 3600)  # hardware is looked at again

    def mend(self) -> None:
        for host in self._yard.hosts:
            self._yard.fields[host.name].clear()
            host.mend()
            if not host.is_up:
                host.up()

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
