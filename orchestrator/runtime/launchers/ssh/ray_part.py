"""Ray on one machine, for one job: found, started, and ended to its last process; a part of the agent.

It runs on machines of all ages: nothing here is newer than Python 3.6, not even in annotations.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from orchestrator.runtime.launchers import supervisor

POLL_S = 0.05
END_S = 20.0
ASK_S = 120.0
TAIL_LINES = 20
PORTS = (10_000, 20_000)
FOREVER = str(10**8)  # seconds: not Ray but the job's supervisor counts the grace
MARK = "ISOFLOP_RAY"  # a variable that Ray and all it runs have, and nobody else
# A program of Ray is one process, and what runs elsewhere are its tasks: they are not told to be ranks of a gang.
RANKS = re.compile(r"(LOCAL_|NODE_)?RANK|WORLD_SIZE|MASTER_(ADDR|PORT)|PET_\w+")
SET_DEATH_SIGNAL = 1  # prctl: PR_SET_PDEATHSIG
LACKS = """\
import ray
print(ray.__version__)
try:
    import ray.dashboard.optional_deps
except ImportError as error:
    print("" if str(error.name).startswith("ray") else error.name)
"""
Said = Dict[str, Any]


class Trouble(Exception):
    """The cluster cannot be, or is no more; the text is for the job's output."""


def installed(path: Optional[str]) -> Said:
    """Which Ray the programs on `path` find: `version`, "" where none is found, and a module its Jobs API `lacks`."""
    found = shutil.which("ray", path=path)
    if found is None:
        return {"version": "", "lacks": ""}
    with open(found, "rb") as script:
        first = script.readline(4096).decode("utf-8", "replace").strip()
    python = first[2:].strip() if re.match(r"#!\S*python[\d.]*$", first) else ""
    command = [python, "-c", LACKS] if python else [found, "--version"]
    env = dict(os.environ, PATH=path) if path else None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=ASK_S, check=False
        )
        lines = said.stdout.decode("utf-8", "replace").split("\n")
        version = re.search(r"\d+\.\d+[\w.]*", lines[0])
        if version is not None:
            return {"version": version.group(), "lacks": lines[1].strip() if len(lines) > 1 else ""}
    return {"version": "", "lacks": ""}


def wrapped(box: Said, record: Said, job: Path) -> Tuple[List[str], List[str]]:
    """The command that runs this node's part of a job's cluster, and the one that ends what is left of it."""
    said = dict(box, command=record["command"], workdir=record["workdir"], rank=record["first_rank"])
    supervisor.write(job / "ray.json", said)
    mine = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "ray"]
    return [*mine, "run", str(job)], [*mine, "end", str(job)]


class Part:
    """Ray on this machine, in a folder of its own with a short name elsewhere: sockets have short paths."""

    def __init__(self, job: Path, said: Said) -> None:
        self.job, self.said, self.asked = job, said, False
        self._log = job / "ray.log"
        self._process: Optional[subprocess.Popen[bytes]] = None

    def ask(self, _number: int, _frame: Any) -> None:
        """Somebody wants the job to end."""
        self.asked = True

    def start(self, flags: List[str]) -> None:
        """Start Ray. Raises: Trouble where that is not possible at all."""
        folder = str(self.job / "ray")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        short = links(self.said)
        for link in short:
            with contextlib.suppress(FileExistsError):
                os.symlink(folder, link)
        if os.readlink(short[0]) != folder:
            raise Trouble("%s is somebody else's" % short[0])
        command = ["ray", "start", "--block", *flags, "--temp-dir=" + short[0], "--disable-usage-stats"]
        command += ["--num-cpus=%d" % self.said["cpus"], "--num-gpus=%d" % self.said["gpus"]]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=%d" % free_port()]
        with open(self._log, "ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    env=environment(self.job, self.said),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_apart,  # noqa: PLW1509 - one thread
                )
            except OSError as error:
                raise Trouble("cannot start ray: %s" % error.strerror) from None
        supervisor.write(self.job / "session.json", {"leader": supervisor.identity(self._process.pid)})

    def running(self) -> bool:
        """Whether Ray runs here."""
        return self._process is not None and self._process.poll() is None

    def tail(self) -> str:
        """What Ray said last."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()
            return "".join("\n  " + re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines[-TAIL_LINES:])
        return ""


def links(said: Said) -> List[str]:
    """Short names of Ray's folder: this node's, and the first node's, which Ray 2.52 uses on every node."""
    return ["/tmp/%s-%d" % (said["name"], number) for number in dict.fromkeys((said["rank"], 0))]  # noqa: S108 - sockets


def environment(job: Path, said: Said) -> Dict[str, str]:
    """What Ray, the program and its tasks see; of another Ray, whose child we may be, nothing."""
    given = set(said["given"])
    env = {name: value for name, value in os.environ.items() if name in given or not name.startswith("RAY_")}
    for name in filter(RANKS.fullmatch, list(env)):
        del env[name]
    paths = [env["PYTHONPATH"]] if env.get("PYTHONPATH") else []
    # Tasks import the modules of the work directory, wherever it is on their machine.
    own = {"PYTHONPATH": os.pathsep.join([*paths, said["workdir"]]), MARK: str(job)}
    return dict(env, RAY_JOB_STOP_WAIT_TIME_S=FOREVER, RAY_USAGE_STATS_ENABLED="0", **own)


def end(job: Path) -> None:
    """End every process of this machine's part, and remove its folder."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        left = _ours(job)
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)
    said = supervisor.read(job / "ray.json")
    for link in links(said) if said else ():
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(job / "ray"):
                os.unlink(link)
    shutil.rmtree(str(job / "ray"), ignore_errors=True)


def _ours(job: Path) -> Set[int]:
    """Processes with our mark or in Ray's session, and all that they have started.

    The mark alone is not enough: a process that names itself (`ray::f`) may write over its environment.
    """
    leader = (supervisor.read(job / "session.json") or {}).get("leader") or {"boot": ""}
    # Its number is another's only where that one runs: a session keeps the number of its first process to its end.
    known = leader["boot"] == supervisor.boot_id() and supervisor.identity(leader["pid"]) in (None, leader)
    session_id = leader["pid"] if known else None
    mark = os.fsencode("%s=%s" % (MARK, job)) + b"\0"
    parents, found = {}, set()  # type: Dict[int, int], Set[int]
    for about in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, _, session = (about / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            pid = int(about.name)
            parents[pid] = int(parent)
            if int(session) == session_id or mark in (about / "environ").read_bytes() + b"\0":
                found.add(pid)
    more = found
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found = found | more
    return found - {os.getpid()}


def free_port() -> int:
    """A port that nobody listens on now, and that no kernel hands out: Ray takes dozens of those."""
    while True:
        port = PORTS[0] + int.from_bytes(os.urandom(4), "big") % (PORTS[1] - PORTS[0])
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port


def _apart() -> None:
    """A session of its own, which no signal to the job reaches; it ends with us, and Ray's processes with it."""
    os.setsid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
