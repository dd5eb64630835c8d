"""What a controller takes to watch leases: memory and the time of a tick, against none and against its log as JSON.

    python benchmarks/bench_controller.py [--leases 0,1000] [--json]

Every lease is a run of its own in the real store: submitted, planned with 20 candidates, bought, launched, running.
Provider and launcher are played by this program, and answer at once. The controller is the real one with its threads:
it takes over, lists the leases, and ticks; every tick lists all leases and polls every job, which is more often than
settings have it. *Memory* is what Python's allocator holds (tracemalloc) and what the process occupies beyond its
start (RSS), less what one that watches nothing takes. The baseline, *log*, is the events of the same runs as parsed
JSON, in dicts and lists. *Tick* is the median of the time on all cores that a tick and the calls that it begins take.

Rows of 5 000 leases take minutes, most of them traced. The goal, 70 MiB per 1 000, is what their failover orders are:
20 placements with sizing, costs and terms, 58 kB for each run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.domain.events import (
    Event,
    Launched,
    LaunchIntended,
    Moved,
    Planned,
    Purchased,
    PurchaseIntended,
    Submitted,
)
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.run import RunState
from orchestrator.runtime.calls import ThreadCalls
from orchestrator.runtime.clock import SystemClock
from orchestrator.runtime.controller import Controller, ControllerSettings, Stamped
from orchestrator.runtime.gateway import ThreadGateway
from orchestrator.runtime.store import SqliteStore
from orchestrator.testing import builders

CANDIDATES, TICKS, BATCH = 20, 7, 200
GOAL_MIB = 70.0  # per 1 000 leases
MIB = 1 << 20
OWNER, PROVIDER = "bench", "acme"


def seed(store: SqliteStore, count: int) -> None:
    """Runs in the store, each with a lease and a job."""
    now = datetime.now(UTC)
    fence = store.lead("seeding", now=now, ttl_s=600.0)
    assert fence is not None
    for first in range(0, count, BATCH):
        runs = [story(number, now, fence) for number in range(first, min(count, first + BATCH))]
        store.append([event for events in runs for event in events], fence=fence)
    store.resign("seeding")


def an_offer(number: int, rank: int) -> Offer:
    """One of a run's candidates."""
    return builders.offer(provider=PROVIDER, region=f"region-{rank}", instance_type=f"type-{number % 50}-{rank}")


def a_lease(number: int, now: datetime) -> Lease:
    """What a run holds."""
    return builders.lease(
        id=f"lease-{number}",
        provider=PROVIDER,
        token=f"run-{number}-1",
        owner=OWNER,
        offer=an_offer(number, 0),
        acquired_at=now,
        endpoints=(Endpoint(launcher="bench", address=f"10.0.{number >> 8}.{number & 255}", path="/lease"),),
    )


def story(number: int, now: datetime, fence: int) -> list[Event]:
    """A run's events up to a job that runs."""
    run_id = f"run-{number}"
    lease, token = a_lease(number, now), f"{run_id}-1"
    workload = builders.training(name=run_id, program=builders.program(command=("python", "train.py", run_id)))
    offers = [an_offer(number, rank) for rank in range(CANDIDATES)]
    plan = builders.plan_of(*map(builders.placement_on, offers), workload=workload, made_at=now)
    handle = Handle(launcher="bench", lease_id=lease.id, id=token, started_at=now)

    def moved(to: RunState) -> Moved:
        return Moved(run_id=run_id, at=now, to=to, cause="as it goes")

    return [
        Submitted(run_id=run_id, at=now, workload=workload),
        moved(RunState.PLANNING),
        Planned(run_id=run_id, at=now, plan=plan),
        moved(RunState.ACQUIRING),
        PurchaseIntended(
            run_id=run_id,
            at=now,
            token=token,
            candidate=0,
            offer=offers[0],
            nodes=1,
            usd_per_hour=lease.usd_per_hour,
            fence=fence,
        ),
        Purchased(run_id=run_id, at=now, token=token, lease=lease),
        moved(RunState.STARTING),
        LaunchIntended(run_id=run_id, at=now, token=token),
        Launched(run_id=run_id, at=now, token=token, handle=handle),
        moved(RunState.RUNNING),
    ]


class Seller:
    """A provider that holds the leases, and makes each anew for every listing, as one that asks an API does."""

    name = PROVIDER

    def __init__(self, leases: Sequence[Lease]) -> None:
        self._leases = leases

    def offers(self) -> OfferBook:
        return OfferBook.of([])

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        raise NotImplementedError

    def release(self, lease_id: str) -> None:
        raise NotImplementedError

    def leases(self) -> list[Lease]:
        return [replace(lease, offer=replace(lease.offer), state=LeaseState.READY) for lease in self._leases]


class Runner:
    """A launcher whose jobs run, and report nothing: what is reported is stored, a transaction for each run."""

    name = "bench"

    def start(self, lease: Lease, job: Job) -> Handle:
        raise NotImplementedError

    def poll(self, handle: Handle) -> JobStatus:  # noqa: ARG002 - a launcher's signature
        return JobStatus(state=JobState.RUNNING)

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:  # noqa: ARG002 - a launcher's signature
        return iter(())

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Taken:
    """What a controller that watches `leases` takes, or what their log does as JSON."""

    leases: int
    python_mib: float
    rss_mib: float
    take_over_s: float = 0.0
    tick_s: float = 0.0


