"""How long we take to read what a large Slurm site says: 500 nodes and 1 000 jobs, as text of its commands and as JSON.

    python benchmarks/bench_slurm.py [--rounds 5]

The text is made up, of the form that Slurm 22.05 to 25.11 print; the JSON says the same as slurmrestd from 23.11 on,
with about as many fields for each job and node. Timed is our own work alone, from bytes to offers and leases; what
Slurm and the way to it take comes on top. Baselines in the same run are splitting the text into words and parsing the
JSON. Exits 1 where a median is not below one second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from orchestrator.domain.lease import Lease, LeaseState
from orchestrator.domain.offerbook import OfferBook
from providers.slurm import documents, pilots, records
from providers.slurm.settings import Rate, SiteSettings
from providers.slurm.translate import sales

NODES, JOBS, OURS, TARGET_S = 500, 1000, 200, 1.0
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SITE = SiteSettings(name="lab", rates=tuple(Rate(gres=word, usd_per_gpu_hour=1.0) for word in ("a100", "h100", "l4")))
TIERS = (("batch", 10), ("long", 10), ("spot", 1))
PARTITIONS = "\n".join(
    f"PartitionName={name} State=UP MaxTime=1-00:00:00 MaxNodes=64 PriorityTier={tier} PreemptMode=REQUEUE GraceTime=0"
    for name, tier in TIERS
)
Read = tuple[OfferBook, int]
T = TypeVar("T")


def node(number: int) -> str:
    """One line of `scontrol -d -o show node`."""
    word = ("a100", "h100", "l4")[number % 3]
    return (
        f"NodeName=n{number:04d} Arch=x86_64 CoresPerSocket=64  CPUAlloc={number % 64} CPUEfctv=128 CPUTot=128 "
        f"CPULoad=5.67 AvailableFeatures={word},ib ActiveFeatures={word},ib Gres=gpu:{word}:8(S:0-1) GresDrain=N/A "
        f"GresUsed=gpu:{word}:{number % 9}(IDX:0-7) NodeAddr=n{number:04d} NodeHostName=n{number:04d} Port=6818 "
        "Version=23.11.4 OS=Linux 5.14.0 #1 SMP PREEMPT_DYNAMIC RealMemory=1024000 AllocMem=64000 FreeMem=900000 "
        "Sockets=2 Boards=1 State=MIXED ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A "
        "Partitions=batch,long,spot BootTime=2026-11-22T00:44:02 CfgTRES=cpu=128,mem=1000G,billing=128,gres/gpu=8 "
        "AllocTRES=cpu=16,mem=62.50G CapWatts=n/a CurrentWatts=0 AveWatts=0"
    )


def job(number: int, lease: Lease) -> str:
    """One line of `squeue`, of which some are ours."""
    if number >= OURS:
        return f"{number}|train_{number}.sh|PENDING|Resources||N/A|N/A|0|(null)|"
    held = f"n[{number:04d}-{number + 3:04d}]"
    name = pilots.job_name("me", str(number))
    return f"{number}|{name}|RUNNING|None|{held}|2026-11-23T12:00:00|N/A|0|{pilots.comment(lease)}|"


def number(value: int) -> dict[str, object]:
    """As data_parser writes it."""
    return {"set": True, "infinite": False, "number": value}


def node_document(number_: int) -> dict[str, object]:
    """The same node as JSON; what is not read makes up the size."""
    word = ("a100", "h100", "l4")[number_ % 3]
    unread = {f"field_{each}": number(each) if each % 4 == 0 else "" for each in range(45)}
    return {
        "name": f"n{number_:04d}",
        "partitions": ["batch", "long", "spot"],
        "gres": f"gpu:{word}:8(S:0-1)",
        "gres_used": f"gpu:{word}:{number_ % 9}(IDX:0-7)",
        "cpus": 128,
        "effective_cpus": 128,
        "alloc_cpus": number_ % 64,
        "real_memory": 1024000,
        "specialized_memory": 0,
        "alloc_memory": 64000,
        "active_features": [word, "ib"],
        "state": ["MIXED"],
        "version": "24.11.5",
        "tres": "cpu=128,mem=1000G,billing=128,gres/gpu=8",
        **unread,
    }


def job_document(number_: int, lease: Lease) -> dict[str, object]:
    """The same job as JSON; a real one has 150 fields."""
    ours = number_ < OURS
    unread = {f"field_{each}": number(each) if each % 4 == 0 else "" for each in range(135)}
    return {
        "job_id": number_ + 1,
        "name": pilots.job_name("me", str(number_)) if ours else f"train_{number_}.sh",
        "user_name": "me",
        "job_state": ["RUNNING"] if ours else ["PENDING"],
        "state_reason": "None" if ours else "Resources",
        "nodes": f"n[{number_:04d}-{number_ + 3:04d}]" if ours else "",
        "end_time": number(1795435200 if ours else 0),
        "preempt_time": number(0),
        "restart_cnt": 0,
        "comment": pilots.comment(lease) if ours else "",
        **unread,
    }


def partition_document(name: str, tier: int) -> dict[str, object]:
    """The same partition as JSON."""
    return {
        "name": name,
        "partition": {"state": ["UP"]},
        "maximums": {"time": number(1440), "nodes": number(64)},
        "priority": {"tier": tier},
        "grace_time": 0,
    }


def offered(nodes: list[records.Node], partitions: list[records.Partition], jobs: list[records.QueuedJob]) -> Read:
    """What the provider does with what it has read."""
    found, _ = sales(SITE, nodes, partitions, NOW)
    return OfferBook.of([sale.offer for sale in found]), len(pilots.ours(jobs, "me", SITE, NOW))


def timed(work: Callable[[], T], rounds: int) -> tuple[T, float]:
    """What it gave, and the median of its seconds."""
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        given = work()
        took.append(time.perf_counter() - begun)
    return given, statistics.median(took)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    nodes = "\n".join(node(number) for number in range(NODES))
    found, _ = sales(SITE, records.nodes(nodes), records.partitions(PARTITIONS), NOW)
    lease = Lease(
        id="lab/1",
        provider="slurm",
        token="t",  # noqa: S106 - no secret
        owner="me",
        offer=found[0].offer,
        nodes=4,
        state=LeaseState.BOOTING,
        usd_per_hour=1.0,
        acquired_at=NOW - timedelta(hours=1),
    )
    jobs = "\n".join(job(number, lease) for number in range(JOBS))
    said = {
        "nodes": json.dumps({"nodes": [node_document(each) for each in range(NODES)]}),
        "partitions": json.dumps({"partitions": [partition_document(*each) for each in TIERS]}),
        "jobs": json.dumps({"jobs": [job_document(each, lease) for each in range(JOBS)]}),
    }

    def from_text() -> Read:
        return offered(records.nodes(nodes), records.partitions(PARTITIONS), records.jobs(jobs))

    def from_json() -> Read:
        parsed = {name: json.loads(text) for name, text in said.items()}
        read = (documents.nodes(parsed["nodes"]), documents.partitions(parsed["partitions"]))
        return offered(*read, documents.jobs(parsed["jobs"], "me"))

    _, splitting = timed(lambda: (nodes.split(), jobs.split("|")), rounds)
    _, parsing = timed(lambda: [json.loads(text) for text in said.values()], rounds)
    rows = (
        ("text", len(nodes) + len(jobs), from_text, "splitting it into words", splitting),
        ("JSON", sum(map(len, said.values())), from_json, "parsing it", parsing),
    )
    slowest = 0.0
    for name, size, work, baseline, baseline_s in rows:
        (book, held), took = timed(work, rounds)
        assert held == OURS
        slowest = max(slowest, took)
        print(
            f"{name}: {NODES} nodes, {JOBS} jobs, {size / 1e6:.1f} MB, {len(book)} offers, {held} leases: "
            f"{took:.3f} s, target {TARGET_S:g} s; {baseline}: {baseline_s:.4f} s ({took / baseline_s:.0f}x)"
        )
    return 0 if slowest < TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
