"""Starting and stopping the control plane from outside: nothing here needs Ray or a web server."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError, IsoflopError
from orchestrator.installation import check_names
from orchestrator.interfaces.api import connection, faults, processes
from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.api.connection import Connection, Lock

NEEDED = ("ray", "starlette", "uvicorn")
DAEMON = "orchestrator.interfaces.api.daemon"
LOG_TAIL_LINES = 15
MAX_LOG_BYTES = 10 * 2**20


def running(settings: Settings) -> Connection | None:
    """The control plane of this state folder, where its process runs. Raises: ConfigError for a damaged file."""
    known = connection.read(settings.control_dir)
    return known if known is not None and known.alive else None


def start(
    settings: Settings,
    *,
    address: str | None = None,
    port: int | None = None,
    foreground: bool = False,
    wait_s: float = 90.0,
) -> Connection:
    """The control plane of this state folder, started where none runs; returns once it answers.

    `address` joins an existing Ray cluster. In the foreground this process *becomes* the control plane and does not
    return. Of two calls at once both return the same control plane.
    Raises: ConfigError where it cannot start, with what it said, and where a package name is not ours alone.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the control plane needs {', '.join(missing)}: pip install 'isoflop[run]'")
    check_names()
    if running(settings) is not None:
        return _joined(address, _answering(settings, time.monotonic() + wait_s), settings)
    if address is not None:
        _check_address(address)
    _make(settings.control_dir)
    chosen = settings.port if port is None else port
    command = [sys.executable, "-P", "-m", DAEMON, "--port", str(chosen)] + (["--address", address] if address else [])
    variables = _environment(settings, embedded=address is None)
    if foreground:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, command, variables)  # noqa: S606 - an argument list, no shell
    _spawn(settings, command, variables, time.monotonic() + wait_s)
    return _answering(settings, time.monotonic() + wait_s)


def stop(
    settings: Settings,
    *,
    cancel: bool = False,
    keep: bool = False,
    wait_s: float = 300.0,
    on_wait: Callable[[tuple[str, ...]], None] | None = None,
) -> bool:
    """Take the control plane down; False where none ran. Returns once its processes are gone.

    With `cancel` every open run is cancelled and its release waited for, and `on_wait` is told of the open ones now and
    then; with `keep` their machines go on, and go on costing.
    Raises: RunsOpen while runs are open and neither is given; ConfigError where it does not end within `wait_s`.
    """
    known = running(settings)
    if known is None:
        tidy(settings)
        return False
    deadline = time.monotonic() + wait_s
    with Client.connect(settings.home) as client:
        while not (answer := client.down(cancel=cancel, keep=keep)).stopping:
            if on_wait is not None:
                on_wait(answer.open_runs)
            if time.monotonic() > deadline:
                raise ConfigError(f"{len(answer.open_runs)} run(s) are still open after {wait_s:g} s: try again later")
            time.sleep(0.5)
    while known.alive:
        if time.monotonic() > deadline:
            raise ConfigError(f"the control plane (pid {known.pid}) does not end: see {settings.control_dir / 'log'}")
        time.sleep(0.1)
    return True


def tidy(settings: Settings) -> None:
    """Remove what a control plane that was killed left behind: Ray's processes and a connection file; jobs go on."""
    if not settings.control_dir.exists():
        return
    lock = Lock(settings.control_dir)
    if lock.acquire(patience_s=connection.DYING_S):
        try:
            connection.remove(settings.control_dir)
            sweep(settings)
        finally:
            lock.release()


def sweep(settings: Settings) -> None:
    """For the holder of the lock: end every process that writes into this state folder's Ray folder, and remove that.

    An embedded Ray ends with its host, all but its agents, which linger for minutes after a `kill -9`.
    Raises: ConfigError where one of them does not end.
    """
    folder = ray_folder(settings)
    left = processes.end(processes.writing(folder), grace_s=2.0)
    if left:
        raise ConfigError(f"processes of an earlier control plane do not end: {', '.join(map(str, sorted(left)))}")
    shutil.rmtree(folder, ignore_errors=True)


def ray_folder(settings: Settings) -> Path:
    """Where an embedded Ray keeps its sockets and logs: short, for a socket's path has 107 characters at most."""
    digest = hashlib.blake2b(str(settings.home.resolve()).encode(), digest_size=5).hexdigest()
    return Path("/tmp", f"isoflop-{os.getuid()}-{digest}")  # noqa: S108 - made with mode 0700, and its owner checked


