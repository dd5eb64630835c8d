"""What the launcher for machines has on the other side: one file for Python 3.6 and newer, without anything installed.

`python agent.pyz VERB` reads one line with the length of a JSON text, that text, and for `put` the bytes after it; it
prints one line of JSON, `{"ok": ...}` or `{"error": {...}}`, and for `get` and `poll` the bytes after it. Every verb
may be called again after a connection that was lost: it does nothing twice. Secrets come in by the input alone and
leave by the job's environment alone.

Folders below the lease's: `workdir/RUN` (the work directory), `checkpoints/RUN`, `jobs/TOKEN.NODE` (the supervisor's),
`incoming` (what is on its way).
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from orchestrator.runtime.launchers import supervisor
from orchestrator.runtime.launchers.ssh import files, ray_gang, ray_part

START_S = 30.0
KEPT_S = 7 * 86400.0  # after the end
TAIL_BYTES = 1 << 16  # of the progress file: its last line is in there
ABANDON_S = 8.0
RUNTIMES = ("podman", "docker", "apptainer", "singularity")
INITS = tuple(prefix + "/podman/catatonit" for prefix in ("/usr/libexec", "/usr/local/libexec", "/usr/lib"))
OWN = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "OLDPWD", "SHLVL", "_")
Said = Dict[str, Any]


class Refused(Exception):
    """The machine cannot do it, and trying again changes nothing. `code` is a word that the launcher knows."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def prepare(said: Said) -> Said:
    """Make the folders; say whether the job has started, what addresses, container runtime and Ray this machine has.

    Where it has not started: what `want` says, of the same request.
    """
    root = said["root"]
    for name in ("workdir", "checkpoints", "jobs", "incoming"):
        os.makedirs(os.path.join(root, name), mode=0o700, exist_ok=True)
    _forget_old(Path(root), os.path.basename(said["job"]))
    started = supervisor.read(Path(said["job"]) / "started.json") is not None
    found: Said = {"started": started}
    if not started:  # or its checkpoints would be set back
        found["laid"] = want(said)
    if said.get("peer"):
        found["own"] = _own_address(said["peer"])
        found["is_own"] = _is_own(said["address"])
    if said.get("image"):
        found["runtime"] = _runtime()
    if said.get("ray"):
        found["ray"] = ray_part.installed(said["ray"]["path"])
    return found


def _forget_old(root: Path, asked: str) -> None:
    """Remove what runs left here that ended long ago: a machine that is kept would fill up."""
    old: Dict[str, List[Path]] = {}
    used = set()
    for job in (root / "jobs").iterdir():
        record = supervisor.read(job / "job.json")
        if record is None:
            continue
        run = os.path.basename(record["workdir"])
        end = job / "exit.json"
        if job.name != asked and end.exists() and time.time() - end.stat().st_mtime > KEPT_S:
            old.setdefault(run, []).append(job)
        else:
            used.add(run)
    for run in set(old) - used:
        for folder in (*old[run], root / "workdir" / run, root / "checkpoints" / run):
            shutil.rmtree(str(folder), ignore_errors=True)


def want(said: Said) -> Said:
    """Which contents of some trees are not here yet, with how many bytes of each are; the trees are laid if none."""
    lacking: Dict[str, int] = {}
    for each in said["trees"]:
        lacking.update(files.missing(each["tree"], _incoming(said), each["entries"]))
    return dict({"broken": []} if lacking else lay(said), missing=lacking)


def put(said: Said) -> Said:
    """Take in pieces of contents; their bytes follow one another after the request."""
    for piece in said["pieces"]:
        data = _exactly(piece["bytes"])
        files.receive(_incoming(said), piece["sha"], piece["offset"], data)
    return {}


def lay(said: Said) -> Said:
    """Put trees in place, all of whose contents are here; says which came in damaged, and were thrown away."""
    broken: List[str] = []
    with _alone(said["root"]):
        for each in said["trees"]:
            broken += files.lay(each["tree"], _incoming(said), each["entries"], each["mirror"])
    return {"broken": broken}


def tree(said: Said) -> Said:
    """What a job's tree holds, with digests; those of files that look unchanged are remembered.

    A job whose folder was taken away meanwhile is an error, for its tree is then no empty one.
    """
    memory = Path(said["memory"])
    known = {entry["path"]: entry for entry in (supervisor.read(memory) or {}).get("entries", [])}
    entries = files.with_digests(said["tree"], files.listing(said["tree"]), known)
    if supervisor.read(memory.parent / "started.json") is None:
        raise FileNotFoundError(errno.ENOENT, "no job is there", str(memory.parent))
    with contextlib.suppress(OSError):  # a full disk: then they are worked out again
        supervisor.write(memory, {"entries": entries})
    return {"entries": entries}


def get(said: Said) -> Tuple[Said, bytes]:
    """Bytes of a file of a tree."""
    path = os.path.join(files.named(said["tree"]), files.named(files.inside(said["path"])))
    return {}, _piece(path, said["offset"], said["bytes"])


