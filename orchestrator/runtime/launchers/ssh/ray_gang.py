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
from typing import Any, Callable, Dict, List, Optional, Tuple

from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.ssh.ray_api import LOOK_S, Api
from orchestrator.runtime.launchers.ssh.ray_part import Part, Trouble, end, free_port

POLL_S = 0.05
CALL_S = 10.0
JOIN_S = 300.0  # until every node has joined: Ray may be read from a slow disk, and other nodes come later
GONE = 2  # refusals in a row of the first node, after which its Ray is gone
REJOINS, SOON_S = 3, 60.0  # a node that leaves the cluster so soon for so many times in a row does not belong to it
LATE_S = 5.0  # for the program's own exit code, once Ray says that it has ended
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells exit with
NO_CLUSTER = 16  # SIGSTKFLT, nobody's signal: a cluster that failed ends by it, so that the job goes elsewhere
Said = Dict[str, Any]


def lead(part: Part) -> int:
    """The first node: the cluster's head, which submits the program. Returns its exit code."""
    address = socket.getaddrinfo(os.environ["MASTER_ADDR"], None, type=socket.SOCK_STREAM)[0][4][0]
    api = Api(free_port(), os.environ["RAY_AUTH_TOKEN"])
    supervisor.write(part.job / "dashboard.json", {"port": api.port})
    part.start(
        [
            "--head",
            "--node-ip-address=%s" % address,
            "--port=%s" % os.environ["MASTER_PORT"],
            "--dashboard-host=127.0.0.1",
            "--dashboard-port=%d" % api.port,
            "--ray-client-server-port=%d" % free_port(),
        ]
    )
    begun = _until(part, api.up, "its Jobs API does not answer: is it ray[default]?")
    nodes = int(part.said["nodes"])
    if begun and _until(part, lambda: api.nodes() >= nodes, "not all of its %d nodes have joined" % nodes):
        return _follow(part, api)
    return -signal.SIGTERM


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


def _follow(part: Part, api: "Api") -> int:
    """Submit the program and wait for its end."""
    me = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "ray", "drive", str(part.job)]
    api.submit(part.said["token"], "exec " + " ".join(map(shlex.quote, me)))
    told, looked, ended_at, status = False, time.monotonic(), None, {}  # type: bool, float, Optional[float], Said
    while True:
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
    """Another node: a member of the cluster for as long as the first node's Ray is there."""
    head = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    deadline = time.monotonic() + JOIN_S
    while _refused(head) is not False:
        if part.asked:
            return -signal.SIGTERM
        if time.monotonic() >= deadline:
            raise Trouble("the first node's Ray cannot be reached at %s, port %d" % head)
        time.sleep(4 * POLL_S)
    short = 0  # lives in a row
    while short < REJOINS:
        began = time.monotonic()
        part.start(["--address=%s:%d" % head])
        if _gone(part, head):
            return 0
        short = short + 1 if time.monotonic() < began + SOON_S else 0
        _tell("node %d has left the Ray cluster and joins again" % part.said["rank"])
        end(part.job)
    raise Trouble("ray start failed on node %d:%s" % (part.said["rank"], part.tail()))


def _gone(part: Part, head: Tuple[str, int]) -> bool:
    """Wait until the first node's Ray is gone (True) or ours has ended while it is there."""
    refusals = 0
    while True:
        running, refused = part.running(), _refused(head)
        refusals = refusals + 1 if refused else 0
        if refusals >= GONE:
            return True
        if not running and refused is False:
            return False
        time.sleep(LOOK_S)


def _refused(address: Tuple[str, int]) -> Optional[bool]:
    """Whether the machine says that nobody listens there; None where it says nothing."""
    try:
        with socket.create_connection(address, timeout=CALL_S):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return None


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
