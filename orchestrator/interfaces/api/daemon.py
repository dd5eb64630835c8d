"""The control plane's process: Ray, the actors and the HTTP API, until it is told to end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from orchestrator import config
from orchestrator.app import App
from orchestrator.config import Settings
from orchestrator.domain.errors import ConfigError, IsoflopError
from orchestrator.interfaces.api import connection, faults, host, processes, server, wiring
from orchestrator.interfaces.api.connection import Connection, Lock
from orchestrator.interfaces.api.messages import ControllerHealth, Health
from orchestrator.interfaces.api.service import Service
from orchestrator.runtime.log import log_to
from orchestrator.runtime.ray_host import RayHost

LOG = logging.getLogger(__name__)
WATCH_S = 5.0  # between looks at the controller
MISSES = 6  # looks in a row without an answer after which Ray counts as lost
STEADY_S = 300.0  # a control plane that lost its Ray starts anew by itself, unless it has just done so
STOP_GRACE_S = 10.0


class Report:
    """The pipe to whoever started us: one line, that we serve or why not."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def say(self, message: object) -> None:
        """Say it, if nothing was said before and somebody listens."""
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            LOG.info("whoever started this control plane is gone")
        finally:
            os.close(self._descriptor)
            self._descriptor = None


class ControlPlane:
    """Everything that one state folder's control plane consists of, in the order of its making."""

    def __init__(self, settings: Settings, *, address: str | None, port: int) -> None:
        self._settings = settings
        self._address = address
        self.port = port
        self._stop = threading.Event()
        self._signal: int | None = None
        self._began = time.monotonic()
        self.again = False  # whether, once `run` has returned, another should take over
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")

    def run(self, report: Report) -> int:
        """Serve until told to end; returns the exit code.

        Raises: ConfigError where something it needs is not to be had; KeyboardInterrupt on Ctrl-C before it serves.
        """
        control = self._settings.control_dir
        with ExitStack() as stack:
            lock = Lock(control)
            if not lock.acquire(patience_s=connection.DYING_S):
                report.say({"busy": True})
                raise ConfigError("another control plane of this state folder runs or is being started")
            stack.callback(lock.release)
            log_to(control / "log", terminal=sys.stderr.isatty())
            connection.remove(control)
            listener = stack.enter_context(closing(server.listen(self.port)))
            app = App(self._settings)
            store = stack.enter_context(closing(app.store()))
            ray = self._start_ray(stack)
            service = Service(store, app.launchers(), app.clock)
            hooks = server.Hooks(health=lambda: self._health(service, ray), go_down=self._stop.set)
            api = server.create(service, hooks, token=connection.renew_token(control))
            self._take_signals()
            self._serve(api, listener, stack)
            self.port = listener.getsockname()[1]
            mine = Connection(
                url=f"http://127.0.0.1:{self.port}",
                pid=os.getpid(),
                identity=processes.identity(os.getpid()),
                started_at=self._started_at,
            )
            connection.write(control, mine)
            stack.callback(connection.remove, control)
            LOG.info("serving at %s, pid %d", mine.url, mine.pid)
            report.say({"ready": True})
            return self._watch(ray)

    def _start_ray(self, stack: ExitStack) -> RayHost:
        folder = host.ray_folder(self._settings)
        host.sweep(self._settings)
        _fresh(folder)
        stack.callback(host.sweep, self._settings)
        connection.renew_token(self._settings.control_dir, "ray-token")
        # Ray opens its own folder to all: ours around it does not.
        ray = RayHost(namespace=self._settings.owner, address=self._address, folder=folder / "ray")
        stack.callback(ray.stop, grace_s=STOP_GRACE_S)
        ray.start(wiring.parts(self._settings))
        return ray

    def _serve(self, api: ASGIApp, listener: socket.socket, stack: ExitStack) -> None:
        settings = uvicorn.Config(
            api,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        web = uvicorn.Server(settings)
        thread = threading.Thread(target=web.run, args=([listener],), name="http", daemon=True)
        thread.start()

        def end() -> None:
            web.should_exit = True
            thread.join(STOP_GRACE_S)

        stack.callback(end)

    def _watch(self, ray: RayHost) -> int:
        missed = 0
        while not self._stop.wait(WATCH_S):
            try:
                ray.status(timeout_s=WATCH_S)
                missed = 0
            except IsoflopError as error:
                missed += 1
                LOG.warning("the controller does not answer (%d of %d): %s", missed, MISSES, error)
                if missed >= MISSES:
                    return self._lost()
        LOG.info("going down")
        return 128 + self._signal if self._signal == signal.SIGINT else 0

    def _lost(self) -> int:
        self.again = time.monotonic() - self._began > STEADY_S
        then = "starting anew" if self.again else "run `isoflop up` again"
        LOG.critical("the controller is lost, with Ray perhaps; runs are safe in the store, jobs go on: %s", then)
        return 1

    def _take_signals(self) -> None:
        def take(number: int, _: FrameType | None) -> None:
            self._signal = number
            self._stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, take)

    def _health(self, service: Service, ray: RayHost) -> Health:
        try:
            status = ray.status(timeout_s=2.0)
            controller = ControllerHealth(pid=status.pid, running=status.running)
        except IsoflopError as error:
            controller = ControllerHealth(error=str(error))
        return Health(
            version=version("isoflop"),
            pid=os.getpid(),
            home=str(self._settings.home),
            started_at=self._started_at,
            ray=self._address or "embedded",
            open_runs=len(service.open_runs()),
            controller=controller,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the control plane of `$ISOFLOP_HOME`; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {host.DAEMON}", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address")
    parser.add_argument("--report", type=int)
    options = parser.parse_args(arguments)
    report = Report(options.report)
    signal.signal(signal.SIGTERM, _leave)
    try:
        plane = ControlPlane(config.load(os.environ), address=options.address, port=options.port)
        code = plane.run(report)
    except IsoflopError as error:
        report.say(faults.dump(error)[1])
        sys.stderr.write(f"isoflop: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if plane.again:
        again = ["--port", str(plane.port)] + (["--address", options.address] if options.address else [])
        os.execv(sys.executable, [sys.executable, "-P", "-m", host.DAEMON, *again])  # noqa: S606 - no shell
    return code


def _fresh(folder: Path) -> None:
    """A new `folder` that is ours alone. Raises: ConfigError where somebody else's is there."""
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror or error}; remove it") from error


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