def start(said: Said) -> Said:
    """Start the job under its supervisor, unless it was started before."""
    job = Path(said["job"])
    if supervisor.read(job / "started.json") is None:
        job.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = {name: value for name, value in os.environ.items() if name not in OWN}
        record = dict(said["record"])
        env = dict(own, **said["env"])
        if said.get("container"):
            record["command"], record["cleanup"] = contained(said["container"], record, env, sorted(said["env"]))
        if said.get("ray"):
            record["command"], record["cleanup"] = ray_part.wrapped(said["ray"], record, job)
        supervisor.write(job / "job.json", record)
        _supervise(job, env)
    if supervisor.read(job / "started.json") is None:
        raise Refused("supervisor", "the job's supervisor did not start")
    return {}


def _supervise(job: Path, env: Dict[str, str]) -> None:
    with open(job / "supervisor.log", "ab") as said:
        # -I -S: the supervisor is not to run what the job's PYTHON* variables say; it starts faster, too.
        command = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "supervise", str(job)]
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        if process.wait(START_S) != 0:
            lines = (job / "supervisor.log").read_text(errors="replace").splitlines() or ["it said nothing"]
            if "No space left" in lines[-1]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job))
            raise Refused("supervisor", "the job's supervisor failed: " + lines[-1])


def contained(box: Said, record: Said, env: Dict[str, str], names: List[str]) -> Tuple[List[str], List[str]]:
    """The command that runs the job in its image, and the one that ends what is left of it.

    Values of variables are in no argument: a runtime is told the names and takes the values from its environment.
    """
    kind, path = box["runtime"]
    binds = [record["workdir"], box["checkpoints"], box["job"]]
    nvidia, amd = shutil.which("nvidia-smi", path=env.get("PATH")) is not None, os.path.exists("/dev/kfd")
    names = sorted({*names, "RANK", "PET_NODE_RANK", *record["rank_env"][0]})
    if kind in ("apptainer", "singularity"):
        flags = [flag for bind in binds for flag in ("--bind", bind)]
        flags += ["--nv"] * (box["gpus"] and nvidia) + ["--rocm"] * (box["gpus"] and amd)
        image = box["image"] if "://" in box["image"] or box["image"].endswith(".sif") else "docker://" + box["image"]
        return [path, "exec", *flags, "--pwd", record["workdir"], image, *record["command"]], []
    if box["image"].startswith("-"):
        raise ValueError("%r is no name of an image" % box["image"])
    # Without an init the program is process 1 of the container, which SIGTERM does not end unless it is handled.
    init = kind != "podman" or any(map(os.path.exists, INITS)) or shutil.which("catatonit") is not None
    flags = ["--rm", *["--init"] * init, "--network", "host", "--ipc", "host", "--name", box["name"]]
    flags += [flag for bind in binds for flag in ("--volume", bind + ":" + bind)]
    flags += [flag for name in names for flag in ("--env", name)]
    if kind == "podman":  # what is removed was asked to stop long ago; docker asks no more
        flags += ["--stop-timeout", "0"]
    if os.geteuid() != 0:
        flags += ["--userns", "keep-id"] if kind == "podman" else ["--user", "%d:%d" % (os.geteuid(), os.getegid())]
    if box["gpus"] and nvidia:
        flags += ["--device", "nvidia.com/gpu=all"] if kind == "podman" else ["--gpus", "all"]
    if box["gpus"] and amd:
        flags += ["--device", "/dev/kfd", "--device", "/dev/dri"]
    run = [path, "run", *flags, "--workdir", record["workdir"], box["image"], *record["command"]]
    return run, [path, "rm", "--force", box["name"]]


def poll(said: Said) -> Tuple[Said, bytes]:
    """How the job stands: `state`, exit code, how long ago it ended, progress, and output from an offset on."""
    job = Path(said["job"])
    status = _status(job)  # before the look at the output: what has ended writes no more
    progress = _progress(job / "progress.jsonl")
    data = _piece(bytes(job / "output.log"), said["offset"], said["bytes"])
    over = status["state"] != "running" and len(data) < said["bytes"]
    return dict(status, progress=progress, over=over), data


def _status(job: Path) -> Said:
    started = supervisor.read(job / "started.json")
    if started is None:
        return {"state": "lost"}
    watched = supervisor.alive(started["supervisor"])
    ended = supervisor.read(job / "exit.json")  # after the look at the supervisor, whose last deed it is
    if ended is not None:
        ago = time.monotonic() - ended["at"] if ended["boot"] == supervisor.boot_id() else 1e9
        return {"state": "exited", "code": ended["code"], "ended_s_ago": ago}
    return {"state": "running" if watched or _unwatched(job) else "lost"}


