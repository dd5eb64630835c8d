"""A real SSH server that comes up as a bought machine would: with the keys of its start-up text."""

from __future__ import annotations

import getpass
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

from orchestrator.domain.lease import Endpoint
from orchestrator.simulation.clouds import bootup

SSHD, SSH = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"), shutil.which("ssh")
CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {host_key}
AuthorizedKeysFile {logins}
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel ERROR
"""


def needed() -> None:
    """Skip the test where there is no OpenSSH; fail it in CI, which installs it."""
    if SSHD is None or SSH is None:
        reason = "OpenSSH is not installed: apt-get install openssh-server openssh-client"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Host:
    """sshd on a loopback port, with the host key and the logins that `user_data` gives a machine; use it in a `with`.

    Whoever runs the tests is the user that logs in: a server that is not root's knows no other. `extra` are lines of
    its configuration.
    """

    def __init__(self, folder: Path, user_data: str, port: int, address: str = "127.0.0.1", extra: str = "") -> None:
        folder.mkdir(parents=True)
        keys = bootup.host_keys(user_data)
        assert keys is not None, "the start-up text brings no host key"
        private, logins = folder / "host_key", folder / "logins"
        private.write_text(keys[0])
        private.chmod(0o600)
        logins.write_text("".join(f"{key}\n" for key in bootup.logins(user_data)))
        self._config, self._at = folder / "sshd_config", (address, port)
        text = CONFIG.format(address=address, port=port, host_key=private, logins=logins, folder=folder)
        self._config.write_text(text + extra)

    @property
    def pid(self) -> int:
        """The process that listens."""
        return self._process.pid

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        assert SSHD is not None
        said = self._config.with_name("sshd.log")
        with said.open("wb") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self._config)], stderr=log, start_new_session=True
            )
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(self._at) == 0:
                    return self
            assert self._process.poll() is None, said.read_text()
            time.sleep(0.01)
        raise AssertionError("sshd does not listen")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):  # sessions that are open live on: `sessions` finds them
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)


def sessions(pid: int) -> list[int]:
    """The processes of a server's open connections, which have sessions of their own; none of what they have run."""
    found = [pid]
    for about in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        with suppress(OSError):
            name, _, rest = about.read_text(errors="replace").partition("(")[2].rpartition(")")
            if name.startswith("sshd") and int(rest.split()[1]) in found:
                found.append(int(about.parent.name))
    return found[1:]


def run(endpoint: Endpoint, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`command` on the node, logged in with the lease's key, and only if the node proves itself with its host key."""
    known = folder / "known_hosts"
    known.write_text(f"[{endpoint.address}]:{endpoint.port} {endpoint.host_key}\n")
    options = {
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "10",
    }
    assert SSH is not None
    flags = [text for name, value in options.items() for text in ("-o", f"{name}={value}")]
    target = f"{getpass.getuser()}@{endpoint.address}"
    return subprocess.run(
        [SSH, "-F", "none", *flags, "-i", endpoint.identity, "-p", str(endpoint.port), target, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
