"""Plays `ray start` and Ray's Jobs API as far as the launcher talks to them, where a real Ray takes too long.

What it answers, to whom, and how it runs and stops a submission (a shell in a session of its own, SIGTERM to all of
it) is as Ray 2.60 does. `python stand_in_ray.py ARGUMENTS` is `ray ARGUMENTS`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = "2.60.0"
BAD_REQUEST, UNAUTHORIZED, NOT_FOUND = 400, 401, 404


def installed(folder: Path, version: str = VERSION) -> str:
    """A PATH on which this is `ray`; it is no Python script there, so its version is asked for as of any program."""
    folder.mkdir(parents=True)
    me = shlex.join([sys.executable, "-I", __file__])
    (folder / "ray").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo ray, version {version} && exit\nexec {me} "$@"\n'
    )
    (folder / "ray").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


class Head:
    """Nodes that have joined, and submissions by their ids."""

    def __init__(self, word: bytes) -> None:
        self.nodes, self._word = 1, word
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped: set[str] = set()

    def welcome(self, listener: socket.socket) -> None:
        """Count whoever joins, for as long as the connection stands."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._member, args=(connection,), daemon=True).start()

    def _member(self, connection: socket.socket) -> None:
        with connection:
            if connection.recv(200) != self._word:
                return
            self.nodes += 1
            connection.recv(1)
            self.nodes -= 1

    def submit(self, name: str, entrypoint: str) -> bool:
        """Run what a shell makes of `entrypoint`, unless `name` was submitted before."""
        if name in self.jobs:
            return False
        quiet = subprocess.DEVNULL
        self.jobs[name] = subprocess.Popen(
            ["/bin/sh", "-c", entrypoint], start_new_session=True, stdout=quiet, stderr=quiet
        )
        return True

    def stop(self, name: str) -> dict[str, Any]:
        """SIGTERM to all of a submission."""
        self.stopped.add(name)
        if self.jobs[name].poll() is None:
            os.killpg(self.jobs[name].pid, signal.SIGTERM)
        return {"stopped": True}

    def about(self, name: str) -> dict[str, Any]:
        """A submission as the Jobs API tells of it."""
        code = self.jobs[name].poll()
        words = {None: "RUNNING", 0: "SUCCEEDED"}
        status = "STOPPED" if code is not None and name in self.stopped else words.get(code, "FAILED")
        return {"submission_id": name, "status": status, "driver_exit_code": code, "message": f"ended with {code}"}


class Api(ThreadingHTTPServer):
    """The REST API of the dashboard."""

    def __init__(self, where: tuple[str, int], head: Head, token: str) -> None:
        super().__init__(where, Handler)
        self.head, self.token = head, token


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Api

    def do_GET(self) -> None:
        if not self._known():
            return
        if self.path == "/api/version":
            self._answer({"ray_version": VERSION})
        elif self.path.startswith("/api/v0/nodes"):
            self._answer({"data": {"result": {"result": [{"state": "ALIVE"}] * self.server.head.nodes}}})
        else:
            self._submission(self.path.rpartition("/")[2], self.server.head.about)

    def do_POST(self) -> None:
        if not self._known():
            return
        if self.path != "/api/jobs/":
            self._submission(self.path.split("/")[-2], self.server.head.stop)
            return
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.head.submit(said["submission_id"], said["entrypoint"]):
            self._answer({"submission_id": said["submission_id"]})
        else:
            self._answer({"error": "already exists"}, BAD_REQUEST)

    def _submission(self, name: str, what: Callable[[str], dict[str, Any]]) -> None:
        if name in self.server.head.jobs:
            self._answer(what(name))
        else:
            self._answer({}, NOT_FOUND)

    def _known(self) -> bool:
        known = self.headers["Authorization"] == f"Bearer {self.server.token}"
        if not known:
            self._answer({}, UNAUTHORIZED)
        return known

    def _answer(self, said: dict[str, Any], code: int = 200) -> None:
        body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _fails_now() -> bool:
    """Whether this start is one of those that $FAILS, a file with their number, asks to fail."""
    asked = Path(os.environ.get("FAILS", "/nonexistent"))
    left = int(asked.read_text()) if asked.exists() else 0
    if left:
        asked.write_text(str(left - 1))
    return left > 0


def main(arguments: list[str]) -> int:
    """Be the head or a member."""
    said = dict(each[2:].partition("=")[::2] for each in arguments if each.startswith("--"))
    if os.environ["RAY_AUTH_MODE"] != "token" or not os.path.isdir(said["temp-dir"]):
        return 1
    if _fails_now():
        sys.stderr.write("The current node timed out during startup.\n")
        return 1
    word = f"join {os.environ['RAY_AUTH_TOKEN']}".encode()
    if "head" not in said:
        host, _, port = said["address"].rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(word)
            connection.recv(1)
        return 1
    head = Head(word)
    with socket.create_server((said["node-ip-address"], int(said["port"]))) as listener:
        threading.Thread(target=head.welcome, args=(listener,), daemon=True).start()
        where = (said["dashboard-host"], int(said["dashboard-port"]))
        Api(where, head, os.environ["RAY_AUTH_TOKEN"]).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
