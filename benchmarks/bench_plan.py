"""How fast a plan is: time and memory by number of offers, against a plain Python loop over the same offers.

    python benchmarks/bench_plan.py [--json]

Each size runs in a process of its own, so that its peak memory is its own. The loop does the same arithmetic (nodes,
hours, compute, boot, interruption) one offer at a time and keeps the best; times are the best of several runs, and the
ratio compares two numbers of one process. Real offers are read where a folder `../shared/data` lies beside the
repository; elsewhere the same number of made-up ones stands in.
"""

from __future__ import annotations

import argparse
import csv
import gc
import gzip
import json
import math
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Limits, Training
from orchestrator.planning.plan import plan
from orchestrator.sizing.size import size
from orchestrator.testing.builders import model, network
from orchestrator.testing.clock import EPOCH
from policies.cost.policy import create as create_cost
from policies.latency.policy import create as create_latency

REAL = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "offers.csv.gz"
REAL_COUNT = 4653
SIZES = (1_000, REAL_COUNT, 10_000, 100_000, 1_000_000)
LOOP_LIMIT = 100_000  # the loop takes too long beyond
TARGETS_MS = {REAL_COUNT: 5.0, 100_000: 50.0}
TARGET_MIB = 200.0
DEVICES = {  # GiB, dense bf16 TFLOP/s: enough to size with; the product's own table is not what is measured here
    "T4": (16, 65), "L4": (24, 121), "A10": (24, 125), "A10G": (24, 70), "V100": (16, 125), "A100": (40, 312),
    "A100-80GB": (80, 312), "H100": (80, 989), "H200": (141, 989), "L40S": (48, 362), "B200": (180, 2250),
    "MI300X": (192, 1307), "A6000": (48, 155), "RTXPRO6000": (96, 500), "GB200": (186, 2500),
}  # fmt: skip


def accelerators() -> tuple[Accelerator, ...]:
    """The devices of the benchmark."""
    return tuple(
        Accelerator(
            name=name,
            vendor="any",
            memory_gib=float(memory),
            memory_bandwidth_gb_s=20.0 * memory,
            peak_tflops=((Precision.FP32, peak / 8), (Precision.FP16, float(peak)), (Precision.BF16, float(peak))),
            tdp_w=400.0,
        )
        for name, (memory, peak) in DEVICES.items()
    )


def rows() -> list[dict[str, str]]:
    """The real offers, one row each, or made-up ones in the same columns."""
    if REAL.exists():
        with gzip.open(REAL, "rt") as file:
            return list(csv.DictReader(file))
    names = list(DEVICES)
    return [
        {
            "provider": f"p{i % 8}",
            "region": f"r{i % 97}",
            "zone": "",
            "instance_type": f"t{i}",
            "gpu": names[i % len(names)],
            "gpu_count": str(2 ** (i % 4)),
            "on_demand": str(1.0 + (i * 37 % 101) / 10),
            "spot": "",
        }
        for i in range(REAL_COUNT)
    ]


def book(count: int) -> OfferBook:
    """`count` offers: the real ones, repeated under other instance types with prices moved by up to 20 %."""
    real = rows()
    index = np.arange(count) % len(real)
    again = np.arange(count) // len(real)
    rng = np.random.default_rng(7)
    spot = np.array([bool(row["spot"]) for row in real])[index] & (rng.random(count) < 0.5)
    price = np.array([float(row["on_demand"] or row["spot"] or "nan") for row in real])[index]
    price *= np.where(spot, 0.4, 1.0) * np.where(again > 0, rng.uniform(0.8, 1.2, count), 1.0)
    hazard = np.where(spot, np.where(rng.random(count) < 0.5, np.nan, 0.01), 0.0)

    def words(name: str) -> Words:
        column = Words.encode([row[name] for row in real])
        return Words(column.codes[index], column.vocab)

    kinds = words("instance_type")
    copies = int(again.max()) + 1
    vocab = tuple(f"{word}#{copy:06}" for word in kinds.vocab for copy in range(copies))
    constant = {name: Words(np.zeros(count, np.int32), (value,)) for name, value in
                (("tier", "cloud"), ("fabric", ""), ("source", "benchmark"))}  # fmt: skip
    numbers = {"vcpus": 8.0, "host_memory_gib": 64.0, "boot_s": 180.0, "min_billing_s": 60.0}
    return OfferBook.from_columns(
        {
            **{name: words(name) for name in ("provider", "region", "zone")},
            "instance_type": Words((kinds.codes * copies + again).astype(np.int32), vocab),
            "accelerator": words("gpu"),
            "billing": Words(spot.astype(np.int32), ("on-demand", "spot")),
            **constant,
            **{name: np.full(count, value) for name, value in numbers.items()},
            "gpus": np.array([float(row["gpu_count"] or "nan") for row in real])[index],
            "usd_per_hour": price,
            "interruption_rate": hazard,
            "available": np.where(rng.random(count) < 0.3, rng.integers(0, 64, count), -1),
            "observed_at": np.full(count, int(EPOCH.timestamp())),
        }
    ).sort()