def stop(said: Said) -> Said:
    """SIGTERM to the whole group, SIGKILL after the grace; a later call can only shorten it."""
    job, grace_s = Path(said["job"]), said["grace_s"]
    started = supervisor.read(job / "started.json")
    if started is None or supervisor.read(job / "exit.json") is not None:
        return {}
    boot, deadline = supervisor.boot_id(), time.monotonic() + grace_s
    order = supervisor.read(job / "stop.json")
    if order is not None and order["boot"] == boot:
        deadline = min(deadline, float(order["deadline"]))
    try:
        supervisor.write(job / "stop.json", {"boot": boot, "deadline": deadline})
    except OSError:  # a full disk takes no order: the signals themselves do
        supervisor.signal_group(_ranks(job), signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
    if not supervisor.alive(started["supervisor"]):
        supervisor.signal_group(_ranks(job), signal.SIGTERM)
        _unwatched(job)
    return {}


def abandon(said: Said) -> Said:
    """End a job that is to be as if it had never been started, so that its token starts it again."""
    job = Path(said["job"])
    stop({"job": said["job"], "grace_s": 0.0})
    deadline = time.monotonic() + ABANDON_S
    while _status(job)["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(FileNotFoundError):
        job.rename(job.with_name(".%s.%d" % (job.name, time.time() * 1e6)))
    return {}


def _unwatched(job: Path) -> bool:
    """Whether ranks run on whose supervisor is gone; what was to be killed by now is."""
    ranks, order = _ranks(job), supervisor.read(job / "stop.json")
    if order is not None and order["boot"] == supervisor.boot_id() and time.monotonic() >= order["deadline"]:
        supervisor.signal_group(ranks, signal.SIGKILL)
    return any(supervisor.alive(rank) for rank in ranks)


def _ranks(job: Path) -> List[Dict[str, Any]]:
    record = supervisor.read(job / "ranks.json")
    return record["ranks"] if record is not None else []


def _progress(path: Path) -> str:
    """The end of what the job reports; the launcher knows what makes sense."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _piece(path: bytes, offset: int, most: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(most)
    except FileNotFoundError:
        return b""


def _own_address(peer: str) -> str:
    """Which of our addresses packets to `peer` leave from. Nothing is sent."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _is_own(address: str) -> bool:
    """Whether one of our network interfaces has `address`."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(place)
        return True
    except OSError:
        return False


def _runtime() -> Optional[List[str]]:
    """The first container runtime that works: its name and its path."""
    for name in RUNTIMES:
        path = shutil.which(name)
        if path is None:
            continue
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = [path, "--version"] if name in RUNTIMES[2:] else [path, "info"]
            quiet = subprocess.DEVNULL
            done = subprocess.run(asked, stdin=quiet, stdout=quiet, stderr=quiet, timeout=30, check=False)
            if done.returncode == 0:
                return [name, path]
    return None


def _incoming(said: Said) -> str:
    return os.path.join(said["root"], "incoming")


@contextlib.contextmanager
def _alone(root: str) -> Any:
    """One at a time on this machine, should a call that lost its connection still be at it."""
    with open(os.path.join(root, "incoming", ".lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _exactly(size: int) -> bytes:
    data = sys.stdin.buffer.read(size)
    if len(data) != size:
        raise EOFError("the connection ended in the middle of a request")
    return data


def escaped(said: Any) -> Any:
    """What was said, with each byte of a string that is no ASCII as a surrogate.

    So strings mean the same bytes as paths, arguments and variables whatever the locale is, if there is one at all.
    Entries of trees stay: `files` names them by their bytes anyway.
    """
    if isinstance(said, str):
        return files.named(said).decode("ascii", "surrogateescape")
    if isinstance(said, list):
        return [escaped(each) for each in said]
    if isinstance(said, dict):
        return {escaped(name): value if name == "trees" else escaped(value) for name, value in said.items()}
    return said


VERBS: Dict[str, Callable[[Said], Any]] = {
    verb.__name__: verb for verb in (prepare, want, put, lay, tree, get, start, poll, stop, abandon)
}


def main(arguments: List[str]) -> int:
    """Do what the launcher asks, or for `supervise` and `ray` another of us."""
    if arguments[0] == "supervise":
        return supervisor.main(Path(arguments[1]))
    if arguments[0] == "ray":
        return ray_gang.main(arguments[1:])
    data = b""
    try:
        said = escaped(json.loads(_exactly(int(sys.stdin.buffer.readline())).decode()))
        answer = VERBS[arguments[0]](said)
        answer, data = answer if isinstance(answer, tuple) else (answer, b"")
        told: Said = {"ok": answer}
    except Refused as error:
        told = {"error": {"code": error.code, "detail": str(error)}}
    except ValueError as error:  # what no file, variable or argument can be
        told = {"error": {"code": "unsafe", "detail": str(error)}}
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "EIO")
        where = files.shown(os.fsencode(error.filename)) if isinstance(error.filename, (str, bytes)) else ""
        told = {"error": {"code": code, "detail": (error.strerror or str(error)) + (where and ": " + where)}}
    sys.stdout.buffer.write(json.dumps(told).encode("ascii") + b"\n" + data)
    sys.stdout.buffer.flush()
    return 0
