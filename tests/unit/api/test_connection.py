"""The connection file, the token and the lock, and telling processes apart."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.domain.errors import ConfigError
from orchestrator.interfaces.api import connection, host, processes
from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.api.connection import Connection, Lock

WRITER = """
import sys, time
stream = open(sys.argv[1], sys.argv[2])
print("ready", flush=True)
time.sleep(600)
"""

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def holder(path: Path, mode: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), mode], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def connected(pid: int) -> Connection:
    return Connection(url="http://127.0.0.1:1", pid=pid, identity=processes.identity(pid), started_at="now")


def test_what_was_written_is_read_back_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    known = connected(os.getpid())
    connection.write(tmp_path, known)
    assert connection.read(tmp_path) == known
    assert known.alive
    assert stat.S_IMODE((tmp_path / "connection.json").stat().st_mode) == 0o600
    connection.remove(tmp_path)
    assert connection.read(tmp_path) is None
    connection.remove(tmp_path)  # again is fine


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1, "pid": "x"}', "\x00"])
def test_a_damaged_connection_file_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "connection.json").write_text(text)
    with pytest.raises(ConfigError, match=r"connection\.json cannot be read.*isoflop up"):
        connection.read(tmp_path)


def test_a_token_is_new_each_time_long_and_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = connection.renew_token(tmp_path)
    finally:
        os.umask(before)
    assert connection.read_token(tmp_path) == first
    assert len(first) == 64
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert connection.renew_token(tmp_path) != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["token"]  # no drafts are left


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        connection.renew_token(tmp_path / "absent")
    with pytest.raises(ConfigError, match="cannot be read"):
        connection.read_token(tmp_path)


def test_a_process_that_is_gone_is_not_alive_nor_is_another_with_its_pid(child: subprocess.Popen[bytes]) -> None:
    known = connected(child.pid)
    assert known.alive
    assert not replace(known, identity="another boot/1").alive
    child.kill()
    child.wait()
    assert not known.alive
    assert not connected(child.pid).alive


def test_a_zombie_does_not_run(child: subprocess.Popen[bytes]) -> None:
    known = connected(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has collected it
    assert not known.alive


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_lock_that_is_let_go_in_time_is_taken(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    assert first.acquire()
    taken: list[bool] = []
    waiting = threading.Thread(target=lambda: taken.append(second.acquire(patience_s=60)))
    waiting.start()
    first.release()
    waiting.join()
    assert taken == [True]
    second.release()


def test_who_writes_into_a_folder_is_found_and_who_only_reads_is_not(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("x")
    (tmp_path / "mine-too").write_text("x")  # the folder's name is the beginning of this one's
    holders = [holder(mine / "file", "a"), holder(mine / "file", "r"), holder(tmp_path / "mine-too", "a")]
    try:
        with (mine / "file").open("a"):  # we ourselves are left out
            assert processes.writing(mine) == {holders[0].pid}
    finally:
        for process in holders:
            end(process)


def test_ending_takes_those_that_do_not_listen_too() -> None:
    process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert processes.end({process.pid}, grace_s=0.1) == frozenset()
    assert process.wait() == -9
    process.stdout.close()
    assert processes.end({process.pid}, grace_s=0.1) == frozenset()


def test_no_control_plane_and_a_dead_one_are_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="isoflop up"):
        Client.connect(tmp_path)
    (tmp_path / "control").mkdir()
    connection.write(tmp_path / "control", replace(connected(os.getpid()), identity="an earlier boot/1"))
    with pytest.raises(ConfigError, match="isoflop up"):
        Client.connect(tmp_path)


def test_without_the_extra_up_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load({"ISOFLOP_HOME": str(tmp_path), "HOME": str(tmp_path)})
    monkeypatch.setattr(host, "NEEDED", ("ray_that_is_absent",))
    with pytest.raises(ConfigError, match=r"pip install 'isoflop\[run\]'"):
        host.start(settings)


def test_nobody_waits_for_a_control_plane_that_did_not_come_up(tmp_path: Path) -> None:
    settings = config.load({"ISOFLOP_HOME": str(tmp_path), "HOME": str(tmp_path)})
    settings.control_dir.mkdir()
    with pytest.raises(ConfigError, match="did not come up"):
        host._answering(settings, deadline=float("inf"))


@pytest.mark.parametrize("address", ["nonsense", "local", "auto", ":1", "host:", "host:x", "ray://host:10001", ""])
def test_an_address_that_is_none_is_said_at_once(tmp_path: Path, address: str) -> None:
    settings = config.load({"ISOFLOP_HOME": str(tmp_path), "HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="HOST:PORT"):
        host.start(settings, address=address)


def test_rays_folder_is_short_and_differs_from_home_to_home(tmp_path: Path) -> None:
    folders = set()
    for name in ("a", "b" * 200):
        settings = config.load({"ISOFLOP_HOME": str(tmp_path / name), "HOME": str(tmp_path)})
        folders.add(host.ray_folder(settings))
    assert len(folders) == 2
    assert all(len(str(folder / "ray")) < 40 for folder in folders)


def test_the_client_side_needs_neither_ray_nor_a_web_server() -> None:
    code = (
        "import sys; import orchestrator.interfaces.api.client, orchestrator.interfaces.api.host; "
        "print(*[name for name in ('ray', 'starlette', 'uvicorn', 'anyio.abc') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.replace("anyio.abc", "").strip() == ""
