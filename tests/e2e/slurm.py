"""A real Slurm on this machine: munged, slurmctld, slurmrestd, several slurmd with GPUs that are made up, their end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.offer import Offer
from tests.e2e import processes

PACKAGES = "munge slurmctld slurmd slurm-client slurmrestd slurm-wlm-jwt-plugin"
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
REST_PROGRAMS = ("slurmrestd",)
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")
ACCOUNTING_PACKAGES = f"{PACKAGES} slurmdbd mariadb-server-core mariadb-client-core"
REST_USER = "nobody"  # slurmrestd refuses to be root or Slurm's own user
PATIENCE_S = 30.0

CONF = """\
ClusterName=isoflop
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
MessageTimeout=5
TCPTimeout=2
InactiveLimit=0
KillWait=2
MpiDefault=none
PropagateResourceLimits=NONE
{more}
{nodes}
PartitionName=batch Nodes=a100-0,a100-1 Default=YES MaxTime=7-0 MaxNodes=2 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes=l4-0 MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=spot Nodes=ALL MaxTime=4:00:00 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
"""
DAEMON_OF_ACCOUNTS = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage}
StorageUser=root
StorageLoc=slurm_acct
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
TOKENS = """\
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
"""


class NodeKind(NamedTuple):
    """A made-up machine."""

    name: str
    cpus: int
    memory_mb: int
    word: str
    gpus: int


NODES = (
    NodeKind("a100-0", 16, 64000, "a100", 4),
    NodeKind("a100-1", 16, 64000, "a100", 4),
    NodeKind("l4-0", 8, 32000, "l4", 2),
    NodeKind("odd-0", 8, 32000, "wafer9", 1),
)


def needed(*more: str, packages: str = PACKAGES) -> None:
    """Skip the test where Slurm, with `more` programs, cannot be run; fail it in CI, which installs it and is root."""
    missing = [program for program in (*PROGRAMS, *more) if shutil.which(program, path=SEARCH) is None]
    if "slurmrestd" in more and not list(Path("/usr/lib").glob("*/slurm*/auth_jwt.so")):
        missing.append("auth_jwt.so")
    reason = ""
    if missing:
        reason = f"{', '.join(missing)} not installed: apt-get install {packages}"
    elif os.geteuid() != 0:
        reason = "a Slurm of several nodes on one machine is run by root alone"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def offer(provider: Provider, zone: str, gpus: int) -> Offer:
    """What is sold of a partition by so many GPUs a node."""
    return next(each for each in provider.offers() if (each.zone, each.gpus) == (zone, gpus))


def until(holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait until `holds()`; fail where it does not come to that."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Cluster:
    """Four nodes in three partitions, one of which is pre-empted by the others; use it in a `with`.

    With `rest` there is slurmrestd too, at `rest_url` and on `rest_socket`, which takes the tokens of `scontrol token`.
    With `accounting` there is slurmdbd over a MariaDB, and limits are enforced.
    """

    def __init__(self, *, rest: bool = False, accounting: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="isoflop-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.conf = self.folder / "slurm.conf"
        self.env = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": SEARCH}
        self.rest_socket, self.rest_url = "", ""
        self._rest, self._accounting = rest, accounting
        self._database, self._accounts = _ports(2)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._configure()
            self._start_munge()
            if self._accounting:
                self._start_accounting()
            self.start_controller()
            for kind in NODES:
                self.start_node(kind.name)
            if self._rest:
                self.start_rest()
            self.until(lambda: self._idle() == len(NODES))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(subprocess.SubprocessError):
                self._cancel()
                self.until(lambda: not self._jobs(), within_s=10.0)
        except AssertionError:  # a node that a test has ended does not come back for its jobs
            pass
        finally:
            self._end()

    def run(self, *argv: str) -> str:
        """What an operator's command prints."""
        done = subprocess.run(list(argv), env=self.env, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise subprocess.SubprocessError(f"{argv}: {done.stderr.strip()}")
        return done.stdout

    def clear(self) -> None:
        """End every job and wait until its nodes are free."""
        self._cancel()
        self.until(lambda: not self._jobs())
        self.until(lambda: self._idle() == len(NODES))

    def start_controller(self) -> None:
        """Start slurmctld, which goes on from the state that it left."""
        self._start("slurmctld", "slurmctld", "-D", "-i")
        self.until(
            lambda: (
                "UP"
                in subprocess.run(
                    ["scontrol", "ping"], env=self.env, capture_output=True, text=True, check=False
                ).stdout
            )
        )

    def stop(self, name: str) -> None:
        """End a daemon that was started: `slurmctld`, or a node's slurmd by the node's name."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd."""
        (self.folder / "spool" / name).mkdir(parents=True, exist_ok=True)
        self._start(name, "slurmd", "-D", "-N", name)

    def start_rest(self) -> None:
        """Start slurmrestd, at the address that it had before."""
        home, user = self.folder / "rest", pwd.getpwnam(REST_USER)
        home.mkdir(exist_ok=True)
        os.chown(home, user.pw_uid, user.pw_gid)
        self.rest_socket, self.rest_url = str(home / "socket"), self.rest_url or f"http://127.0.0.1:{_ports(1)[0]}"
        Path(self.rest_socket).unlink(missing_ok=True)
        plugins = ("-s", "slurmctld" if self._version() >= (23, 11) else "openapi/v0.0.38")  # none that want slurmdbd
        where = (f"unix:{self.rest_socket}", self.rest_url.removeprefix("http://"))
        arguments = (*plugins, "-a", "rest_auth/jwt", *where)
        self._start(
            "slurmrestd", "slurmrestd", *arguments, uid=user.pw_uid, gid=user.pw_gid, env={"SLURM_JWT": "daemon"}
        )
        self.until(lambda: _listens(self.rest_url.removeprefix("http://")))

    def until(self, holds: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
        """Wait until `holds()`; fail where it does not come to that."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.05)

    def _configure(self) -> None:
        for name in ("munge", "state", "spool", "dev"):
            (self.folder / name).mkdir()
        host, ports = socket.gethostname().split(".")[0], _ports(len(NODES) + 1)
        lines, devices = [], []
        for kind, port in zip(NODES, ports[1:], strict=True):
            lines.append(
                f"NodeName={kind.name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={kind.cpus} Boards=1 "
                f"SocketsPerBoard=1 CoresPerSocket={kind.cpus} ThreadsPerCore=1 RealMemory={kind.memory_mb} "
                f"Gres=gpu:{kind.word}:{kind.gpus} Feature={kind.word},made-up State=UNKNOWN"
            )
            files = f"{self.folder}/dev/gpu[0-{kind.gpus - 1}]" if kind.gpus > 1 else f"{self.folder}/dev/gpu0"
            devices.append(f"NodeName={kind.name} Name=gpu Type={kind.word} File={files}")
        for number in range(max(kind.gpus for kind in NODES)):  # slurmd insists on a character device
            (self.folder / "dev" / f"gpu{number}").symlink_to("/dev/null")
        text = CONF.format(host=host, port=ports[0], folder=self.folder, more=self._more(), nodes="\n".join(lines))
        self.conf.write_text(text)
        self.conf.with_name("gres.conf").write_text("AutoDetect=off\n" + "\n".join(devices) + "\n")
        plugin = "disabled" if self._version() >= (24, 5) else "cgroup/v1"  # neither touches cgroups here
        self.conf.with_name("cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")

    def _more(self) -> str:
        """Lines of the configuration for what is there besides controller and nodes."""
        accounts = ACCOUNTING.format(folder=self.folder, port=self._accounts) if self._accounting else NO_ACCOUNTING
        if not self._rest:
            return accounts
        key = self.folder / "jwt.key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o600)
        return TOKENS.format(folder=self.folder) + accounts

    def _version(self) -> tuple[int, int]:
        said = subprocess.run(["slurmctld", "-V"], env=self.env, capture_output=True, text=True, check=True).stdout
        year, month = said.split()[1].split(".")[:2]
        return int(year), int(month)

    def _start_munge(self) -> None:
        home = self.folder / "munge"
        (home / "key").write_bytes(os.urandom(128))
        (home / "key").chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        flags = [f"--{flag}={home / name}" for flag, name in files.items()]
        self._start("munged", "munged", "--foreground", "--force", *flags)
        self.until((home / "socket").exists)

    def _start_accounting(self) -> None:
        """A MariaDB of our own, slurmdbd on it, and the cluster in its books; 4 s, and up to 12 on slow cores."""
        data, user = self.folder / "mariadb", pwd.getpwnam(REST_USER)
        data.mkdir()
        os.chown(data, user.pw_uid, user.pw_gid)
        said = (self.folder / "mariadb-install.out").open("wb")
        with said:
            flags = ("--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db")
            command = ["mariadb-install-db", *flags, f"--user={REST_USER}", f"--datadir={data}"]
            subprocess.run(command, env=self.env, stdout=said, stderr=said, check=True, timeout=60)
        where = (f"--datadir={data}", f"--socket={data}/socket", "--bind-address=127.0.0.1", f"--port={self._database}")
        sizes = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--performance-schema=off")
        quick = ("--innodb-flush-log-at-trx-commit=2", "--innodb-lock-wait-timeout=900", "--skip-name-resolve")
        arguments = ("--no-defaults", *where, *sizes, *quick)
        self._start("mariadbd", "mariadbd", *arguments, uid=user.pw_uid, gid=user.pw_gid)
        self.until(lambda: _listens(f"127.0.0.1:{self._database}"))
        text = DAEMON_OF_ACCOUNTS.format(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            port=self._accounts,
            storage=self._database,
        )
        conf = self.conf.with_name("slurmdbd.conf")
        conf.write_text(text + (TOKENS.format(folder=self.folder) if self._rest else ""))
        conf.chmod(0o600)
        self._start("slurmdbd", "slurmdbd", "-D")
        self.until(lambda: _listens(f"127.0.0.1:{self._accounts}"))
        for words in (("cluster", "isoflop"), ("account", "lab"), ("user", "root", "Account=lab")):
            self.run("sacctmgr", "-i", "add", *words)

    def _start(
        self,
        name: str,
        program: str,
        *arguments: str,
        uid: int | None = None,
        gid: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        path = shutil.which(program, path=SEARCH)
        assert path is not None
        with (self.folder / f"{name}.out").open("ab") as said:
            self._processes[name] = subprocess.Popen(
                [path, *arguments],
                env={**self.env, **(env or {})},
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _jobs(self) -> list[str]:
        return self.run("squeue", "-h", "-a", "-o", "%i").split()

    def _cancel(self) -> None:
        jobs = self._jobs()
        if jobs:
            with suppress(subprocess.SubprocessError):  # newer versions complain about jobs that have ended
                self.run("scancel", "--signal=KILL", "--full", *jobs)
            with suppress(subprocess.SubprocessError):
                self.run("scancel", *jobs)

    def _idle(self) -> int:
        found = self.run("sinfo", "-h", "-N", "-p", "spot", "-o", "%N %T").splitlines()
        return sum(line.split()[1] == "idle" for line in found)

    def _logs(self) -> str:
        said = [f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in sorted(self.folder.glob("*.log"))]
        return "\n".join(said + [f"{out.name}: {out.read_text()[-400:]}" for out in sorted(self.folder.glob("*.out"))])

    def _end(self) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)
        # Steps of nodes whose daemon was ended under them, and what they run: nobody else ends them.
        for pid in processes.having(f"SLURM_CONF={self.conf}"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def _listens(place: str) -> bool:
    host, _, port = place.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _ports(count: int) -> Sequence[int]:
    """Ports that nobody listens on now."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(each.getsockname()[1]) for each in taken]
    for each in taken:
        each.close()
    return found
