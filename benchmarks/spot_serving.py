"""Serving on spot: cost and availability of the hedge, SpotHedge, round robin and on-demand, above the omniscient cost.

    python benchmarks/spot_serving.py [--days 7] [--needed 3] [--seeds 3] [--json]

Every 30 s a policy sees what it holds and what was lost, and orders; a launch serves after 120 s; on-demand costs three
times spot. Traces: 13 zones of GCP (H100, October 2025; 1 = preempted) and 8 pools of AWS (October 2022; 1 = available)
where `../shared/data/traces` lies beside the repository, each pool as deep as it needs to be for `needed` in two of
them, and generated ones (9 zones in 3 regions, lost apart and together). Ratios are of the cost over the linear
program's that knows the whole day (`spot_optimum.py`) and is never short. The goal: at most 1.25 times that at 99.9 %
for 3 replicas, 99.5 % for 12. Exits 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from spot_optimum import omniscient

from orchestrator.planning.autoscale.hedge import HedgeRules, Held, Orders, begin, hedge
from orchestrator.simulation.serving_baselines import OnDemand, RoundRobin, SpotHedge
from orchestrator.simulation.serving_spot import Capacity, Hedge, generated, replay

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "traces"
GOAL = 1.25
BOOT_S = 120.0
TICKS_A_DAY = 2880


class Row(NamedTuple):
    """One policy on one trace."""

    trace: str
    policy: str
    cost_ratio: float  # over on-demand
    over_omniscient: float
    availability: float
    losses: int


def main() -> None:
    """Replay, print the table, and exit 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--needed", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    target = 0.999 if options.needed < 12 else 0.995
    rows: list[Row] = []
    for name, capacity in traces(options.days, options.needed, options.seeds):
        rows += judged(name, capacity, options.needed, target)
        if not options.json:
            _print(rows)
            rows_of = [row for row in rows if row.trace == name and row.policy == "isoflop"]
            print(f"  -> {'met' if met(rows_of[0], target) else 'MISSED'}\n", flush=True)
    if options.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    missed = [row.trace for row in rows if row.policy == "isoflop" and not met(row, target)]
    if missed and not options.json:
        print(f"Missed {GOAL}x at {target:.1%} on: {', '.join(missed)}")
    sys.exit(1 if missed else 0)


def met(row: Row, target: float) -> bool:
    """Within the goal."""
    return row.over_omniscient <= GOAL and row.availability >= target


def judged(name: str, capacity: Capacity, needed: int, target: float) -> list[Row]:
    """Every policy on one trace, and the omniscient cost by days."""
    ticks = capacity.instances.shape[0]
    days = [capacity.part(start, min(start + TICKS_A_DAY, ticks)) for start in range(0, ticks, TICKS_A_DAY)]
    best = float(np.mean([omniscient(day, needed, BOOT_S) for day in days]))
    zones = len(capacity.zones)
    policies: dict[str, Hedge] = {
        "on-demand only": OnDemand(zones, needed),
        "round robin": RoundRobin(zones, needed),
        "SpotHedge+0": SpotHedge(zones, needed, 0),
        "SpotHedge+1": SpotHedge(zones, needed, 1),
        "SpotHedge+2": SpotHedge(zones, needed, 2),
        "isoflop": ours(capacity, needed, target),
    }
    rows = [Row(name, "omniscient (LP)", best, 1.0, 1.0, 0)]
    for policy, decide in policies.items():
        served = replay(capacity, needed, BOOT_S, decide)
        ratio = served.cost_ratio / best
        rows.append(Row(name, policy, served.cost_ratio, ratio, served.availability, served.losses))
    return rows


def ours(capacity: Capacity, needed: int, target: float) -> Hedge:
    """The hedge with its memory."""
    names = [re.sub(r"^(.*\d)-?[a-z](_.*)?$", r"\1", zone) for zone in capacity.zones]
    regions = tuple(sorted(set(names)).index(name) for name in names)
    prices = tuple(float(price) for price in capacity.spot_usd_per_hour)
    rules = HedgeRules(
        prices, capacity.on_demand_usd_per_hour, needed, target, BOOT_S, capacity.tick_s, max(3, needed // 2), regions
    )
    state = begin(rules)

    def decide(held: Held) -> Orders:
        nonlocal state
        orders, state = hedge(held, state, rules)
        return orders

    return decide


def traces(days: int, needed: int, seeds: int) -> Iterator[tuple[str, Capacity]]:
    """The traces by name; those of others only where they are."""
    depth = needed // 2 + 1
    folder = DATA / "spot-gcp-h100-2025-10" / "h100_zones"
    if folder.is_dir():
        columns = {path.name: 1 - _samples(path / "full.json") for path in sorted(folder.iterdir()) if path.is_dir()}
        yield "GCP H100, 13 zones", _capacity(columns, depth, days)
    else:
        print(f"No traces of GCP in {folder}: skipped.")
    folder = DATA / "spot-aws-2022-10"
    if folder.is_dir():
        columns = {path.stem: _samples(path) for path in sorted(folder.glob("*.json"))}
        yield "AWS, 8 pools", _capacity(columns, depth, days)
    else:
        print(f"No traces of AWS in {folder}: skipped.")
    for seed in range(1, seeds + 1):
        yield f"generated {seed}", generated(days, 9, depth, seed)


def _samples(path: Path) -> np.ndarray:
    return np.array(json.loads(path.read_text(encoding="utf-8"))["data"], dtype=np.int64)


def _capacity(columns: dict[str, np.ndarray], depth: int, days: int) -> Capacity:
    length = min(column.size for column in columns.values())
    table = np.stack([column[:length] for column in columns.values()], axis=1)
    each = np.repeat(table * depth, 20, axis=0)[: days * TICKS_A_DAY]  # samples of 600 s
    return Capacity(tuple(columns), each, np.ones(table.shape[1]), 3.0)


def _print(rows: list[Row]) -> None:
    trace = rows[-1].trace
    print(f"{trace:<22} {'cost/on-demand':>14} {'/omniscient':>12} {'availability':>13} {'losses':>7}")
    for row in (row for row in rows if row.trace == trace):
        figures = f"{row.cost_ratio:>14.3f} {row.over_omniscient:>11.2f}x {row.availability:>12.3%} {row.losses:>7}"
        print(f"  {row.policy:<20} {figures}")


if __name__ == "__main__":
    main()