def _joined(address: str | None, known: Connection, settings: Settings) -> Connection:
    """The control plane that runs, unless it runs elsewhere than the user wants. Raises: ConfigError."""
    if address is not None:
        with Client.connect(settings.home) as client:
            where = client.health().ray
        if where != address:
            raise ConfigError(f"a control plane (pid {known.pid}) runs already, on Ray: {where}; `isoflop down` first")
    return known


def _check_address(address: str) -> None:
    """Ray itself takes minutes to say that nobody is there. Raises: ConfigError."""
    name, _, port = address.rpartition(":")
    if not name or not port.isdecimal() or "/" in name:
        raise ConfigError(f"the address of a Ray cluster is HOST:PORT of its head node, not {address!r}")
    try:
        socket.create_connection((name.strip("[]"), int(port)), timeout=5.0).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made: {error.strerror or error}") from error


def _spawn(settings: Settings, command: Sequence[str], variables: dict[str, str], deadline: float) -> None:
    log = settings.control_dir / "log"
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name("log.1"))
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answers, os.fdopen(_append(log), "ab") as stream:
        try:
            child = subprocess.Popen(
                [*command, "--report", str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=variables,
                cwd=settings.home,
                start_new_session=True,  # a Ctrl-C at the terminal is not for it
                pass_fds=(writer,),
            )
        finally:
            os.close(writer)
        try:
            _await_report(answers.fileno(), child, deadline, log)
        except BaseException:
            # Ctrl-C, a failure or too long a wait: what was begun is not left half-way.
            _end(child)
            raise
        child.returncode = 0  # it outlives us: keep Popen from warning that it still runs


def _await_report(descriptor: int, child: subprocess.Popen[bytes], deadline: float, log: Path) -> None:
    """Read the one line that the daemon says once it serves, or cannot."""
    said = b""
    while not said.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise ConfigError(f"the control plane did not start in time; the end of {log}:\n{_tail(log)}")
        piece = os.read(descriptor, 65536)
        if not piece:
            raise ConfigError(f"the control plane ended at its start (exit {child.wait()}); {log}:\n{_tail(log)}")
        said += piece
    report = json.loads(said)
    if "error" in report:
        raise faults.load(500, said)


def _answering(settings: Settings, deadline: float) -> Connection:
    """The control plane once it answers: ours, or that of another `up` that was quicker."""
    while True:
        known = running(settings)
        try:
            with Client.connect(settings.home, timeout_s=10.0) as client:
                client.health()
            if known is not None:
                return known
            problem: IsoflopError = ConfigError("it has no connection file")
        except IsoflopError as error:
            problem = error
        if known is None and _unclaimed(settings):
            raise ConfigError(f"the control plane did not come up: see {settings.control_dir / 'log'}")
        if time.monotonic() > deadline:
            who = f" (pid {known.pid})" if known else ""
            raise ConfigError(f"the control plane{who} does not answer ({problem}): see {settings.control_dir / 'log'}")
        time.sleep(0.2)


def _unclaimed(settings: Settings) -> bool:
    """Whether no control plane of this state folder runs or is being started."""
    lock = Lock(settings.control_dir)
    free = lock.acquire()
    lock.release()
    return free and running(settings) is None


def _environment(settings: Settings, *, embedded: bool) -> dict[str, str]:
    """The daemon's environment: Ray reads its own part of it when it is imported."""
    variables = {**os.environ, "ISOFLOP_HOME": str(settings.home), "RAY_USAGE_STATS_ENABLED": "0"}
    if named := os.environ.get("ISOFLOP_CONFIG"):
        variables["ISOFLOP_CONFIG"] = str(Path(named).absolute())
    if embedded:
        variables |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(settings.control_dir / "ray-token"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too: Ray then listens on loopback alone
            # Jobs are children of the controller: they outlive it, and are no less than what a shell would start.
            "RAY_kill_child_processes_on_worker_exit": "0",
            "RAY_worker_niceness": "0",
            "RAY_worker_oom_score_adjustment": "0",
            "RAY_memory_monitor_refresh_ms": "0",  # a job that fills this machine is no reason to kill the controller
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # an actor without GPUs still sees those that it sells
        }
        for inherited in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_NAMESPACE"):
            variables.pop(inherited, None)
    return variables


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 16384))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _append(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
