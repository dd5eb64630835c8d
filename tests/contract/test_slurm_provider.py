"""The Slurm provider keeps the promises of a provider, on real Slurm daemons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Lease
from orchestrator.domain.offer import Offer
from orchestrator.kit.shell.command import Done
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.clock import SystemClock
from orchestrator.testing.accounts import Refusal, Spoilt
from orchestrator.testing.provider_contract import OWNER, Account, ProviderContract
from providers.slurm.provider import SlurmProvider
from providers.slurm.settings import NAME, Rate, SiteSettings, SlurmSettings
from tests.e2e import slurm

WAITED = 5  # looks of an account until the cluster takes what it has announced


class Moody:
    """A shell on a login node that has bad days."""

    name = "this machine"

    def __init__(self) -> None:
        self._shell = LocalShell(NAME)
        self.losing: set[str] = set()  # commands whose next answer is lost
        self.saying: dict[str, Done] = {}  # what commands answer instead of being run, by name; "" is every one
        self.times = -1  # how often they do

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        """See Shell.run."""
        said = self.saying.get(argv[0], self.saying.get(""))
        if said is not None and self.times != 0:
            self.times -= 1
            return said
        done = self._shell.run(argv, stdin=stdin, timeout_s=timeout_s, env=env, folder=folder)
        if argv[0] in self.losing:
            self.losing.discard(argv[0])
            raise TransientError(NAME, "the connection was lost while a command ran")
        return done


REFUSALS = {
    Refusal.THROTTLED: "squeue: error: Slurm temporarily unable to accept job, sleeping and retrying",
    Refusal.FAILED: "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    Refusal.WRONG_KEY: "sbatch: error: Batch job submission failed: Access/permission denied",
    Refusal.EXPIRED: "error: Munge decode failed: Expired credential",
    Refusal.CLOCK_SKEW: "error: Munge decode failed: Rewound credential; the clock of this node is wrong",
}
SPOILT = {
    Spoilt.WEB_PAGE: Done(0, b"<html><body>Bad gateway</body></html>\n", b""),
    Spoilt.CUT_OFF: Done(0, b"17|isoflop-ab", b""),
    Spoilt.ERROR_IN_SUCCESS: Done(0, b"slurm_load_jobs error: Invalid request\n", b""),
    Spoilt.FAILED: Done(1, b"", b"slurm_load_jobs error: Socket timed out on send/recv operation\n"),
}


def site(cluster: slurm.Cluster, **changes: object) -> SiteSettings:
    settings: dict[str, object] = {
        "name": "here",
        "folder": f"{cluster.folder}/jobs",
        "slurm_conf": str(cluster.conf),
        "rates": (
            Rate(gres="a100", accelerator="A100-80GB", usd_per_gpu=15000.0, watts=500.0, usd_per_kwh=0.2),
            Rate(gres="l4", usd_per_gpu_hour=0.3),
            Rate(gres="wafer9", usd_per_gpu_hour=2.0),
        ),
        **changes,
    }
    return SiteSettings(**settings)  # type: ignore[arg-type]


class SlurmAccount(Account):
    def __init__(self, cluster: slurm.Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self._doomed: list[tuple[str, int]] = []
        self._shell = Moody()

    def provider(self, owner: str) -> Provider:
        return SlurmProvider(
            owner=owner,
            settings=SlurmSettings((site(self._cluster),)),
            clock=SystemClock(),
            state_dir=self._folder,
            shells={"here": self._shell},
        )

    def wait(self, seconds: float) -> None:
        time.sleep(min(0.2 * seconds, 0.3))
        for job, looks in list(self._doomed):
            self._doomed.remove((job, looks))
            if looks:
                self._doomed.append((job, looks - 1))
            else:
                self._cluster.run("scancel", job)

    def lose_next_answer(self) -> Provider:
        self._shell.losing.add("sbatch")
        return self.provider(OWNER)

    def lose_next_release(self) -> None:
        self._shell.losing.add("scancel")

    def sell_out(self, offer: Offer) -> None:
        refused = b"sbatch: error: Batch job submission failed: Requested node configuration is not available\n"
        self._shell.saying["sbatch"] = Done(1, b"", refused)

    def use_quota_up(self, offer: Offer) -> None:
        refused = b"sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)\n"
        self._shell.saying["sbatch"] = Done(1, b"", refused)

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        self._shell.saying[""] = Done(1, b"", REFUSALS[how].encode())
        self._shell.times = times

    def spoil(self, how: Spoilt, *, listing: bool) -> None:
        if how not in SPOILT:
            pytest.skip("Slurm's commands have no pages")
        self._shell.saying["squeue" if listing else "sh"] = SPOILT[how]

    def mend(self) -> None:
        self._shell.saying.clear()
        self._shell.losing.clear()
        self._shell.times = -1

    def announce_reclaim(self, lease: Lease) -> None:
        job = dict(lease.endpoints[0].env)["ISOFLOP_SLURM_JOB"]
        self._cluster.run("scontrol", "update", f"jobid={job}", "timelimit=5")
        self._doomed.append((job, WAITED))

    def hide_next(self, seconds: float) -> None:
        pytest.skip("Slurm hides no job from who submitted it")

    def mishaps(self) -> tuple[Callable[[], object], ...]:
        return (
            self._preempt,
            lambda: self._shell.losing.add("sbatch"),
            lambda: self._shell.losing.add("scancel"),
            lambda: self.refuse(Refusal.FAILED, times=1),
        )

    def really_held(self) -> int:
        listed = self._cluster.run("squeue", "-h", "-a", "-t", "PD,R,CF,CG", "-o", "%D").split()
        return sum(int(nodes) for nodes in listed)

    def _preempt(self) -> None:
        self._cluster.run("scancel", "--state=RUNNING", "--partition=spot", "--user=root")


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    slurm.needed()
    with slurm.Cluster() as running:
        yield running


class TestSlurmProvider(ProviderContract):
    @pytest.fixture
    def account(self, cluster: slurm.Cluster, tmp_path: Path) -> Iterator[Account]:
        yield SlurmAccount(cluster, tmp_path)
        cluster.clear()
