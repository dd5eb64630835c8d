"""Runs one program on every machine of a Slurm allocation: a script that needs the standard library and `srun` alone.

It runs on machines of all ages: nothing here is newer than Python 3.6. It travels as an argument, so nothing has to be
installed or found at a site: BOOT runs it. The leader, on the login node under the job's supervisor, starts the same
source as a rank on every machine by one `srun`, which carries the environment, secrets and all, and the output. How
each rank ended stands in a file of the job's folder, which the machines share, for `srun` cannot tell an exit code of
143 from SIGTERM, and answers SIGTERM by killing what it runs.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, Optional

POLL_S = 0.05
LEFTOVER_GRACE_S = 10.0  # for the other ranks once one has failed
END_S = 30.0  # for srun, once all ranks have ended or it was told to end them
LOG_BYTES = 4096
CALL_S = 30.0
LATE_S = 5.0  # for the file of a rank to show on a shared file system, once srun has ended
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells exit with
BOOT = "import sys; s = sys.argv[1]; n = {'__name__': 'gang'}; exec(s, n); sys.exit(n['main'](sys.argv[2:], s))"
ASK = signal.SIGURG  # reaches every process of a step, and only our own takes notice of it
SET_DEATH_SIGNAL = 1  # prctl: PR_SET_PDEATHSIG


class Leader:
    """One job on all machines."""

    def __init__(self, said: Dict[str, Any], source: str) -> None:
        job = os.path.dirname(os.environ["ISOFLOP_PROGRESS_FILE"])
        self._folder, self._log = os.path.join(job, "ranks"), os.path.join(job, "srun.log")
        self._said = dict(said, folder=self._folder, workdir=os.getcwd())
        self._source = source
        self._asked = self._told = False
        self._kill_at: Optional[float] = None

    def run(self) -> int:
        """The exit code of the rank that failed first; negative is a signal."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._ask())
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        mine = [self._said["python"], "-I", "-S", "-c", BOOT, self._source, "rank", json.dumps(self._said)]
        with open(self._log, "ab") as log:
            srun = subprocess.Popen(
                self._said["srun"] + mine,
                stdin=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=_apart,  # noqa: PLW1509 - one thread
            )
        while srun.poll() is None:
            self._look_after(srun)
            time.sleep(POLL_S)
        return self._verdict(int(srun.returncode))

    def _ask(self) -> None:
        self._asked = True

    def _look_after(self, srun: "subprocess.Popen[bytes]") -> None:
        now = time.monotonic()
        if self._kill_at is None and any(self._codes().values()):  # a gang that has lost a member does not finish
            self._asked, self._kill_at = True, now + LEFTOVER_GRACE_S
        if self._asked and not self._told:
            begun = len([name for name in os.listdir(self._folder) if name.startswith("begun-")])
            if not begun:
                self._told = True
                _send(srun, signal.SIGTERM)
            elif begun == self._said["nodes"]:
                self._told = self._pass_on()
        if self._kill_at is not None and now >= self._kill_at:
            _send(srun, signal.SIGTERM)  # by which srun kills all ranks
            self._kill_at = now + END_S

    def _pass_on(self) -> bool:
        """Ask every rank to end, which Slurm brings to them; False where it could not, and is to be asked again."""
        with open(os.path.join(self._folder, "begun-0")) as file:
            step = file.read().strip()
        with open(self._log, "ab") as log, contextlib.suppress(subprocess.TimeoutExpired):
            command = ["scancel", "--signal=URG", step]
            return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=CALL_S) == 0
        return False

    def _codes(self) -> Dict[int, int]:
        found = {}
        for number in range(self._said["nodes"]):
            with contextlib.suppress(OSError, ValueError), open(self._path(number)) as file:
                found[number] = int(file.read())
        return found

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, "ended-%d" % number)

    def _verdict(self, code: int) -> int:
        deadline = time.monotonic() + LATE_S
        codes = self._codes()
        while code == 0 and len(codes) < self._said["nodes"] and time.monotonic() < deadline:
            time.sleep(POLL_S)
            codes = self._codes()
        failed = sorted((os.stat(self._path(number)).st_mtime, each) for number, each in codes.items() if each)
        if failed:
            return failed[0][1]
        if len(codes) == self._said["nodes"]:
            return 0
        with contextlib.suppress(OSError), open(self._log, "rb") as log:  # srun could not, or machines were taken
            sys.stderr.buffer.write(log.read()[-LOG_BYTES:])
        return -signal.SIGTERM if self._asked else code or 1


def rank(said: Dict[str, Any]) -> int:
    """Run the program on this machine and write down how it ended."""
    number = int(os.environ.get("SLURM_PROCID", "0"))
    env = dict(os.environ, RANK=str(number), NODE_RANK=str(number), PET_NODE_RANK=str(number))
    env.update(said["env"])
    asked = threading.Event()
    signal.signal(ASK, lambda _number, _frame: asked.set())
    step = "%s.%s" % (os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID"))
    _put(os.path.join(said["folder"], "begun-%d" % number), step)
    code = _program(said, env, asked)
    _put(os.path.join(said["folder"], "ended-%d" % number), "%d" % code)
    return 0  # srun complains into the output about anything else


def _put(path: str, text: str) -> None:
    """Whole or not at all."""
    draft = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
    with open(draft, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, path)


def _program(said: Dict[str, Any], env: Dict[str, str], asked: threading.Event) -> int:
    try:
        process = subprocess.Popen(
            said["command"],
            cwd=said["workdir"],
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            preexec_fn=os.setpgrp,  # noqa: PLW1509 - one thread
        )
    except OSError as error:
        sys.stdout.write("isoflop: cannot start %r: %s\n" % (said["command"][0], error.strerror))
        sys.stdout.flush()
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    # Slurm's own SIGTERM, at the end of the allocation, reaches the program as it reaches us, who outlive it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told = False
    while process.poll() is None:
        if asked.is_set() and not told:
            told = True
            _group(process.pid, signal.SIGTERM)
        time.sleep(POLL_S)
    _group(process.pid, signal.SIGKILL)  # what it left behind would run on, unseen
    return int(process.returncode)


def _group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _send(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _apart() -> None:
    """Not in the leader's group, whose signals srun would answer by killing; it ends with the leader, though."""
    os.setsid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)


def main(arguments: List[str], source: str) -> int:
    """Be the leader or a rank."""
    said = json.loads(arguments[1])
    if arguments[0] == "rank":
        return rank(said)
    code = Leader(said, source).run()
    if code < 0:  # end as the program did
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
