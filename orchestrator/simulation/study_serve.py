"""A service under changing load: replicas by forecast and queueing beside static, reactive and foreseeing fleets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.queueing import Mix, Promise, Replica, saturation
from orchestrator.planning.autoscale.scale import Rules, Seen, State, needed_for, replicas
from orchestrator.simulation.llm_traces import Requests, generated
from orchestrator.simulation.serving_fleet import Observation, Replay, Scaler, Terms, replay
from orchestrator.simulation.study import Measure, Row, Study, Unit

REPLICA = Replica(step_s=0.02, token_s=1.0 / 12_000.0, sequence_s=0.00015, chunk_tokens=768, batch=96)
REACTIVE_S, COOLING_S, HEADROOM = 60.0, 300.0, 1.2
GRID_S, WINDOW_S = 5.0, 30.0
LENGTHS = (1155.0, 211.0, 0.96, 0.77)  # mean prompt and answer, deviations over means: about Azure's conversations
MEASURES = (
    Measure("usd", "cost", Unit.USD),
    Measure("replica_hours", "replica-hours", Unit.HOURS),
    Measure("over_foreseeing", "/foreseeing", Unit.RATIO),
    Measure("attained", "in time", Unit.SHARE),
    Measure("longest_gap_s", "longest gap s", Unit.COUNT),
)


class ServeCase(NamedTuple):
    """How the service is run and what it promises: first tokens in time, whatever share of them that takes."""

    replica: Replica = REPLICA
    first_token_s: float = 2.0
    percentile: float = 0.99
    boot_s: float = 120.0
    tick_s: float = 10.0
    usd_per_hour: float = 4.0  # of a replica


class Served(NamedTuple):
    """The table, and how fast our own replay went: its requests and seconds of this machine's time."""

    study: Study
    requests: int
    seconds: float


def day(requests: int, days: float, seed: int) -> Requests:
    """About that many requests: a daily wave, two surges a day, Poisson arrivals, log-normal lengths.

    Raises: UserError for less than one request or no time.
    """
    if requests < 1 or not days > 0.0:
        raise UserError("a service needs a request and more than 0 days")
    rng = np.random.default_rng([seed, 1])
    minutes = np.arange(max(1, round(days * 1440.0)))
    wave = 1.0 + 0.6 * np.sin(2.0 * np.pi * (minutes / 1440.0 - 0.3))
    for start in rng.integers(0, len(minutes), max(1, round(2.0 * days))):
        wave[start : start + 30] *= 1.5
    return generated(requests / (60.0 * wave.sum()) * wave, 60.0, LENGTHS, seed)


def study(case: ServeCase, requests: Requests, source: str, *, baselines: bool = True) -> Served:
    """Replay `requests` with the scaler of the product and, with `baselines`, with three others.

    Raises: UserError for a trace without requests.
    """
    if not len(requests):
        raise UserError("the trace holds no requests")
    rules = _rules(case, requests)
    each_s = 1.0 / saturation(case.replica, rules.planned)
    busy = _ahead(requests, each_s)
    first = needed_for(float(busy[0]), each_s, rules.planned, rules)
    terms = Terms(case.boot_s, case.tick_s, first)

    def need(load: float) -> int:
        return needed_for(load, each_s, rules.planned, rules)

    peak = need(float(busy.max()))
    began = time.process_time()
    own = replay(requests, case.replica, terms, _ours(rules))
    seconds = time.process_time() - began
    foreseen = replay(requests, case.replica, terms, _foreseeing(busy, case, need))
    found = [("isoflop", own)]
    if baselines:
        found.append(("reactive", replay(requests, case.replica, terms, _reactive(case, each_s))))
        found.append(("static peak", replay(requests, case.replica, terms._replace(first=peak), lambda _: peak)))
    found.append(("foreseeing", foreseen))
    rows = tuple(_row(name, done, foreseen, case) for name, done in found)
    setting = (
        f"{len(requests):,} requests in {requests.horizon_s / 3600.0:.1f} h ({requests.mean_rate:.3g}/s), {source}",
        f"first token within {case.first_token_s:g} s; a replica boots for {case.boot_s:g} s",
    )
    notes = (
        "Foreseeing knows the load of the next boot and sizes for it by the same queueing model. Reactive follows the "
        f"mean of {REACTIVE_S:g} s with {HEADROOM - 1.0:.0%} headroom and goes down after {COOLING_S:g} s.",
    )
    return Served(Study("requests", "A service under load", setting, MEASURES, rows, notes), len(requests), seconds)


def _row(name: str, done: Replay, foreseen: Replay, case: ServeCase) -> Row:
    hours = done.replica_hours
    values = (
        hours * case.usd_per_hour,
        hours,
        hours / foreseen.replica_hours if foreseen.replica_hours > 0.0 else None,
        done.attained(case.first_token_s),
        done.longest_gap_s,
    )
    return Row(name, values)


def _rules(case: ServeCase, trace: Requests) -> Rules:
    prompt, output = trace.prompt_tokens, trace.output_tokens
    means = float(prompt.mean()), float(output.mean())
    mix = Mix(*means, float(prompt.var()) / means[0] ** 2, float(output.var()) / means[1] ** 2)
    promise = Promise(case.first_token_s, case.percentile)
    return Rules(case.replica, mix, trace.mean_rate, promise, case.boot_s, case.tick_s, usd_per_hour=case.usd_per_hour)


def _ours(rules: Rules) -> Scaler:
    state = State()

    def scaler(seen: Observation) -> int:
        nonlocal state
        sums = (seen.arrivals, seen.prompt_tokens, seen.finished, seen.output_tokens, seen.waiting)
        decision, state = replicas(Seen(seen.now_s, seen.tick_s, *sums, seen.ready + seen.booting), state, rules)
        return decision.replicas

    return scaler


def _ahead(trace: Requests, each_s: float) -> np.ndarray:
    """Busy replicas in the window that begins at each point of a grid of `GRID_S`."""
    grid = np.arange(0.0, trace.horizon_s + GRID_S, GRID_S)
    count = np.searchsorted(trace.arrival_s, grid).astype(np.float64)
    steps = min(round(WINDOW_S / GRID_S), len(grid) - 1)
    later = count[np.minimum(np.arange(len(grid)) + steps, len(grid) - 1)]
    busy: np.ndarray = (later - count) / WINDOW_S * each_s
    return busy


def _foreseeing(busy: np.ndarray, case: ServeCase, need: Callable[[float], int]) -> Scaler:
    def scaler(seen: Observation) -> int:
        now = min(int(seen.now_s / GRID_S), len(busy) - 1)
        until = int((seen.now_s + case.boot_s + case.tick_s) / GRID_S) + 1
        return need(float(busy[now:until].max()))

    return scaler


def _reactive(case: ServeCase, each_s: float) -> Scaler:
    recent: deque[int] = deque(maxlen=max(1, round(REACTIVE_S / case.tick_s)))
    asked: deque[int] = deque(maxlen=max(1, round(COOLING_S / case.tick_s)))

    def scaler(seen: Observation) -> int:
        recent.append(seen.arrivals)
        wish = max(1, ceil(HEADROOM * sum(recent) / (len(recent) * seen.tick_s) * each_s))
        asked.append(wish)
        have = seen.ready + seen.booting
        if wish >= have:
            return wish
        return min(have, max(asked)) if len(asked) == asked.maxlen else have

    return scaler
