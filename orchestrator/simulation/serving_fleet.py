"""Fleet replay: requests through replicas that batch continuously, step by step, while a scaler sizes the fleet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from math import ceil, inf
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.errors import UserError
from orchestrator.planning.autoscale.queueing import Replica
from orchestrator.simulation.llm_traces import Requests

Floats: TypeAlias = npt.NDArray[np.float64]

IDLE: Final = inf  # the end of a step that nobody has begun


class Observation(NamedTuple):
    """What a controller sees at a tick: sums since the last tick, counts of now. Nothing of the future."""

    now_s: float
    tick_s: float
    arrivals: int
    prompt_tokens: int  # of the requests that arrived
    finished: int
    output_tokens: int  # generated, by all requests
    waiting: int  # requests without a first token
    ready: int
    booting: int


Scaler: TypeAlias = Callable[[Observation], int]
"""How many replicas, ready and booting, there shall be after a tick."""


class Terms(NamedTuple):
    """How the fleet is run: `boot_s` from the order of a replica to its first request, billed from the order on."""

    boot_s: float = 120.0
    tick_s: float = 10.0
    first: int = 1  # replicas that are ready at the start


class Replay(NamedTuple):
    """What came of it. Replica-hours are billed from the order to the last request, within the trace."""

    first_token_s: Floats  # from arrival, per request
    replica_hours: float
    longest_gap_s: float  # between two tokens of one answer
    fleet: npt.NDArray[np.int64]  # replicas ready, booting and draining after each tick
    steps: int

    def attained(self, first_token_s: float, gap_s: float = inf) -> float:
        """The share of requests with the first token in time; 0 where any step took longer than `gap_s`."""
        if self.longest_gap_s > gap_s:
            return 0.0
        return float(np.mean(self.first_token_s <= first_token_s)) if self.first_token_s.size else 1.0


def replay(requests: Requests, replica: Replica, terms: Terms, scaler: Scaler) -> Replay:
    """Send `requests` through a fleet that `scaler` sizes every tick; the same arguments give the same answer.

    A request goes to the replica with the least to read and to answer. A replica takes steps as `Replica` says,
    prompts in the order of arrival, and a first token comes with the step that reads the last of its prompt. A
    removed replica takes no new requests and is billed until it has answered those it has.

    Raises: UserError for terms that cannot be replayed.
    """
    if terms.first < 1 or not (terms.tick_s > 0.0 and terms.boot_s >= 0.0):
        raise UserError("A replay needs a first replica, a tick of more than 0 s and a boot time of at least 0 s.")
    fleet = Fleet(requests, replica, terms)
    times, prompts = requests.arrival_s.tolist(), requests.prompt_tokens.tolist()
    end = requests.horizon_s
    next_tick, tick, seen, tokens = terms.tick_s, 0, 0, 0
    for index, at in enumerate(times):
        while next_tick <= at:
            fleet.run_until(next_tick)
            fleet.scale(scaler(fleet.observe(next_tick, index - seen, tokens)), next_tick)
            tick, seen, tokens = tick + 1, index, 0
            next_tick = terms.tick_s * (tick + 1)
        fleet.run_until(at)
        fleet.send(index, at)
        tokens += prompts[index]
    while next_tick <= end:
        fleet.run_until(next_tick)
        fleet.scale(scaler(fleet.observe(next_tick, len(times) - seen, tokens)), next_tick)
        tick, seen, tokens = tick + 1, len(times), 0
        next_tick = terms.tick_s * (tick + 1)
    fleet.run_until(IDLE)
    first = np.array(fleet.first_at) - requests.arrival_s
    return Replay(first, fleet.billed_s(end) / 3600.0, fleet.longest_gap_s, np.array(fleet.sizes), fleet.steps)


class Fleet:
    """Replicas as parallel lists, and a heap of the ends of their steps."""

    def __init__(self, requests: Requests, replica: Replica, terms: Terms) -> None:
        self._prompts: list[int] = np.maximum(requests.prompt_tokens, 1).tolist()
        self._outputs: list[int] = np.maximum(requests.output_tokens, 1).tolist()
        self._replica, self._terms = replica, terms
        self._spread = max(1, replica.chunk_tokens // replica.batch)  # tokens to read that weigh like one answer
        self._queues: list[deque[int]] = []
        self._left: list[int] = []  # tokens of the prompt at the head that are still to be read
        self._answers: list[list[int]] = []  # heaps: the step with which each answer ends
        self._step: list[int] = []
        self._began: list[tuple[float, float]] = []  # of a run of equal steps: when, and how long one takes
        self._reading: list[list[int]] = []  # prompts whose reading ends with this step
        self._end: list[float] = []
        self._load: list[float] = []  # what the router compares; inf takes no requests
        self._ordered: list[float] = []
        self._ready: list[float] = []
        self._gone: list[float] = []
        self._ends: list[tuple[float, int]] = []
        self._boots: list[tuple[float, int]] = []
        self._counts = [0, 0]  # finished requests, generated tokens since the last look
        self._waiting = 0
        self.first_at: list[float] = [inf] * len(self._prompts)
        self.sizes: list[int] = []
        self.longest_gap_s = 0.0
        self.steps = 0
        for _ in range(terms.first):
            self._order(0.0, 0.0)

    def run_until(self, until_s: float) -> None:
        """Every step that ends by then."""
        ends, current = self._ends, self._end
        while ends and ends[0][0] <= until_s:
            at, which = ends[0]
            if at != current[which]:  # the run of steps was cut short by an arrival
                heappop(ends)
                continue
            following = self._advance(which, at)
            if following == IDLE:
                heappop(ends)
            else:
                heapreplace(ends, (following, which))
        while self._boots and self._boots[0][0] <= until_s:
            _, which = heappop(self._boots)
            if self._gone[which] == inf:
                self._load[which] = 0.0

    def send(self, index: int, at_s: float) -> None:
        """A request to the replica with the least to do; it waits for the first one to boot where none is ready."""
        load = self._load
        least = min(load)
        which = load.index(least) if least < inf else self._soonest()
        load[which] += self._prompts[index] + self._spread
        queue = self._queues[which]
        queue.append(index)
        self._waiting += 1
        if len(queue) == 1:
            self._left[which] = self._prompts[index]
            start = max(at_s, self._ready[which])
            if self._end[which] == IDLE:
                self._end[which] = start
                heappush(self._ends, (start, which))
            else:
                self._cut(which, start)

    def observe(self, now_s: float, arrivals: int, prompt_tokens: int) -> Observation:
        """What a controller sees, and forgets what it has seen."""
        finished, generated = self._counts
        self._counts = [0, 0]
        alive = [which for which in range(len(self._gone)) if self._gone[which] == inf]
        booting = sum(self._ready[which] > now_s for which in alive)
        sums = (arrivals, prompt_tokens, finished, generated, self._waiting)
        return Observation(now_s, self._terms.tick_s, *sums, len(alive) - booting, booting)

    def scale(self, target: int, now_s: float) -> None:
        """Order or remove replicas: those that boot go first, then those with the least to do; at least one stays."""
        alive = [which for which in range(len(self._gone)) if self._gone[which] == inf]
        for _ in range(max(target, 1) - len(alive)):
            self._order(now_s, now_s + self._terms.boot_s)
        spare = len(alive) - max(target, 1)
        if spare > 0:
            # A booting replica that already holds requests (none was ready) counts as busy.
            alive.sort(
                key=lambda which: (bool(self._queues[which]), -max(self._ready[which], now_s), self._load[which])
            )
            for which in alive[:spare]:
                self._gone[which] = now_s
                self._load[which] = inf
        draining = sum(gone < inf and end < IDLE for gone, end in zip(self._gone, self._end, strict=True))
        self.sizes.append(max(target, 1) + draining)

    def billed_s(self, end_s: float) -> float:
        """Seconds of all replicas from their order to their removal and last request, within the trace."""
        return sum(min(gone, end_s) - ordered for ordered, gone in zip(self._ordered, self._gone, strict=True))

    def _order(self, now_s: float, ready_s: float) -> None:
        self._queues.append(deque())
        self._left.append(0)
        self._answers.append([])
        self._step.append(0)
        self._began.append((0.0, inf))
        self._reading.append([])
        self._end.append(IDLE)
        self._ordered.append(now_s)
        self._ready.append(ready_s)
        self._gone.append(inf)
        self._load.append(0.0 if ready_s <= now_s else inf)
        if ready_s > now_s:
            heappush(self._boots, (ready_s, len(self._gone) - 1))

    def _soonest(self) -> int:
        alive = (which for which in range(len(self._gone)) if self._gone[which] == inf)
        which = min(alive, key=lambda which: (self._ready[which], which))
        if self._load[which] == inf:
            self._load[which] = 0.0
        return which

    def _cut(self, which: int, at_s: float) -> None:
        """End a run of equal steps with the step under way, so that a new prompt is read from the next one on."""
        start, each = self._began[which]
        ends = start + max(1, ceil((at_s - start) / each - 1e-9)) * each
        if ends < self._end[which] - 1e-9:
            self._end[which] = ends
            heappush(self._ends, (ends, which))

    def _advance(self, which: int, now_s: float) -> float:
        """Account for the step that ends now, begin the next one, and return when that ends."""
        replica, answers, step = self._replica, self._answers[which], self._step[which]
        start, each = self._began[which]
        if each < inf:
            done = round((now_s - start) / each)
            step += done
            self._counts[1] += done * len(answers)
        load = self._load[which]
        for index in self._reading[which]:
            self.first_at[index] = now_s
            heappush(answers, step + self._outputs[index] - 1)
        self._waiting -= len(self._reading[which])
        while answers and answers[0] <= step:
            heappop(answers)
            self._counts[0] += 1
            load -= self._spread
        read, ended = self._read(which, len(answers))
        self._reading[which], self._step[which] = ended, step
        self._load[which] = load - read
        self.steps += 1
        if not read and not answers:
            self._began[which] = (now_s, inf)
            self._end[which] = IDLE
            if self._gone[which] < IDLE:
                self._gone[which] = max(self._gone[which], now_s)
            return IDLE
        each = replica.step_s + read * replica.token_s + len(answers) * replica.sequence_s
        if answers and each > self.longest_gap_s:
            self.longest_gap_s = each
        self._began[which] = (now_s, each)
        self._end[which] = now_s + each * (1 if read else answers[0] - step)
        return self._end[which]

    def _read(self, which: int, answers: int) -> tuple[int, list[int]]:
        """Tokens that the next step reads, and the requests whose prompts end with it."""
        queue = self._queues[which]
        ended: list[int] = []
        if not queue:
            return 0, ended
        free, budget = self._replica.batch - answers, self._replica.chunk_tokens
        left = budget
        while queue and free > 0:
            if self._left[which] > left:
                self._left[which] -= left
                left = 0
                break
            left -= self._left[which]
            free -= 1
            ended.append(queue.popleft())
            if queue:
                self._left[which] = self._prompts[queue[0]]
            if not left:
                break
        return budget - left, ended