def watched(path: Path, count: int) -> Taken:
    """A controller that takes over the store at `path`, in this process."""
    leases = [a_lease(number, datetime.now(UTC)) for number in range(count)]
    store, calls = SqliteStore(path), ThreadCalls[Stamped]()
    controller = Controller(
        store=store,
        gateway=ThreadGateway({PROVIDER: Seller(leases)}),
        launchers={"bench": Runner()},
        planner=lambda _workload: builders.plan_of(),
        clock=SystemClock(),
        owner=OWNER,
        holder="bench",
        settings=ControllerSettings(checkpoints=path.parent, poll_every_s=0.0, look_every_s=0.0, leader_ttl_s=1e5),
        calls=calls,
    )
    with counted() as held:
        ticks = []
        for _ in range(1 + (1 if tracemalloc.is_tracing() else TICKS)):
            began = time.process_time()
            controller.tick()
            while len(calls.busy()) > calls._done.qsize():  # what it began is still at work
                time.sleep(0.005)
            ticks.append(time.process_time() - began)
    store.close()
    return Taken(count, *held(), ticks[0], statistics.median(ticks[1:]))


def logged(path: Path, count: int) -> Taken:
    """The log of the store at `path` as parsed JSON, in this process."""
    with counted() as held, closing(sqlite3.connect(path)) as db:
        events = [json.loads(body) for (body,) in db.execute("SELECT body FROM events ORDER BY seq")]
    assert len(events) >= count
    return Taken(count, *held())


@contextmanager
def counted() -> Iterator[Callable[[], tuple[float, float]]]:
    """What is held more in the end than in the beginning: MiB of Python's allocator, if it is traced, and RSS."""
    gc.collect()
    traced, rss = tracemalloc.get_traced_memory()[0], rss_mib()
    found: list[tuple[float, float]] = []
    yield lambda: found[0]
    gc.collect()
    found.append(((tracemalloc.get_traced_memory()[0] - traced) / MIB, rss_mib() - rss))


def rss_mib() -> float:
    """What this process occupies."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def elsewhere(what: str, path: Path, count: int) -> Taken:
    """The same in a process of its own: tracing slows, so memory and time are of two."""
    found = []
    for traced in ("", "--traced"):
        command = [sys.executable, __file__, "--worker", what, str(path), str(count), *[traced] * bool(traced)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(Taken(**json.loads(done.stdout)))
    return replace(found[0], python_mib=found[1].python_mib)


def worker(arguments: Sequence[str]) -> int:
    """`--worker WHAT PATH COUNT [--traced]`."""
    what, path, count, *traced = arguments
    if traced:
        tracemalloc.start()
    print(json.dumps(asdict({"controller": watched, "log": logged}[what](Path(path), int(count)))))
    return 0


def main() -> int:
    """Print the table; 1 where a target is missed."""
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--leases", default="0,1000")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows: dict[int, dict[str, Taken]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, arguments.leases.split(",")):
            path = Path(folder) / f"{count}.db"
            with closing(SqliteStore(path)) as store:
                seed(store, count)
            rows[count] = {what: elsewhere(what, path, count) for what in ("controller", "log")}
    base = rows[min(rows)]["controller"]
    missed = False
    table = []
    for count, row in rows.items():
        own, log, thousands = row["controller"], row["log"], count / 1000.0
        row_out: dict[str, float] = {"leases": count, **{f"controller_{k}": v for k, v in asdict(own).items()}}
        if thousands:
            per = (own.python_mib - base.python_mib) / thousands
            row_out |= {
                "python_mib_per_1000": per,
                "rss_mib_per_1000": (own.rss_mib - base.rss_mib) / thousands,
                "log_mib_per_1000": log.python_mib / thousands,
                "ratio_to_log": per * thousands / log.python_mib,
                "tick_ms_per_1000": 1000.0 * (own.tick_s - base.tick_s) / thousands,
            }
            missed = missed or per > GOAL_MIB
        table.append(row_out)
    if arguments.json:
        print(json.dumps({"rows": table, "goal_mib_per_1000": GOAL_MIB}, indent=2))
        return int(missed)
    head = f"{'leases':>7}{'Python':>10}{'RSS':>10}{'tick':>10}{'take over':>11}"
    print(f"{head}   per 1 000: Python, RSS, log, Python / log, tick")
    for each in table:
        line = f"{each['leases']:>7}{each['controller_python_mib']:>6.1f} MiB{each['controller_rss_mib']:>6.1f} MiB"
        line += f"{1000 * each['controller_tick_s']:>7.1f} ms{each['controller_take_over_s']:>9.2f} s"
        if "ratio_to_log" in each:
            line += f"   {each['python_mib_per_1000']:.1f} MiB {each['rss_mib_per_1000']:.1f} MiB"
            line += f" {each['log_mib_per_1000']:.1f} MiB {each['ratio_to_log']:.2f} {each['tick_ms_per_1000']:.1f} ms"
            line += f"   goal {GOAL_MIB:g} MiB: {'met' if each['python_mib_per_1000'] <= GOAL_MIB else 'MISSED'}"
        print(line)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
