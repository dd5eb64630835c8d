"""Queueing: how long requests wait at a load, and how many replicas keep a promise about it."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, erfc, exp, inf, isfinite, log, log1p, sqrt
from typing import Final, NamedTuple

import numpy as np

from orchestrator.domain.errors import UserError
from orchestrator.domain.sizing import Service

PROMPT_POINTS: Final = 96  # prompts that stand for the distribution of their lengths, long ones closer together
MOST_REPLICAS: Final = 1_000_000
CHUNK_TOKENS: Final = 8192  # of prompts that a serving stack reads in one step under load; vLLM's and SGLang's default


class Station(NamedTuple):
    """Servers with one queue: each serves one customer at a time, in `service_s` on the average.

    `service_scv` and `arrival_scv` are squared coefficients of variation: 0 constant, 1 exponential or Poisson.
    """

    servers: int
    service_s: float
    service_scv: float = 1.0
    arrival_scv: float = 1.0


class Replica(NamedTuple):
    """One replica under continuous batching with chunked prefill.

    A step takes `step_s`, `token_s` for each prompt token that it reads (`chunk_tokens` at most) and `sequence_s` for
    each answer that it lengthens by one token; `batch` requests are in it at most.
    """

    step_s: float
    token_s: float
    sequence_s: float
    chunk_tokens: int
    batch: int

    @property
    def longest_step_s(self) -> float:
        """A full chunk and a full batch: no gap between two tokens of an answer is longer."""
        return self.step_s + self.chunk_tokens * self.token_s + self.batch * self.sequence_s


class Mix(NamedTuple):
    """What requests look like: mean tokens and their squared coefficients of variation; `arrival_scv` 1 is Poisson."""

    prompt_tokens: float
    output_tokens: float
    prompt_scv: float = 1.0
    output_scv: float = 1.0
    arrival_scv: float = 1.0


class Promise(NamedTuple):
    """The share `percentile` of requests gets its first token within `first_token_s` seconds."""

    first_token_s: float
    percentile: float = 0.95


def erlang_c(servers: int, load: float) -> float:
    """The probability that a customer waits in an M/M/k queue of `servers` at the offered load `load` = rate · service.

    1 where the load fills the servers. By the recursion of Erlang B (Jagerman 1974), which neither under- nor
    overflows: B(0) = 1, B(n) = a·B(n-1) / (n + a·B(n-1)), C = B / (1 - (a/k)·(1 - B)).
    """
    if servers < 1 or not load < servers:
        return 1.0
    if load <= 0.0:
        return 0.0
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def delay_probability(servers: int, load: float) -> float:
    """Erlang C, by its limit for many servers where the recursion would be long (Halfin and Whitt 1981).

    With beta = (1 - load/servers)·sqrt(servers) it is 1 / (1 + beta·Phi(beta)/phi(beta)).
    """
    if servers <= 512:
        return erlang_c(servers, load)
    if not load < servers:
        return 1.0
    beta = (1.0 - load / servers) * sqrt(servers)
    density = exp(-beta * beta / 2.0) / sqrt(2.0 * np.pi)
    below = 0.5 * erfc(-beta / sqrt(2.0))
    return float(density / (density + beta * below)) if density > 0.0 else 0.0


def waiting(rate: float, station: Station) -> tuple[float, float]:
    """The probability that a customer waits, and the rate in 1/s at which the wait's tail then falls off.

    P(wait > t) = C(k, a)·exp(-theta·t), theta = 2·(k - a)/service / (ca² + cs²): exact for M/M/k, and Whitt's
    approximation (1993) for the general queue. (1, 0) where the load fills the servers.
    """
    load = rate * station.service_s
    spare = station.servers - load
    if not spare > 0.0:
        return 1.0, 0.0
    variability = max(station.arrival_scv + station.service_scv, 1e-9)
    if load <= 0.0 or station.service_s <= 0.0:
        return 0.0, inf
    return delay_probability(station.servers, load), 2.0 * spare / station.service_s / variability


def wait_quantile(percentile: float, rate: float, station: Station) -> float:
    """Seconds that the share `percentile` (in [0, 1)) of customers arriving at `rate` per second waits at most.

    inf where the load fills the servers.
    """
    chance, decay = waiting(rate, station)
    if decay == 0.0:
        return inf
    return 0.0 if chance <= 1.0 - percentile else log(chance / (1.0 - percentile)) / decay


def square_root_staffing(load: float, delay: float) -> int:
    """The fewest servers at which the share `delay` of customers or fewer has to wait: load + beta·sqrt(load) of them.

    beta solves Halfin and Whitt's equation for `delay` in (0, 1); the answer is then checked by Erlang C itself.
    """
    low, high = 0.0, 1.0
    while _halfin_whitt(high) > delay and high < 1e3:
        high *= 2.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _halfin_whitt(middle) > delay else (low, middle)
    servers = max(1, ceil(load + high * sqrt(load)))
    while delay_probability(servers, load) > delay:
        servers += 1
    while servers > 1 and delay_probability(servers - 1, load) <= delay:
        servers -= 1
    return servers


def _halfin_whitt(beta: float) -> float:
    density = exp(-beta * beta / 2.0) / sqrt(2.0 * np.pi)
    return float(density / (density + beta * 0.5 * erfc(-beta / sqrt(2.0)))) if density > 0.0 else 0.0


def saturation(replica: Replica, mix: Mix) -> float:
    """Requests per second that one replica answers when it is never idle: the least of what its three limits allow.

    A step at the rate r takes T = step / (1 - r·(p·token + n·sequence)): r·p·T prompt tokens and r·n·T answers are in
    it. Time itself allows r < 1/(p·token + n·sequence); the batch r·n·T <= batch; the chunk r·p·T <= chunk.
    """
    return 1.0 / work_s(replica, max(mix.prompt_tokens, 1.0), max(mix.output_tokens, 1.0))


def work_s(replica: Replica, prompt_tokens: float, output_tokens: float) -> float:
    """Replica-seconds that prompts and answers of so many tokens in all take of saturated replicas.

    p·token + n·sequence, and the steps that they fill: step·max(n/batch, p/chunk). Per second it is the number of busy
    replicas, in which long prompts and answers count for what they take.
    """
    steps = max(output_tokens / replica.batch, prompt_tokens / replica.chunk_tokens)
    return prompt_tokens * replica.token_s + output_tokens * replica.sequence_s + replica.step_s * steps


def step_s(rate: float, replica: Replica, mix: Mix) -> float:
    """Seconds of a mean step of one replica at `rate` requests per second, at most those of a full one."""
    busy = rate * (mix.prompt_tokens * replica.token_s + mix.output_tokens * replica.sequence_s)
    return min(replica.step_s / (1.0 - busy), replica.longest_step_s) if busy < 1.0 else replica.longest_step_s


def stations(rate: float, replicas: int, replica: Replica, mix: Mix) -> tuple[Station, Station]:
    """The two queues of a fleet at `rate` requests per second in all: for the reading of prompts, and for the batch.

    Requests go to the replica with the least to do, so that the fleet's replicas serve one queue together. A busy
    reader takes full chunks, each a step long; a request holds its place in the batch for a step per output token.
    """
    each = min(rate / replicas, saturation(replica, mix))
    step = step_s(each, replica, mix)
    answers = min(each * mix.output_tokens * step, float(replica.batch))
    full = replica.step_s + replica.chunk_tokens * replica.token_s + answers * replica.sequence_s
    reading = mix.prompt_tokens / replica.chunk_tokens * full
    place = Station(replicas * replica.batch, mix.output_tokens * step + reading, mix.output_scv, mix.arrival_scv)
    return Station(replicas, reading, mix.prompt_scv, mix.arrival_scv), place


def kept(within_s: float, rate: float, replicas: int, replica: Replica, mix: Mix) -> float:
    """The share of requests whose first token comes within `within_s` seconds, in [0, 1]; 0 above saturation.

    A first token takes half a step until the engine looks at its queue, the wait for the reader or for a place in the
    batch (of which the longer rules), and the request's own prompt, whose length is taken as log-normal.
    """
    if replicas < 1 or not rate < replicas * saturation(replica, mix):
        return 0.0
    reader, place = stations(rate, replicas, replica, mix)
    own, weights = _own_s(rate, replicas, replica, mix)
    left = within_s - own
    late = np.zeros_like(left)
    for station in (reader, place):
        chance, decay = waiting(rate, station)
        tail = chance * np.exp(-decay * np.maximum(left, 0.0)) if isfinite(decay) else np.zeros_like(left)
        late = np.maximum(late, tail)
    return float(np.dot(np.where(left >= 0.0, 1.0 - late, 0.0), weights))


def first_token_quantile(percentile: float, rate: float, replicas: int, replica: Replica, mix: Mix) -> float:
    """Seconds within which the share `percentile` of requests has its first token; inf at and above saturation."""
    if replicas < 1 or not rate < replicas * saturation(replica, mix):
        return inf
    low, high = 0.0, 1.0
    while kept(high, rate, replicas, replica, mix) < percentile:
        low, high = high, high * 2.0
        if high > 1e7:
            return inf
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if kept(middle, rate, replicas, replica, mix) < percentile else (low, middle)
    return high


def replicas_for(rate: float, replica: Replica, mix: Mix, promise: Promise) -> int:
    """The fewest replicas that keep `promise` at `rate` requests per second in all; 0 for a rate of 0.

    Raises: UserError where no number of replicas does, because an idle one is too slow; and for a rate that is not
    finite or below 0.
    """
    if not (isfinite(rate) and rate >= 0.0):
        raise UserError(f"A rate of {rate:g} requests/s cannot be served: it must be finite and at least 0.")
    if rate == 0.0:
        return 0
    least = max(1, ceil(rate / saturation(replica, mix)))
    if kept(promise.first_token_s, 1e-9, MOST_REPLICAS, replica, mix) < promise.percentile:
        idle = first_token_quantile(promise.percentile, 1e-9, MOST_REPLICAS, replica, mix)
        raise UserError(
            f"No number of replicas gives {promise.percentile:.4g} of first tokens within {promise.first_token_s:g} s: "
            f"an idle one takes {idle:.3g} s. Allow more time, shorten the prompts or take a faster accelerator."
        )
    low, high = least - 1, least
    while kept(promise.first_token_s, rate, high, replica, mix) < promise.percentile:
        low, high = high, high + max(1, (high - least + 1) * 2)
        if high > MOST_REPLICAS:
            raise UserError(f"{rate:g} requests/s take over {MOST_REPLICAS:,} replicas.")
    while high - low > 1:
        middle = (low + high) // 2
        enough = kept(promise.first_token_s, rate, middle, replica, mix) >= promise.percentile
        low, high = (low, middle) if enough else (middle, high)
    return high


def rate_for(replicas: int, replica: Replica, mix: Mix, promise: Promise) -> float:
    """The highest rate in requests per second at which `replicas` keep `promise`; 0 where they keep it at none."""
    low, high = 0.0, max(replicas, 0) * saturation(replica, mix)
    for _ in range(40):
        middle = (low + high) / 2.0
        enough = kept(promise.first_token_s, middle, replicas, replica, mix) >= promise.percentile
        low, high = (middle, high) if enough else (low, middle)
    return low


def of_service(service: Service, prompt_tokens: float, output_tokens: float) -> Replica:
    """The replica that a sizing describes, which at full batch gives `service.most_tokens_per_s` output tokens/s.

    The batch by Little's law: tokens per second times the time of one. The prompts' share of a step from the time to
    the first token of an idle replica (the band's p10, as the median holds some queueing).

    Raises: UserError for a sizing without a largest throughput or without times.
    """
    tpot, ttft, most = service.tpot_s.p50, service.ttft_s.p10, service.most_tokens_per_s
    if not (0.0 < tpot < inf and 0.0 < ttft < inf and 0.0 < most < inf):
        raise UserError("The sizing has no throughput or latency of one replica; size the service again.")
    batch = max(1, round(most * tpot))
    token = ttft / max(prompt_tokens, 1.0)
    reading = most / max(output_tokens, 1.0) * prompt_tokens * token
    step = batch / most
    # Where the first token is so slow that prompts alone would fill the time, half of it is theirs.
    share = min(reading, 0.5)
    chunk = max(CHUNK_TOKENS, ceil(batch * prompt_tokens / max(output_tokens, 1.0)))
    return Replica(step * (1.0 - share), token * share / reading if reading else 0.0, 0.0, chunk, batch)


def _own_s(rate: float, replicas: int, replica: Replica, mix: Mix) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of typical requests that nobody keeps waiting, and the shares of requests like them."""
    each = rate / replicas
    step = step_s(each, replica, mix)
    answers = min(each * mix.output_tokens * step, float(replica.batch))
    normal, weights = _normal_points()
    sigma = sqrt(log1p(max(mix.prompt_scv, 0.0)))
    prompt = mix.prompt_tokens * np.exp(sigma * normal - sigma * sigma / 2.0)
    reads = np.ceil(prompt / replica.chunk_tokens)
    own = reads * (replica.step_s + answers * replica.sequence_s) + prompt * replica.token_s + step / 2.0
    return own, weights


@lru_cache(maxsize=1)
def _normal_points() -> tuple[np.ndarray, np.ndarray]:
    """Points of the standard normal distribution out to 4.5 sigmas, and the probability around each."""
    edges = np.linspace(-4.5, 4.5, PROMPT_POINTS + 1)
    below = np.array([0.5 * erfc(-edge / sqrt(2.0)) for edge in edges])
    below[0], below[-1] = 0.0, 1.0
    return (edges[1:] + edges[:-1]) / 2.0, np.diff(below)