def loop(workload: Training, snapshot: Snapshot) -> float:
    """The baseline: one offer at a time, in plain Python; the least objective in USD."""
    sizings, left_h = size(workload, snapshot.accelerators), (workload.limits.deadline_s or math.inf) / 3600
    column = {name: c if isinstance(c, Words) else c.tolist() for name, c in snapshot.book.columns().items()}
    best = math.inf
    for row in range(len(snapshot.book)):
        sizing = sizings.get(column["accelerator"][row])
        price, stock = column["usd_per_hour"][row], column["available"][row]
        if not isinstance(sizing, Sizing) or not isinstance(sizing.effort, FiniteWork) or not price > 0 or stock == 0:
            continue
        gpus, boot_h = column["gpus"][row], column["boot_s"][row] / 3600
        if not gpus > 0:
            continue
        if gpus < 1 and (sizing.min_gpus > 1 or sizing.memory_per_gpu_gib > gpus * sizing.capacity_per_gpu_gib):
            continue
        devices = gpus if gpus < 1 else float(int(gpus))
        work = sizing.effort.gpu_hours.p50
        nodes = max(math.ceil(sizing.min_gpus / devices), math.ceil(work / (devices * (left_h - boot_h))), 1)
        if stock != -1 and nodes > stock:
            continue
        hours = boot_h + work / (nodes * devices)
        usd = nodes * price * max(hours, column["min_billing_s"][row] / 3600)
        hazard = column["interruption_rate"][row]
        if math.isnan(hazard):
            hazard = 0.02 if column["billing"][row] == "spot" else 0.0
        if hazard:
            rate, tau = hazard * nodes, 900 / 3600
            usd += (
                nodes * price * (hours - boot_h) * (math.exp(rate * boot_h) * math.expm1(rate * tau) / (rate * tau) - 1)
            )
        best = min(best, usd)
    return best


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The best of `repeats` runs."""
    gc.collect()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(count: int) -> dict[str, float]:
    """One size: seconds of the plan and of the loop, and the plan's own peak of memory in MiB."""
    snapshot = Snapshot(taken_at=EPOCH, book=book(count), accelerators=accelerators(), network=network())
    workload = Training(
        name="bench", model=model(), tokens=2e9, limits=Limits(deadline_s=7 * 86400.0, budget_usd=50_000.0)
    )
    policies: tuple[Policy, ...] = (create_cost(PolicyContext()), create_latency(PolicyContext()))
    made = plan(workload, snapshot, policies)
    repeats = max(3, min(50, 2_000_000 // count))
    result = {"offers": count, "feasible": made.feasible, "id_s": seconds(lambda: snapshot.id, repeats)}
    result["plan_s"] = seconds(lambda: plan(workload, snapshot, policies), repeats)
    if count <= LOOP_LIMIT:
        assert made.bound is not None
        assert math.isclose(loop(workload, snapshot), made.bound.lower_usd, rel_tol=1e-9)
        result["loop_s"] = seconds(lambda: loop(workload, snapshot), 3)
    tracemalloc.start()
    plan(workload, snapshot, policies)
    result["plan_mib"] = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    result["process_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def main() -> None:
    """Measure every size in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per size")
    parser.add_argument("--size", type=int, help="measure this size alone, in this process, and print it as JSON")
    arguments = parser.parse_args()
    if arguments.size:
        print(json.dumps(measure(arguments.size)))
        return
    results = []
    for count in SIZES:
        done = subprocess.run(
            [sys.executable, __file__, "--size", str(count)], check=True, capture_output=True, text=True
        )
        results.append(json.loads(done.stdout))
    if arguments.json:
        print("\n".join(json.dumps(result) for result in results))
        return
    print(f"offers: {'real ones, perturbed and repeated' if REAL.exists() else 'made up (no ../shared/data here)'}")
    print(f"{'offers':>10} {'feasible':>9} {'plan':>10} {'ns/offer':>9} {'loop':>10} {'loop/plan':>10} {'peak MiB':>9}")
    for r in results:
        loop_ms, ratio = (
            (f"{r['loop_s'] * 1e3:.1f} ms", f"{r['loop_s'] / r['plan_s']:.1f}x") if "loop_s" in r else ("-", "-")
        )
        each_ns = r["plan_s"] / r["offers"] * 1e9
        print(
            f"{r['offers']:>10,} {r['feasible']:>9,} {r['plan_s'] * 1e3:>7.2f} ms {each_ns:>9.0f}"
            f" {loop_ms:>10} {ratio:>10} {r['plan_mib']:>9.1f}"
        )
    for r in results:
        if r["offers"] in TARGETS_MS:
            target = TARGETS_MS[r["offers"]]
            print(f"{r['offers']:,} offers: {r['plan_s'] * 1e3:.2f} ms of {target:g} ms allowed")
    big = next(r for r in results if r["offers"] == 100_000)
    print(f"memory of a plan over 100,000 offers: {big['plan_mib']:.0f} MiB of {TARGET_MIB:g} MiB allowed")
    first, last = results[0], results[-1]
    growth = (last["plan_s"] / first["plan_s"]) / (last["offers"] / first["offers"])
    print(f"growth from {first['offers']:,} to {last['offers']:,} offers: {growth:.2f} of linear (at most 1 wanted)")


if __name__ == "__main__":
    main()
