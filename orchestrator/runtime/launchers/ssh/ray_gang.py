"""One machine's part of a Ray cluster that lives as long as one job; a part of the agent, for Python 3.6 and newer.

`run FOLDER` is what the job's supervisor runs on every node: `ray start --head` on the first, which submits the program
by Ray's Jobs API as soon as every node has joined, `ray start --address` on the others. It reads FOLDER/ray.json, and
the environment it has is the job's, secrets and the cluster's token included: Ray and what it runs inherit it. `drive`
is what Ray runs: the program, its output in the job's own log, its exit code in FOLDER/driver.json. `end` ends what
is left of all that, should `run` have been killed.
"""

import contextlib
import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.ssh.ray_api import LOOK_S, Api
from orchestrator.runtime.launchers.ssh.ray_part import Part, Trouble, end, free_port

POLL_S = 0.05
CALL_S = 5.0
JOIN_S = 300.0  # until every node has joined: Ray may be read from a slow disk, and other nodes come later
STARTS = 3
BACKLOG = 1024
REJOINS, SOON_S = 3, 60.0  # a node that leaves the cluster so soon for so many times in a row does not belong to it
LATE_S = 5.0  # for the program's own exit code, once Ray says that it has ended
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells exit with
NO_CLUSTER = 16  # SIGSTKFLT, nobody's signal: a cluster that failed ends by it, so that the job goes elsewhere
Said = Dict[str, Any]


class Door:
    """Where other nodes learn the port of the cluster, once there is one; a connection lasts as long as the cluster."""

    def __init__(self, address: str, port: int, nodes: int) -> None:
        """Raises: OSError where the port is somebody's, or the address no one of ours."""
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        self.address, self._told = str(place[0]), b""
        self._guests, self._socket = [], None  # type: List[socket.socket], Optional[socket.socket]
        if nodes == 1:
            return
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(place)
        self._socket.listen(BACKLOG)
        self._socket.setblocking(False)

    def open(self, port: int) -> None:
        """Everybody may join, at `port`."""
        self._told = b"%d\n" % port

    def look(self) -> None:
        """Let in who waits."""
        with contextlib.suppress(OSError):
            while self._told and self._socket is not None:
                guest, _ = self._socket.accept()
                guest.setblocking(False)
                guest.send(self._told)
                self._guests.append(guest)


def lead(part: Part) -> int:
    """The first node: the cluster's head, which submits the program. Returns its exit code."""
    nodes = int(part.said["nodes"])
    door = Door(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), nodes)
    api = _head(part, door)

    def joined() -> bool:
        door.look()
        return api is not None and api.nodes() >= nodes

    if api is not None and _until(part, joined, "not all of its %d nodes have joined" % nodes):
        return _follow(part, api, door)
    return -signal.SIGTERM


def _head(part: Part, door: Door) -> Optional[Api]:
    """Start the cluster; None where the job is to end before. Ray gives up after half a minute, but may be slow."""
    for left in reversed(range(STARTS)):
        api, port = Api(free_port(), os.environ["RAY_AUTH_TOKEN"]), free_port()
        supervisor.write(part.job / "dashboard.json", {"port": api.port})
        own = ["--node-ip-address=" + door.address, "--port=%d" % port, "--ray-client-server-port=%d" % free_port()]
        part.start(["--head", "--dashboard-host=127.0.0.1", "--dashboard-port=%d" % api.port, *own])
        try:
            begun = _until(part, api.up, "its Jobs API does not answer: is it ray[default]?")
        except Trouble:
            if not left or part.running():
                raise
            end(part.job)
        else:
            door.open(port)
            return api if begun else None
    return None


def _until(part: Part, condition: Callable[[], bool], failure: str) -> bool:
    """Wait for `condition`; False where the job is to end before. Raises: Trouble."""
    deadline = time.monotonic() + JOIN_S
    while not condition():
        if part.asked:
            return False
        if not part.running():
            raise Trouble("ray start failed on the first node:" + part.tail())
        if time.monotonic() >= deadline:
            raise Trouble("the Ray cluster did not come up: " + failure + part.tail())
        time.sleep(4 * POLL_S)
    return True


def _follow(part: Part, api: Api, door: Door) -> int:
    """Submit the program and wait for its end."""
    me = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "ray", "drive", str(part.job)]
    api.submit(part.said["token"], "exec " + " ".join(map(shlex.quote, me)))
    told, looked, ended_at, status = False, time.monotonic(), None, {}  # type: bool, float, Optional[float], Said
    while True:
        door.look()  # for a node that joins again
        driver = supervisor.read(part.job / "driver.json") or {}
        if "code" in driver:
            return int(driver["code"])
        if not part.running():
            raise Trouble("Ray ended on the first node:" + part.tail())
        if part.asked and not told:
            told = api.stop(part.said["token"]) or _ask_driver(driver)
        if time.monotonic() >= looked + LOOK_S:
            status, looked = api.status(part.said["token"]), time.monotonic()
            over = status.get("status") in ("SUCCEEDED", "FAILED", "STOPPED")
            ended_at = ended_at or looked if over else None
        if ended_at is not None and time.monotonic() >= ended_at + LATE_S:  # it never began, or was killed from outside
            if part.asked:
                return -signal.SIGTERM
            _tell("Ray says that the program has ended: %s" % (status.get("message") or status.get("status")))
            return 1
        time.sleep(POLL_S)


