"""The floor of one inference: its FLOPs at the full peak of a device, which no real run reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.workload import Model
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Table, Text, Title, dim, left, line, right
from orchestrator.interfaces.views.size_figures import Prices, Quote
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.sizing.flops import inference_flops, usd_per_1000_tokens

GIB = 2.0**30
FEW = 3  # accelerators of which those without a price are shown too

COLUMNS = (
    left("accelerator"),
    right("GPUs for the weights"),
    right("dense peak"),
    right("device time"),
    right("per 1,000 tokens"),
    right("per 1M tokens"),
    left("at"),
)


def weights_gb(model: Model, precision: Precision) -> float:
    """The weights in 10^9 bytes."""
    return model.parameters * BYTES[precision] / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One inference of `tokens` tokens on any device."""

    model: Model
    precision: Precision
    tokens: float
    prices: Mapping[str, Prices]

    @property
    def flops(self) -> float:
        """2·N per token."""
        return inference_flops(self.model.active_parameters, self.tokens)

    def on(self, device: Accelerator) -> dict[str, float | None]:
        """Time, devices and cost on `device`; None where it does not compute in the precision or has no price."""
        peak = device.peak(self.precision)
        prices = self.prices.get(device.name)
        weights_gib = weights_gb(self.model, self.precision) * 1e9 / GIB
        seconds = self.flops / (peak * 1e12) if peak else None

        def cost(quote: Quote | None) -> float | None:
            if seconds is None or quote is None:
                return None
            return usd_per_1000_tokens(seconds, self.tokens, quote.usd_per_gpu_hour)

        return {
            "peak_tflops": peak,
            "seconds_at_peak": seconds,
            "gpus_for_weights": float(ceil(weights_gib / device.memory_gib)),
            "usd_per_1000_tokens_low": cost(prices.low if prices else None),
            "usd_per_1000_tokens_high": cost(prices.high if prices else None),
        }

    def blocks(self, devices: Sequence[Accelerator]) -> list[Block]:
        """The table, cheapest first."""
        able = [device for device in devices if device.peak(self.precision)]
        shown = able if len(able) <= FEW else [device for device in able if device.name in self.prices]
        if not shown:
            return []
        rows = tuple(self._row(device) for device in sorted(shown, key=self._usd))
        tokens = fmt.count(self.tokens)
        title = f"One inference of {tokens} tokens in {self.precision} at 100 % of the peak: a floor, not an estimate"
        blocks: list[Block] = [Title(title), Table(COLUMNS, rows)]
        if len(shown) < len(able):
            left_out = fmt.plural(len(able) - len(shown), "accelerator")
            blocks.append(line(dim(f"{left_out} without a price left out: --accelerator NAME shows them"), indent=2))
        return blocks

    def _usd(self, device: Accelerator) -> tuple[float, str]:
        usd = self.on(device)["usd_per_1000_tokens_low"]
        return (float("inf") if usd is None else usd, device.name)

    def _row(self, device: Accelerator) -> tuple[Text, ...]:
        one = self.on(device)
        prices = self.prices.get(device.name)
        low, high = one["usd_per_1000_tokens_low"], one["usd_per_1000_tokens_high"]
        costs = [fmt.UNKNOWN, fmt.UNKNOWN, "no price"]
        if prices is not None and low is not None and high is not None:
            ends = _ends(prices.low.usd_per_gpu_hour, prices.high.usd_per_gpu_hour)
            costs = [_ends(low, high), _ends(low * 1e3, high * 1e3), f"{ends} a GPU-hour"]
        return (
            device.name,
            fmt.count(one["gpus_for_weights"] or 0),
            f"{one['peak_tflops']:,.4g} TFLOP/s",
            fmt.duration(one["seconds_at_peak"] or 0.0),
            *costs,
        )


def _ends(low: float, high: float) -> str:
    return fmt.usd(low) if low == high else f"{fmt.usd(low)} to {fmt.usd(high)}"
