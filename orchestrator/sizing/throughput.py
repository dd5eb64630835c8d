"""Throughput: how long passes over a model take, and how many requests a replica answers."""

from __future__ import annotations

from dataclasses import dataclass
from math import pow


def device_hours(flops: float, peak_tflops: float, utilisation: float) -> float:
    """Hours of one device: FLOPs over (peak times utilisation). The count of devices does not matter to their sum."""
    return flops / (peak_tflops * 1e12 * utilisation) / 3600.0


def usd_per_1000_tokens(device_s: float, tokens: float, usd_per_hour: float) -> float:
    """What 1 000 tokens cost when `tokens` take `device_s` seconds of a device at `usd_per_hour`."""
    return device_s / 3600.0 * usd_per_hour / tokens * 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One replica: a model spread over devices by tensor parallelism, as rates and bytes.

    A pass over `tokens` new tokens takes their FLOPs, the reading of the weights they touch and of the KV cache they
    attend to, and the host's step, one after the other: on published runs the sum fits better than the larger of them.
    """

    flops_per_token: float
    flops_per_s: float  # of all devices, efficiency included
    bytes_per_s: float  # of all devices, efficiency included
    weight_bytes: float
    active_share: float  # of the weights that one token touches; 1 for a dense model
    kv_bytes_per_token: float
    host_step_s: float
    prompt_tokens: float
    output_tokens: float

    def pass_s(self, tokens: float, context: float) -> float:
        """Seconds of one pass over `tokens` new tokens that attend to `context` cached ones, all sequences together.

        Of a mixture of experts, B tokens touch 1 - (1 - a)^B of the weights, a the active share: experts are chosen
        independently, and what every token passes through is counted with them.
        """
        touched = self.weight_bytes * (1.0 - pow(1.0 - self.active_share, tokens))
        moved = touched + context * self.kv_bytes_per_token
        return tokens * self.flops_per_token / self.flops_per_s + moved / self.bytes_per_s + self.host_step_s

    @property
    def prefill_s(self) -> float:
        """Seconds to read one prompt."""
        return self.pass_s(self.prompt_tokens, 0.0)

    def step_s(self, batch: float) -> float:
        """Seconds in which each of `batch` sequences, half-way through its answer, gets one token."""
        return self.pass_s(batch, batch * (self.prompt_tokens + self.output_tokens / 2.0))

    def tpot_s(self, batch: float) -> float:
        """Seconds between two tokens of one answer: the step and its share of the others' prompts."""
        return self.step_s(batch) + (batch - 1.0) * self.prefill_s / self.output_tokens

    def requests_per_s(self, batch: float) -> float:
        """Requests answered per second with `batch` of them always in flight: B / (T_prefill·B + n_out·T_step)."""
        return batch / (batch * self.prefill_s + self.output_tokens * self.step_s(batch))

    def ttft_s(self, batch: float, load: float) -> float:
        """Mean seconds from arrival to the first token at `load` (below 1) of the full rate.

        The prompt's own time and its wait in a queue with random arrivals and equal service (M/D/1:
        rho/(2·(1 - rho)) services), and half a step until the engine looks at its queue.
        """
        prefill = self.prefill_s
        rho = load * self.requests_per_s(batch) * prefill
        return prefill * (1.0 + rho / (2.0 * (1.0 - rho))) + self.step_s(batch) / 2.0