def _ask_driver(driver: Said) -> bool:
    """SIGTERM to the program, of which Ray can no longer be asked."""
    if driver.get("who") is None or not supervisor.alive(driver["who"]):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgid(driver["who"]["pid"]), signal.SIGTERM)
    return True


def join(part: Part) -> int:
    """Another node: a member of the cluster for as long as the first node's part is there."""
    guest = Guest(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    deadline = time.monotonic() + JOIN_S
    while guest.port is None:
        if part.asked:
            return -signal.SIGTERM
        if time.monotonic() >= deadline:
            raise Trouble("the first node cannot be reached at %s, port %d" % guest.head)
        guest.knock()
        time.sleep(4 * POLL_S)
    short = 0  # lives in a row
    while short < REJOINS:
        began = time.monotonic()
        part.start(["--address=%s:%d" % (guest.head[0], guest.port)])
        while part.running() or not guest.welcome():
            if guest.gone():
                return 0
            time.sleep(POLL_S)
        short = short + 1 if time.monotonic() < began + SOON_S else 0
        _tell("node %d has left the Ray cluster and joins again" % part.said["rank"])
        end(part.job)
    raise Trouble("ray start failed on node %d:%s" % (part.said["rank"], part.tail()))


class Guest:
    """Another node's connection to the first one's door."""

    def __init__(self, address: str, port: int) -> None:
        self.head = (address, port)
        self.port: Optional[int] = None
        self._line: Optional[socket.socket] = None
        self._refused = False

    def knock(self) -> None:
        """Connect, and learn the cluster's port; try again where that does not come to be."""
        self._line, self._refused = None, False
        try:
            line = socket.create_connection(self.head, timeout=CALL_S)
            told = line.makefile("rb").readline(16)
            if told.endswith(b"\n"):
                self._line, self.port = line, int(told)
        except ConnectionRefusedError:
            self._refused = True
        except OSError:  # it says nothing
            time.sleep(LOOK_S)

    def welcome(self) -> bool:
        """Whether the first node's part is there, as far as anybody knows now."""
        if self._line is not None:
            try:
                self._line.settimeout(0.0)
                if self._line.recv(1):
                    return True
            except BlockingIOError:
                return True
            except OSError:
                pass
        self.knock()
        return self._line is not None

    def gone(self) -> bool:
        """Whether the machine says that the first node's part is not there any more."""
        return not self.welcome() and self._refused


def drive(job: Path) -> int:
    """Run the program, once; returns what to exit with."""
    said = supervisor.read(job / "ray.json") or {}
    if not supervisor.claim(job / "driving.json", {}):
        return 1
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)  # the program has its own, and we outlive it
    print("The output is in isoflop's log of the run.", flush=True)  # noqa: T201 - in Ray's log of the submission
    env = dict(os.environ, RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    with open(job / "output.log", "ab", buffering=0) as log:
        try:
            process = subprocess.Popen(
                said["command"],
                cwd=said["workdir"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            log.write(("isoflop: cannot start %r: %s\n" % (said["command"][0], error.strerror)).encode())
            code = NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
        else:
            supervisor.write(job / "driver.json", {"who": supervisor.identity(process.pid)})
            code = process.wait()
    supervisor.write(job / "driver.json", {"who": None, "code": code})
    return code if code >= 0 else 128 - code


def _tell(text: str) -> None:
    """A line in the job's output."""
    sys.stdout.write("isoflop: %s\n" % text)
    sys.stdout.flush()


def run(job: Path) -> int:
    """This node's part, to its end. A negative code is a signal to end by, as the program did."""
    said = supervisor.read(job / "ray.json")
    if said is None:
        raise SystemExit("%s holds no job" % job)
    part = Part(job, said)
    signal.signal(signal.SIGTERM, part.ask)
    try:
        return lead(part) if said["rank"] == 0 else join(part)
    except (Trouble, OSError) as trouble:  # of the system: a name that this machine does not know, a full disk
        _tell(str(trouble))
        return -NO_CLUSTER
    finally:
        end(job)


def main(arguments: List[str]) -> int:
    """See the module."""
    job = Path(arguments[1])
    if arguments[0] == "end":
        end(job)
        return 0
    if arguments[0] == "drive":
        return drive(job)
    code = run(job)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
