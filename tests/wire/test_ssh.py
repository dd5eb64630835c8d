"""Commands over a real SSH server: pinned keys, kept connections, jump hosts, and servers on a bad day."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from orchestrator.domain.errors import AuthError, TransientError
from orchestrator.domain.lease import Boot
from orchestrator.kit.keys import KeyRing, LeaseKeys
from orchestrator.kit.machine import Identity, user_data
from orchestrator.kit.shell import ssh
from orchestrator.kit.shell.ssh import Address, Hub, SshShell
from tests.e2e import sshd

BEGUN_S = 0.1  # by then a command runs


@pytest.fixture
def keys(tmp_path: Path) -> LeaseKeys:
    return KeyRing(tmp_path / "keys").of("host-1")


@pytest.fixture
def address(tmp_path: Path, keys: LeaseKeys) -> Iterator[Address]:
    sshd.needed()
    text = user_data(Boot(), Identity((keys.login_public,), keys.host_public, keys.host_private))
    port = sshd.free_port()
    with sshd.Host(tmp_path / "host", text, port):
        yield Address(
            host="127.0.0.1",
            port=port,
            user=getpass.getuser(),
            host_key=keys.host_public,
            identity=str(keys.login_file),
        )


@pytest.fixture
def hub() -> Iterator[Hub]:
    with closing(Hub("edge")) as made:
        yield made


def test_a_command_has_its_arguments_input_output_and_code(hub: Hub, address: Address) -> None:
    shell = SshShell(hub, address)
    words = ["a b", "'", '"$HOME"', "x\ny", "ä😀", "!"]
    done = shell.run(["printf", "%s\\0", *words])
    assert done.text.split("\0")[:-1] == words
    done = shell.run(["sh", "-c", "cat; echo $V >&2; pwd; exit 7"], stdin=b"in\n", env={"V": "it's"}, folder="/")
    assert (done.code, done.stdout, done.trouble) == (7, b"in\n/\n", "it's")
    assert shell.run(["sh", "-c", "kill -9 $$"]).code == -9


def test_large_input_and_output_pass_whole(hub: Hub, address: Address) -> None:
    data = bytes(range(256)) * 20000
    assert SshShell(hub, address).run(["cat"], stdin=data).stdout == data


def test_many_commands_at_once_share_one_connection(hub: Hub, address: Address) -> None:
    shell = SshShell(hub, address)
    with ThreadPoolExecutor(8) as pool:
        parents = {done.text for done in pool.map(lambda _: shell.run(["sh", "-c", "echo $SSH_CONNECTION"]), range(24))}
    assert len(parents) == 1


def test_a_machine_that_shows_another_key_is_not_talked_to(hub: Hub, address: Address, tmp_path: Path) -> None:
    other = KeyRing(tmp_path / "others").of("x")
    with pytest.raises(AuthError, match="another host key"):
        SshShell(hub, replace(address, host_key=other.host_public)).run(["true"])
    with pytest.raises(AuthError, match="refuses our key"):
        SshShell(hub, replace(address, identity=str(other.login_file))).run(["true"])


def test_the_key_of_a_first_contact_can_be_looked_at(hub: Hub, address: Address, keys: LeaseKeys) -> None:
    assert hub.host_key(address).split()[:2] == keys.host_public.split()[:2]


def test_a_host_behind_another_is_reached_through_it(hub: Hub, address: Address) -> None:
    behind = replace(address, jump=address)
    assert SshShell(hub, behind).run(["echo", "there"]).text == "there\n"


def test_a_command_that_takes_too_long_is_transient_and_the_connection_stays_good(hub: Hub, address: Address) -> None:
    shell = SshShell(hub, address)
    with pytest.raises(TransientError, match=r"no end within 0\.3 s"):
        shell.run(["sleep", "30"], timeout_s=0.3)
    assert shell.run(["echo", "still"]).text == "still\n"


def test_a_command_that_reads_gets_an_end_where_there_is_nothing_to_read(hub: Hub, address: Address) -> None:
    assert SshShell(hub, address).run(["cat"], timeout_s=10.0).stdout == b""


def test_a_command_that_ends_before_it_has_read_everything_has_its_output_and_code(
    hub: Hub, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise BrokenPipeError("Channel not open for sending")  # as asyncssh has it when the other side was quicker

    monkeypatch.setattr(asyncssh.SSHClientChannel, "write", too_late)
    done = SshShell(hub, address).run(["sh", "-c", "echo gone; exit 3"], stdin=b"nobody reads this")
    assert (done.code, done.stdout) == (3, b"gone\n")


@pytest.mark.parametrize("timeout_s", [BEGUN_S, 0.001])  # the second is over before the session is open
def test_sessions_of_commands_that_took_too_long_are_closed(hub: Hub, address: Address, timeout_s: float) -> None:
    if os.geteuid() != 0 and timeout_s == BEGUN_S:
        pytest.skip("an SSH server of an ordinary user keeps a session until its command ends; one of root's ends both")
    shell = SshShell(hub, address)
    connection = shell.run(["sh", "-c", "echo $SSH_CONNECTION"]).text
    for _ in range(12):  # sshd allows ten at a time
        with pytest.raises(TransientError, match="no end"):
            shell.run(["sleep", "30"], timeout_s=timeout_s)
    assert shell.run(["sh", "-c", "echo $SSH_CONNECTION"]).text == connection


def test_a_connection_that_breaks_under_a_command_is_no_success(hub: Hub, address: Address) -> None:
    shell = SshShell(hub, address)
    with pytest.raises(TransientError, match="lost"):
        shell.run(["sh", "-c", "kill -9 $PPID; sleep 5"])
    assert shell.run(["echo", "again"]).text == "again\n"


def test_a_port_that_nobody_serves_is_transient(hub: Hub, address: Address) -> None:
    with pytest.raises(TransientError, match="127"):
        SshShell(hub, replace(address, port=sshd.free_port())).run(["true"])


def test_a_host_that_accepts_and_hangs_is_given_up(hub: Hub, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = replace(address, port=silent.getsockname()[1])
        with pytest.raises(TransientError, match="no answer"):
            SshShell(hub, hung).run(["true"])
