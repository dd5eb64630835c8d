"""An LLM fleet under changing load: node-hours of `replicas(seen, state, rules)` over those of a forecast oracle.

    python benchmarks/llm_fleet.py [--json]

Requests go step by step through replicas (20 ms a step, 12 000 prompt tokens/s, 0.15 ms an answer, chunks of 768, batch
96), which boot for 120 s, billed. Service levels: first tokens within 2 s for 99.9 % and no gap over 100 ms; for
Mooncake's long prompts, 30 s. The scaler looks every 10 s and knows the past alone, and the mean rate and lengths that
a job file declares. Baselines: the static peak (the fewest replicas that keep the level all the time), reactive (the
mean rate of 60 s, a factor for headroom, 300 s before it goes down) and an oracle that knows the load of the next boot;
the factors of both are the least that keep the level, found by search, which favours them. Traces: Azure conversation
of November 2023, thickened 8 times by copies a minute apart in all, and Mooncake's, where `../shared/data/traces` lies
beside the repository; a generated day elsewhere too. Exits 1 where more than 1.15 times the oracle is taken, or less
than 99.9 % is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orchestrator.planning.autoscale.queueing import Mix, Promise, Replica, saturation
from orchestrator.planning.autoscale.scale import Rules, Seen, State, replicas
from orchestrator.simulation.llm_traces import Requests, denser, generated, read_azure, read_mooncake
from orchestrator.simulation.serving_fleet import Observation, Replay, Scaler, Terms, replay

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "traces"
REPLICA = Replica(step_s=0.02, token_s=1.0 / 12_000.0, sequence_s=0.00015, chunk_tokens=768, batch=96)
GAP_S, KEPT, GOAL = 0.1, 0.999, 1.15
TERMS = Terms(boot_s=120.0, tick_s=10.0)
FACTORS = tuple(round(0.9 + 0.02 * step, 2) for step in range(48))


class Case(NamedTuple):
    """A trace and its limit for the first token."""

    name: str
    requests: Requests
    first_token_s: float
    goal: bool = True


class Row(NamedTuple):
    """One scaler on one trace."""

    trace: str
    scaler: str
    node_hours: float
    over_oracle: float
    kept: float
    factor: float


def main() -> None:
    """Replay, print the table, and exit 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    missed: list[str] = []
    for case in cases():
        begun = time.process_time()
        found = judged(case)
        rows += found
        if not options.json:
            _print(case, found, time.process_time() - begun)
        own = found[-1]
        if case.goal and not (own.over_oracle <= GOAL and own.kept >= KEPT):
            missed.append(case.name)
    if options.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    elif missed:
        print(f"Missed {GOAL}x of the oracle at {KEPT:.1%} on: {', '.join(missed)}")
    sys.exit(1 if missed else 0)


def cases() -> Iterator[Case]:
    """The traces that are there."""
    azure = DATA / "azure-llm-2023" / "AzureLLMInferenceTrace_conv.csv"
    if azure.exists():
        trace = read_azure(azure)
        yield Case("Azure conversation x8", denser(trace, 8, 7.5), 2.0)
        yield Case("Azure conversation x16", denser(trace, 16, 3.75), 2.0)
        yield Case("Azure conversation x8, copies 3 s apart", denser(trace, 8, 3.0), 2.0, goal=False)
    else:
        print(f"No {azure}: skipped.")
    mooncake = DATA / "mooncake" / "conversation_trace.jsonl"
    if mooncake.exists():
        yield Case("Mooncake conversation x4", denser(read_mooncake(mooncake), 4, 15.0), 30.0)
    else:
        print(f"No {mooncake}: skipped.")
    hours = np.arange(0.0, 6.0, 1.0 / 60.0)
    rates = 30.0 * (1.0 + 0.6 * np.sin(hours / 6.0 * 2.0 * np.pi)) * np.where(np.abs(hours - 4.0) < 0.25, 1.5, 1.0)
    yield Case("generated: 6 h, a surge", generated(rates, 60.0, (1155.0, 211.0, 0.96, 0.77), 1), 2.0, goal=False)


