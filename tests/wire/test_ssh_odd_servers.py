"""Commands to servers that OpenSSH's is not: they close without a word, in the middle or at the end of a command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import asyncssh
import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.shell.command import MARK
from orchestrator.kit.shell.ssh import Address, Hub, SshShell

Channel: TypeAlias = "asyncssh.SSHServerChannel[bytes]"
Deed: TypeAlias = Callable[[Channel], bool]


class Server(asyncssh.SSHServer):
    """Lets anybody in; its sessions do what they are told for each command in turn."""

    def __init__(self, deeds: list[Deed]) -> None:
        self._deeds = deeds

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return Session(self._deeds)


class Session(asyncssh.SSHServerSession[bytes]):
    """One command."""

    def __init__(self, deeds: list[Deed]) -> None:
        self._deeds = deeds

    def connection_made(self, chan: Channel) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        return self._deeds.pop(0)(self._channel)


async def serve(key: str, deeds: list[Deed]) -> asyncssh.SSHAcceptor:
    """A server on loopback that has the host key `key`."""
    keys = [asyncssh.import_private_key(key)]
    return await asyncssh.create_server(
        lambda: Server(deeds), "127.0.0.1", 0, server_host_keys=keys, encoding=None, config=None
    )


@pytest.fixture
def deeds() -> list[Deed]:
    return []


@pytest.fixture
def shell(tmp_path: Path, deeds: list[Deed]) -> Iterator[SshShell]:
    keys = KeyRing(tmp_path / "keys").of("host")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(serve(keys.host_private, deeds), loop).result(10)
        port = server.get_port()
        address = Address(host="127.0.0.1", port=port, user="me", host_key=keys.host_public)
        with closing(Hub("edge")) as hub:
            yield SshShell(hub, address)
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def well(channel: Channel) -> bool:
    """The command runs and ends with 0."""
    loop = asyncio.get_running_loop()
    loop.call_soon(channel.write, MARK + b"well")
    loop.call_soon(channel.write_stderr, MARK)
    loop.call_soon(channel.exit, 0)
    return True


def silent(channel: Channel) -> bool:
    """It ends, and nobody says how."""
    asyncio.get_running_loop().call_soon(channel.close)
    return True


def cut(channel: Channel) -> bool:
    """It begins, and the connection is lost before we are told."""
    channel.get_connection().abort()
    return True


def refused(_channel: Channel) -> bool:
    """The server runs no commands."""
    return False


def test_a_command_that_ends_without_a_code_is_no_success(shell: SshShell, deeds: list[Deed]) -> None:
    deeds += [well, silent, well]
    assert shell.run(["a"]).text == "well"
    with pytest.raises(TransientError, match="the connection was lost while a command ran"):
        shell.run(["b"])
    assert shell.run(["c"]).text == "well"


def test_a_command_that_may_have_begun_is_not_begun_again(shell: SshShell, deeds: list[Deed]) -> None:
    deeds += [well, cut, well]
    assert shell.run(["a"]).text == "well"
    with pytest.raises(TransientError):
        shell.run(["b"])
    assert deeds == [well]


def test_a_server_that_runs_no_commands_says_so(shell: SshShell, deeds: list[Deed]) -> None:
    deeds += [refused] * 30
    with pytest.raises(TransientError, match="Session request failed"):
        shell.run(["a"])
