"""Machines of simulated clouds that are really there: an SSH server in namespaces of its own, made from the user data.

Each has an own process table, an own `/var/lib`, the user of the start-up text with a noisy start-up file, and the
address that the market gave it. Ending the process that we started is a power-off.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from orchestrator.kit.machine import FOLDER, USER
from orchestrator.simulation.clouds import bootup
from orchestrator.simulation.clouds.machines import Machine, Phase
from orchestrator.simulation.clouds.market import Market
from tests.e2e import interpreter, sshd

UID = 7411
CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {home}/logins
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel ERROR
SetEnv PATH={path}
"""
SEARCH = f"{interpreter.FOLDER}:/usr/local/bin:/usr/bin:/bin"
BOOT = """\
set -e
mount --bind {folder}/passwd /etc/passwd
mount -t tmpfs tmpfs /var/lib
{python}
mkdir -p {lease} {home} /run/sshd
cp {folder}/logins {home}/logins
printf 'echo welcome to this machine; echo it is patched on Sundays >&2\\n' | tee {home}/.bashrc > {home}/.profile
chown -R {uid}:{uid} {lease} {home}
exec {sshd} -D -e -f {folder}/sshd_config
"""


def needed() -> None:
    """Skip the test, loudly, where machines cannot be made; fail it in CI, which can."""
    sshd.needed()
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        reason = "machines are made of namespaces, which takes root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


class Park:
    """The machines of one market that are switched on; use it in a `with`, and call `follow` again and again."""

    def __init__(self, folder: Path, market: Market) -> None:
        self._folder, self._market = folder, market
        self._on: dict[int, subprocess.Popen[bytes]] = {}
        self._was_on: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def follow(self) -> None:
        """Switch on what was sold and has booted, and off what is gone."""
        now = self._market.clock.now()
        serial = 1
        while (machine := self._market.machine(serial)) is not None:
            phase = machine.phase(now)
            if phase is Phase.RUNNING and serial not in self._was_on:
                self._was_on.add(serial)
                self._on[serial] = self._boot(machine)
            elif phase is Phase.GONE and serial in self._on:
                self.power_off(serial)
            serial += 1

    def power_off(self, serial: int) -> None:
        """Everything on the machine ends at once."""
        process = self._on.pop(serial)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)

    def _boot(self, machine: Machine) -> subprocess.Popen[bytes]:
        folder, home = self._folder / f"machine-{machine.serial}", f"{FOLDER}/home"
        folder.mkdir(parents=True)
        told = machine.user_data or str(machine.extra.get("user_data", ""))
        keys = bootup.host_keys(told)
        assert keys is not None, "the start-up text brings no host key"
        (folder / "host_key").write_text(keys[0])
        (folder / "host_key").chmod(0o600)
        (folder / "logins").write_text("".join(f"{key}\n" for key in bootup.logins(told)))
        passwd = Path("/etc/passwd").read_text()
        (folder / "passwd").write_text(f"{passwd}{USER}:*:{UID}:{UID}::{home}:{shutil.which('bash')}\n")
        config = CONFIG.format(port=machine.port, address=machine.address, folder=folder, home=home, path=SEARCH)
        (folder / "sshd_config").write_text(config)
        script = BOOT.format(
            folder=folder, lease=f"{FOLDER}/lease", home=home, uid=UID, sshd=sshd.SSHD, python=interpreter.lay()
        )
        spaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*spaces, "sh", "-c", script], stderr=log, stdout=log, start_new_session=True)
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex((machine.address, machine.port)) == 0:
                    return process
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        raise AssertionError(f"the machine does not come up: {(folder / 'log').read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for serial in tuple(self._on):
            self.power_off(serial)
