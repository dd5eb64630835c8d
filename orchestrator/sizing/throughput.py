"""Throughput: how long passes over a model take, and how many requests a replica answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot, log, pow
from typing import Final

CHUNK_TOKENS: Final = 8192.0  # of prompts read in one pass under load: what schedulers batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One replica: a model on the devices of a node by tensor parallelism, served by a stack, as rates and bytes.

    Rates are of the devices of one stage, and `stages` of them hold the layers between them: a pass goes through all,
    each holding another part of the batch at a time, so that it takes as long as the whole model on one stage, and a
    step of the batch takes as long as a pass over a stage's share of it.

    A decode step takes the reading of the weights it touches and of the KV cache it attends to, the FLOPs, the
    all-reduces, and the host's and the kernels' own time, one after the other: on published runs the sum fits better
    than the larger of them. In a prompt's single pass reading and computing overlap in part.
    """

    flops_per_token: float  # of the matrix products: 2 per active parameter
    attention_flops: float  # of one prompt attending to itself under a causal mask: 2·L·d·p²
    flops_per_s: float  # of all devices, efficiency included
    attention_flops_per_s: float
    bytes_per_s: float
    weight_bytes: float
    spared_bytes: float  # of the weights, by one token alone: those of the experts it does not choose
    missed_share: float  # of the experts that one token does not choose; 0 for a dense model
    kv_bytes_per_token: float
    collective_s: float  # of one pass: the all-reduces' own time
    collective_s_per_token: float
    layers_s: float  # of one pass: kernels of all layers
    host_step_s: float
    sequence_s: float  # of one step, per sequence
    first_token_s: float  # host's share of a request's first token
    prompt_tokens: float
    output_tokens: float
    stages: float = 1.0
    closed_loop: float = 0.0  # prefills that a request waits for, per other request in flight

    # What follows from these, computed once: a sizing asks for them hundreds of times.
    prompt_s: float = field(init=False)  # that one prompt keeps a loaded engine busy, weights read once for a chunk
    prefill_s: float = field(init=False)  # until an idle engine has read one prompt and given the first token
    sequence_step_s: float = field(init=False)  # what one more sequence adds to a step, weights aside
    empty_step_s: float = field(init=False)  # what a step takes whatever it works on

    def __post_init__(self) -> None:
        p, each = self.prompt_tokens, self._computing_s
        busy = each + p * self.collective_s_per_token + self.collective_s * p / CHUNK_TOKENS
        object.__setattr__(self, "prompt_s", busy / self.stages)
        object.__setattr__(self, "prefill_s", self.prefill_of(1.0))
        reading = (p + self.output_tokens / 2.0) * self.kv_bytes_per_token / self.bytes_per_s
        step = reading + self.flops_per_token / self.flops_per_s + self.collective_s_per_token + self.sequence_s
        object.__setattr__(self, "sequence_step_s", step)
        object.__setattr__(self, "empty_step_s", self.collective_s + self.layers_s + self.host_step_s)

    @property
    def _computing_s(self) -> float:
        """FLOPs of one prompt."""
        matrix = self.prompt_tokens * self.flops_per_token / self.flops_per_s
        return matrix + self.attention_flops / self.attention_flops_per_s

    def touched_bytes(self, tokens: float) -> float:
        """Bytes of weights that a pass over `tokens` tokens reads: all but the experts that none of them chooses."""
        if not self.spared_bytes:
            return self.weight_bytes
        return self.weight_bytes - self.spared_bytes * pow(self.missed_share, tokens - 1.0)

    def prefill_of(self, batch: float) -> float:
        """Seconds until `batch` prompts, read together by an idle engine, have given their first tokens."""
        tokens = batch * self.prompt_tokens
        reading = self.touched_bytes(tokens) / self.bytes_per_s
        talking = self.collective_s + tokens * self.collective_s_per_token
        return hypot(batch * self._computing_s, reading) + talking + self.layers_s + self.first_token_s

    def step_s(self, batch: float) -> float:
        """Seconds in which each of `batch` sequences, half-way through its answer, gets one token."""
        held = max(1.0, batch / self.stages)
        return self.touched_bytes(held) / self.bytes_per_s + held * self.sequence_step_s + self.empty_step_s

    def tpot_s(self, batch: float) -> float:
        """Seconds between two tokens of one answer: the step and its share of the others' prompts."""
        return self.step_s(batch) + (batch - 1.0) * self.prompt_s / self.output_tokens

    def requests_per_s(self, batch: float) -> float:
        """Requests answered per second with `batch` of them always in flight: B / (B·T_prompt + n_out·T_step)."""
        return batch / (batch * self.prompt_s + self.output_tokens * self.step_s(batch))

    def static_s(self, batch: float) -> float:
        """Seconds from the first prompt to the last token of a fixed batch that starts and ends together."""
        return self.prefill_of(batch) + self.output_tokens * self.step_s(batch)

    def ttft_s(self, batch: float, load: float) -> float:
        """Mean seconds from arrival to the first token at `load` (below 1) of the full rate, arrivals at random.

        The prompt's own time and its wait in a queue with random arrivals and equal service (M/D/1:
        rho/(2·(1 - rho)) services), and half a step until the engine looks at its queue.
        """
        rho = load * self.requests_per_s(batch) * self.prompt_s
        return self.prefill_s + self.prompt_s * rho / (2.0 * (1.0 - rho)) + self.step_s(batch) / 2.0

    def ttft_p95_s(self, batch: float, load: float) -> float:
        """Seconds to the first token that 95 of 100 requests keep, at `load` (below 1) of the full rate.

        A request waits with probability rho, and then for about an exponential time of mean T/(2·(1 - rho)): the heavy-
        traffic form of the M/D/1 queue. On top comes a whole step, the worst case of the engine's look at its queue.
        """
        return self.latencies_s(batch, load)[0]

    def latencies_s(self, batch: float, load: float) -> tuple[float, float]:
        """`ttft_p95_s` and `tpot_s`, for the price of one step."""
        step, prompt = self.step_s(batch), self.prompt_s
        rho = load * batch * prompt / (batch * prompt + self.output_tokens * step)
        waiting = prompt / (2.0 * (1.0 - rho)) * log(rho / 0.05) if rho > 0.05 else 0.0
        return self.prefill_s + waiting + step, step + (batch - 1.0) * prompt / self.output_tokens

    def closed_ttft_s(self, requests: float) -> float:
        """Mean seconds to the first token when `requests` are kept in flight, each replaced as it ends."""
        others = requests - 1.0
        waiting = self.step_s(requests) / 2.0 if others > 0 else 0.0
        return self.prefill_s + self.closed_loop * others * self.prompt_s + waiting

    def e2e_s(self, ttft_s: float, batch: float) -> float:
        """Seconds from arrival to the last token of an answer whose first came after `ttft_s`."""
        return ttft_s + (self.output_tokens - 1.0) * self.tpot_s(batch)