def judged(case: Case) -> list[Row]:
    """Static peak, reactive, oracle and ours on one trace."""
    trace, limit = case.requests, case.first_token_s
    prompts = trace.prompt_tokens.astype(float)
    lasting = prompts * REPLICA.token_s + trace.output_tokens * REPLICA.sequence_s
    # What fills the batch and what fills the chunks; the larger of the two over a time is what it takes (`work_s`).
    by_batch = lasting + trace.output_tokens * REPLICA.step_s / REPLICA.batch
    work = np.stack((by_batch, lasting + prompts * REPLICA.step_s / REPLICA.chunk_tokens))
    mean = float(work.sum(axis=1).max()) / trace.horizon_s
    first = Terms(TERMS.boot_s, TERMS.tick_s, ceil(mean) + 1)

    def run(scaler: Scaler, terms: Terms = first) -> Replay:
        return replay(trace, REPLICA, terms, scaler)

    def least(make: Callable[[float], Scaler]) -> tuple[float, Replay]:
        """By bisection: more headroom keeps more."""
        low, high = -1, len(FACTORS) - 1
        result = run(make(FACTORS[high]))
        while high - low > 1:
            middle = (low + high) // 2
            tried = run(make(FACTORS[middle]))
            if tried.attained(limit, GAP_S) >= KEPT:
                high, result = middle, tried
            else:
                low = middle
        return FACTORS[high], result

    count = max(1, ceil(mean))
    while run(lambda _, fixed=count: fixed, first._replace(first=count)).attained(limit, GAP_S) < KEPT:
        count += 1
    static = run(lambda _: count, first._replace(first=count))
    oracles = [least(lambda factor, window=w: oracle(trace, work, factor, window)) for w in (15.0, 30.0, 60.0)]
    kept = [one for one in oracles if one[1].attained(limit, GAP_S) >= KEPT] or oracles
    best_factor, best = min(kept, key=lambda one: one[1].replica_hours)
    reactive_factor, reacted = least(lambda factor: reactive(trace, factor))
    own = run(ours(case))
    found = (
        ("forecast oracle", best, best_factor),
        ("static peak", static, float(count)),
        ("reactive", reacted, reactive_factor),
        ("isoflop", own, 1.0),
    )
    rows = []
    for name, result, factor in found:
        hours = result.replica_hours
        rows.append(Row(case.name, name, hours, hours / best.replica_hours, result.attained(limit, GAP_S), factor))
    return rows


def oracle(trace: Requests, work: np.ndarray, factor: float, window_s: float) -> Scaler:
    """The most that any window of the next boot and tick brings, known beforehand, times a factor."""
    grid = np.arange(0.0, trace.horizon_s + 1.0, 5.0)
    steps = max(1, int(window_s / 5.0))
    rates = []
    for kind in work:
        at = np.interp(grid, np.concatenate(([0.0], trace.arrival_s)), np.concatenate(([0.0], np.cumsum(kind))))
        rates.append((at[steps:] - at[:-steps]) / window_s)
    rate = np.maximum(*rates)
    rate = np.concatenate((rate, np.full(steps, rate[-1])))

    def scaler(seen: Observation) -> int:
        now = min(int(seen.now_s / 5.0), grid.size - 1)
        ahead = int((seen.now_s + TERMS.boot_s + TERMS.tick_s) / 5.0) + 1
        return max(1, ceil(factor * float(rate[now:ahead].max())))

    return scaler


def reactive(trace: Requests, factor: float) -> Scaler:
    """The mean rate of the last 60 s over what a replica serves, times a factor; down to the most of the last 300 s."""
    mix = _mix(trace)
    each = 1.0 / saturation(REPLICA, mix)
    recent: deque[int] = deque(maxlen=round(60.0 / TERMS.tick_s))
    asked: deque[int] = deque(maxlen=round(300.0 / TERMS.tick_s))

    def scaler(seen: Observation) -> int:
        recent.append(seen.arrivals)
        wish = max(1, ceil(factor * sum(recent) / (len(recent) * seen.tick_s) * each))
        asked.append(wish)
        have = seen.ready + seen.booting
        if wish >= have:
            return wish
        return min(have, max(asked)) if len(asked) == asked.maxlen else have

    return scaler


def ours(case: Case) -> Scaler:
    """The product's own function, with what a job file declares."""
    trace = case.requests
    promise = Promise(case.first_token_s, 0.99)
    rules = Rules(REPLICA, _mix(trace), trace.mean_rate, promise, TERMS.boot_s, TERMS.tick_s)
    state = State()

    def scaler(seen: Observation) -> int:
        nonlocal state
        sums = (seen.arrivals, seen.prompt_tokens, seen.finished, seen.output_tokens, seen.waiting)
        decision, state = replicas(Seen(seen.now_s, seen.tick_s, *sums, seen.ready + seen.booting), state, rules)
        return decision.replicas

    return scaler


def _mix(trace: Requests) -> Mix:
    prompt, output = trace.prompt_tokens, trace.output_tokens
    means = float(prompt.mean()), float(output.mean())
    return Mix(*means, float(prompt.var()) / means[0] ** 2, float(output.var()) / means[1] ** 2)


def _print(case: Case, rows: list[Row], seconds: float) -> None:
    goal = "" if case.goal else "  (no goal)"
    head = f"{case.name}, {len(case.requests):,} requests, {seconds:.0f} CPU-s{goal}"
    print(f"{head:<72} {'node-h':>8} {'/oracle':>8} {'kept':>9} {'factor':>7}")
    for row in rows:
        print(f"  {row.scaler:<70} {row.node_hours:>8.2f} {row.over_oracle:>7.3f}x {row.kept:>9.3%} {row.factor:>7.2f}")
    print(flush=True)


if __name__ == "__main__":
    main()
