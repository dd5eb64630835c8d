"""How long we take to read what a large Slurm site says: 500 nodes and 1 000 jobs, in the format of its commands.

    python benchmarks/bench_slurm.py [--rounds 5]

The text is made up, of the form that Slurm 22.05 to 25.11 print. Timed is our own work alone, from text to offers and
leases; what Slurm and the way to it take comes on top. The baseline in the same run is splitting the same text into
words. Exits 1 where the median is not below one second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta

from orchestrator.domain.lease import Lease, LeaseState
from orchestrator.domain.offerbook import OfferBook
from providers.slurm import pilots, records
from providers.slurm.settings import Rate, SiteSettings
from providers.slurm.translate import sales

NODES, JOBS, OURS, TARGET_S = 500, 1000, 200, 1.0
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SITE = SiteSettings(name="lab", rates=tuple(Rate(gres=word, usd_per_gpu_hour=1.0) for word in ("a100", "h100", "l4")))
PARTITIONS = "\n".join(
    f"PartitionName={name} State=UP MaxTime=1-00:00:00 MaxNodes=64 PriorityTier={tier} PreemptMode=REQUEUE GraceTime=0"
    for name, tier in (("batch", 10), ("long", 10), ("spot", 1))
)


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


def read(nodes: str, jobs: str) -> tuple[OfferBook, int]:
    """What the provider does with the answers."""
    found, _ = sales(SITE, records.nodes(nodes), records.partitions(PARTITIONS), NOW)
    return OfferBook.of([sale.offer for sale in found]), len(pilots.ours(records.jobs(jobs), "me", SITE, NOW))


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
    ours, splits = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        book, held = read(nodes, jobs)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        assert nodes.split()
        assert jobs.split("|")
        splits.append(time.perf_counter() - begun)
    assert held == OURS
    took, baseline = statistics.median(ours), statistics.median(splits)
    print(f"{NODES} nodes, {JOBS} jobs, {len(book)} offers, {held} leases: {took:.3f} s, target {TARGET_S:g} s")
    print(f"splitting the same text into words: {baseline:.4f} s ({took / baseline:.0f}x)")
    return 0 if took < TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
