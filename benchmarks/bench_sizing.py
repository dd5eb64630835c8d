"""How fast a sizing is: one workload on every accelerator, many workloads on one, against bare arithmetic in a loop.

    python benchmarks/bench_sizing.py [--json]

The baseline is what a spreadsheet does, in plain Python: 6·N·D over 30 % of the peak and 16 bytes per parameter over
the memory for training, a roofline of weights and FLOPs for serving; no bands, no reasons, no assumptions. Times are
the best of several runs in one process; a ratio says what the model costs over that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.catalog import accelerators
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.workload import (
    BatchInference,
    FineTune,
    Inference,
    LatencyTarget,
    Limits,
    Method,
    Model,
    Population,
    Training,
    Workload,
)
from orchestrator.sizing.size import size
from orchestrator.spec import models

TARGET_MS = 5.0  # one workload on 80 accelerators
TARGET_S = 1.0  # 1 000 workloads
MANY = 1000
ROUNDS = 7
LATENCY = Limits(latency=LatencyTarget(first_token_s=0.5, per_token_s=0.05))


def known(name: str) -> Model:
    """A model of the table."""
    found = models.find_model(name)
    if found is None:
        raise LookupError(name)
    return found


def workloads() -> dict[str, Workload]:
    """One of each kind."""
    large, small = known("llama-3.1-70b"), known("llama-3.1-8b")
    return {
        "training": Training(name="t", model=large, tokens=2e12),
        "fine-tuning": FineTune(name="f", model=small, tokens=1e8, method=Method.QLORA),
        "service": Inference(name="s", model=large, users=(Population("Paris", 20.0),), limits=LATENCY),
        "batch": BatchInference(name="b", model=small, requests=1e6),
    }


def spreadsheet(workload: Workload, devices: Sequence[Accelerator]) -> dict[str, float]:
    """The baseline: hours or seconds per device by one line of arithmetic."""
    found = {}
    n = workload.model.active_parameters
    for device in devices:
        peak = (device.peak(Precision.BF16) or device.peak(Precision.FP32) or 1.0) * 1e12
        if isinstance(workload, Training | FineTune):
            least = max(1.0, workload.model.parameters * 16.0 / (device.memory_gib * 2**30))
            found[device.name] = 6.0 * n * workload.tokens / (0.3 * peak) / 3600.0 / least
        else:
            step = max(2.0 * n / (device.memory_bandwidth_gb_s * 1e9), 2.0 * n / peak)
            found[device.name] = 2.0 * n * workload.prompt_tokens / peak + workload.output_tokens * step
    return found


def best_s(work: Callable[[], object]) -> float:
    """The best of several runs, in seconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure() -> list[dict[str, object]]:
    """A row per question."""
    devices = accelerators.load()
    rows: list[dict[str, object]] = []
    for name, workload in workloads().items():
        took = best_s(partial(size, workload, devices)) * 1e3
        bare = best_s(partial(spreadsheet, workload, devices)) * 1e3
        rows.append(_row(f"{name} on {len(devices)} accelerators", took, bare, TARGET_MS))
    training = workloads()["training"]
    took = best_s(lambda: size(training, devices, gpus=512, layouts=True)) * 1e3
    rows.append(_row(f"training on {len(devices)}, fastest layout of 512 searched for", took, None, None))
    h100 = [device for device in devices if device.name == "H100-SXM"]
    each = list(workloads().values())

    def many() -> None:
        for index in range(MANY):
            size(each[index % len(each)], h100)

    took = best_s(many) * 1e3
    bare = best_s(lambda: [spreadsheet(each[index % len(each)], h100) for index in range(MANY)]) * 1e3
    rows.append(_row(f"{MANY:,} workloads on one accelerator", took, bare, TARGET_S * 1e3))
    return rows


def _row(what: str, took_ms: float, bare_ms: float | None, target_ms: float | None) -> dict[str, object]:
    return {
        "what": what,
        "ms": took_ms,
        "spreadsheet_ms": bare_ms,
        "ratio": took_ms / bare_ms if bare_ms else None,
        "target_ms": target_ms,
        "met": target_ms is None or took_ms <= target_ms,
    }


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="How fast a sizing is.")
    parser.add_argument("--json", action="store_true")
    rows = measure()
    if parser.parse_args().json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{'':62} {'ms':>9} {'spreadsheet':>12} {'ratio':>8}  target")
        for row in rows:
            bare = f"{row['spreadsheet_ms']:.3f}" if row["spreadsheet_ms"] else "-"
            ratio = f"{row['ratio']:.0f}x" if row["ratio"] else "-"
            target = f"{row['target_ms']:.0f} ms {'met' if row['met'] else 'MISSED'}" if row["target_ms"] else ""
            print(f"{row['what']:62} {row['ms']:9.2f} {bare:>12} {ratio:>8}  {target}")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
