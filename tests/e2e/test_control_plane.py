"""Coming up and going down, by ones and twos, in good order and in bad."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.errors import ConfigError, IsoflopError
from orchestrator.domain.events import Launched
from orchestrator.domain.run import RunState
from orchestrator.interfaces.api import connection, host, processes, server
from orchestrator.interfaces.api.connection import Connection
from orchestrator.interfaces.api.faults import RunsOpen

if TYPE_CHECKING:
    from tests.e2e.conftest import Plane

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

UP_IN_FOREGROUND = """
import os
from orchestrator import config
from orchestrator.interfaces.api import host
host.start(config.load(os.environ), foreground=True)
"""


def test_two_ups_at_once_give_one_control_plane(plane: Plane) -> None:
    found: list[Connection | IsoflopError] = []

    def up() -> None:
        try:
            found.append(host.start(plane.settings, wait_s=200))
        except IsoflopError as error:
            found.append(error)

    threads = [threading.Thread(target=up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    known = host.running(plane.settings)
    assert known is not None
    plane.started.append(known)
    assert found == [known, known]
    assert host.start(plane.settings) == known  # and a third, later
    assert len(_daemons(plane)) == 1


def test_going_down_cancels_and_gives_back_when_told_to(plane: Plane) -> None:
    known = plane.up()
    run_id = plane.submit(steps=1000)
    plane.until("the job runs", lambda: plane.holds(run_id, Launched))
    with pytest.raises(RunsOpen, match=run_id):
        host.stop(plane.settings)
    assert known.alive
    waited_for: list[tuple[str, ...]] = []

    assert host.stop(plane.settings, cancel=True, wait_s=120, on_wait=waited_for.append)

    assert (run_id,) in waited_for
    assert not known.alive
    assert plane.leases() == 0
    (last,) = [event.to for event in plane.events(run_id) if event.kind == "moved"][-1:]
    assert last is RunState.CANCELLED
    assert _leftovers(plane) == frozenset()
    assert connection.read(plane.settings.control_dir) is None
    assert not host.stop(plane.settings)  # nothing runs any more


def test_a_control_plane_that_keeps_its_machines_finds_them_again(plane: Plane) -> None:
    plane.up()
    run_id = plane.submit(steps=100)
    plane.until("the job runs", lambda: len(plane.counted(run_id)[0]) > 3, within_s=120)
    assert host.stop(plane.settings, keep=True)
    assert plane.leases() == 1
    assert _leftovers(plane) == frozenset()

    plane.up()

    assert plane.finished(run_id).state is RunState.SUCCEEDED
    assert plane.counted(run_id) == (list(range(1, 101)), 1)
    assert plane.purchases() == 1


def test_ctrl_c_in_the_foreground_ends_it_and_leaves_nothing(plane: Plane) -> None:
    terminal = subprocess.Popen(
        [sys.executable, "-c", UP_IN_FOREGROUND],
        env={**os.environ, "ISOFLOP_HOME": str(plane.home)},
        start_new_session=True,  # a terminal of its own: the signal goes to its whole group, as the keyboard's does
        stderr=subprocess.PIPE,
    )
    try:
        plane.until("it serves", lambda: host.running(plane.settings) is not None or terminal.poll() is not None)
        known = host.running(plane.settings)
        assert known is not None
        plane.started.append(known)
        assert known.pid == terminal.pid

        os.killpg(terminal.pid, signal.SIGINT)

        _, said = terminal.communicate(timeout=60)
        assert terminal.returncode == 130, said.decode()
        assert b"Traceback" not in said
        assert _leftovers(plane) == frozenset()
        assert connection.read(plane.settings.control_dir) is None
    finally:
        if terminal.poll() is None:
            terminal.kill()
            terminal.wait()


def test_ctrl_c_while_it_starts_ends_it_and_leaves_nothing(plane: Plane) -> None:
    terminal = subprocess.Popen(
        [sys.executable, "-c", UP_IN_FOREGROUND],
        env={**os.environ, "ISOFLOP_HOME": str(plane.home)},
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    try:
        folder = host.ray_folder(plane.settings)
        plane.until("Ray is being started", lambda: bool(processes.writing(folder)) or terminal.poll() is not None)
        assert terminal.poll() is None

        os.killpg(terminal.pid, signal.SIGINT)

        _, said = terminal.communicate(timeout=60)
        assert terminal.returncode == 130, said.decode()
        assert _leftovers(plane) == frozenset()
        assert host.running(plane.settings) is None
    finally:
        if terminal.poll() is None:
            terminal.kill()
            terminal.wait()


def test_what_a_killed_host_leaves_behind_is_ended_and_jobs_are_not(plane: Plane) -> None:
    plane.up()
    run_id = plane.submit(steps=300)
    plane.until("the job runs", lambda: len(plane.counted(run_id)[0]) > 1, within_s=120)
    plane.freeze(plane.controller_pid())  # the worst of leftovers: it does not even notice that Ray is gone
    plane.kill_host()
    assert _leftovers(plane)

    assert not host.stop(plane.settings)

    assert _leftovers(plane) == frozenset()
    done = len(plane.counted(run_id)[0])
    plane.until("the job goes on", lambda: len(plane.counted(run_id)[0]) > done)


def test_a_port_in_use_is_said_before_anything_is_started(plane: Plane) -> None:
    with server.listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .* is in use.*--port"):
            host.start(plane.settings, port=port)
    assert host.running(plane.settings) is None
    assert _leftovers(plane) == frozenset()


def _daemons(plane: Plane) -> frozenset[int]:
    """Processes that write the control plane's log and lead a session."""
    writing = processes.writing(plane.settings.control_dir)
    return frozenset(pid for pid in writing if os.getsid(pid) == pid)


def _leftovers(plane: Plane) -> frozenset[int]:
    return plane.family() | processes.writing(host.ray_folder(plane.settings))
