"""Sizings: the FLOP arithmetic of a workload, and what it takes on every accelerator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import FiniteWork, Service, Sizing
from orchestrator.domain.workload import Model, Workload
from orchestrator.interfaces.views import asked
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    dim,
    left,
    line,
    right,
    strong,
    warn,
)
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.sizing.flops import inference_flops
from orchestrator.sizing.throughput import usd_per_1000_tokens
from orchestrator.spec.documents import to_jsonable

DETAILED = 3  # accelerators of which the memory is shown term by term
PFLOP_S_DAY = 1e15 * 86400.0
GIB = 2.0**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one device costs per hour, and who says so."""

    usd_per_gpu_hour: float
    offer: str
    source: str
    observed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The market's ends for one accelerator."""

    low: Quote
    high: Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReport:
    """A model, the work if there is some, and its sizing on every accelerator asked for.

    `inference_tokens` is the length of the one inference whose arithmetic is shown.
    """

    model: Model
    workload: Workload | None
    precision: Precision
    sizings: Mapping[str, Sizing | Reason]
    accelerators: tuple[Accelerator, ...]
    prices: Mapping[str, Prices]
    inference_tokens: float
    now: datetime

    def page(self) -> Page:
        """Header, sizings, refusals, one inference."""
        blocks: list[Block] = [Title(f"Size of {self.model.name}"), Facts(self._header()), Line()]
        blocks += self._work()
        blocks += self._refused()
        blocks += self._inference()
        return tuple(blocks)

    def document(self) -> object:
        """The same numbers, unrounded."""
        return {
            "model": to_jsonable(self.model),
            "workload": to_jsonable(self.workload),
            "training_flops": self._flops(),
            "inference": {"tokens": self.inference_tokens, "flops": self._inference_flops()},
            "weights_gb": {precision.value: self._weights_gb(precision) for precision in BYTES},
            "accelerators": [self._accelerator(device) for device in self.accelerators],
        }

    def _accelerator(self, device: Accelerator) -> dict[str, object]:
        answer = self.sizings.get(device.name)
        prices = self.prices.get(device.name)
        sizing = answer if isinstance(answer, Sizing) else None
        return {
            "name": device.name,
            "memory_gib": device.memory_gib,
            "fits": sizing is not None if answer is not None else None,
            "sizing": to_jsonable(sizing),
            "refusal": to_jsonable(answer) if isinstance(answer, Reason) else None,
            "cheapest": to_jsonable(prices.low) if prices else None,
            "cost_usd": to_jsonable(_cost(sizing, prices)),
            "inference": self._one_inference(device),
        }

    def _header(self) -> tuple[tuple[str, Text], ...]:
        rows: list[tuple[str, Text]] = [("model", asked.model_line(self.model))]
        if self.workload is not None:
            rows.append(("work", asked.work_line(self.workload)))
        flops = self._flops()
        if flops is not None and self.workload is not None:
            days = f" ({flops / PFLOP_S_DAY:,.3g} PFLOP/s-days)" if flops >= PFLOP_S_DAY / 100 else ""
            rows.append(("compute", strong(asked.flops_line(self.workload, flops) + days)))
        tokens = fmt.count(self.inference_tokens)
        size = fmt.scientific(self.model.active_parameters)
        product = f"2·N·tokens = 2 × {size} × {tokens} = {fmt.engineering(self._inference_flops())} FLOP"
        rows.append(("inference", f"{product} for {tokens} tokens"))
        rows.append(("weights", self._weights()))
        return tuple(rows)

    def _flops(self) -> float | None:
        sized = next((each for each in self.sizings.values() if isinstance(each, Sizing)), None)
        return sized.flops if sized is not None else asked.flops_of(self.workload)

    def _inference_flops(self) -> float:
        return inference_flops(self.model.active_parameters, self.inference_tokens)

    def _weights_gb(self, precision: Precision) -> float:
        return self.model.parameters * BYTES[precision] / 1e9

    def _weights(self) -> Text:
        shown = (Precision.FP32, Precision.BF16, Precision.INT8, Precision.INT4)
        said = ", ".join(f"{_gigabytes(self._weights_gb(precision))} in {precision}" for precision in shown)
        largest = max(self.accelerators, key=lambda device: device.memory_gib, default=None)
        if largest is None:
            return said
        room = largest.memory_gib * GIB / 1e9
        never = [str(precision) for precision in shown if self._weights_gb(precision) > room]
        if not never:
            return said
        words = f"no single device here holds them in {', '.join(never)}"
        return f"{said}; {words} (the largest, {largest.name}, has {fmt.gib(largest.memory_gib)})"

    def _fitting(self) -> list[tuple[Accelerator, Sizing]]:
        fitting = [(d, s) for d in self.accelerators if isinstance(s := self.sizings.get(d.name), Sizing)]

        def rank(pair: tuple[Accelerator, Sizing]) -> tuple[float, float, str]:
            cost = _cost(pair[1], self.prices.get(pair[0].name))
            effort = pair[1].effort
            amount = effort.gpu_hours.p50 if isinstance(effort, FiniteWork) else effort.replicas * pair[1].min_gpus
            return (cost["p50"] if cost else float("inf"), amount, pair[0].name)

        return sorted(fitting, key=rank)

    def _work(self) -> list[Block]:
        fitting = self._fitting()
        if not fitting:
            return []
        service = isinstance(fitting[0][1].effort, Service)
        rows = tuple(self._service_row(d, s) if service else self._finite_row(d, s) for d, s in fitting)
        columns = SERVICE_COLUMNS if service else FINITE_COLUMNS
        blocks: list[Block] = [Title("On each accelerator, cheapest first"), Table(columns, rows), Line()]
        blocks += [Title("Where the utilisation comes from"), Facts(_origins(fitting)), Line()]
        if len(self.accelerators) <= DETAILED:
            for _, sizing in fitting:
                blocks += _detail(sizing)
        return blocks

    def _finite_row(self, device: Accelerator, sizing: Sizing) -> tuple[Text, ...]:
        effort = sizing.effort
        if not isinstance(effort, FiniteWork):
            raise TypeError(f"{device.name}: a service has no hours")
        return (
            strong(device.name),
            fmt.count(sizing.min_gpus),
            _memory(sizing),
            fmt.percent(sizing.mfu.value),
            fmt.band(effort.gpu_hours, fmt.gpu_hours),
            fmt.hours(effort.gpu_hours.p50 / sizing.min_gpus),
            fmt.energy(effort.energy_kwh.p50) if effort.energy_kwh.p50 else "unknown",
            *self._price_cells(device, sizing),
        )

    def _service_row(self, device: Accelerator, sizing: Sizing) -> tuple[Text, ...]:
        effort = sizing.effort
        if not isinstance(effort, Service):
            raise TypeError(f"{device.name}: finite work has no replicas")
        return (
            strong(device.name),
            f"{fmt.count(effort.replicas)} x {fmt.count(sizing.min_gpus)}",
            _memory(sizing),
            f"{effort.requests_per_s_per_replica:.3g}/s",
            fmt.band(effort.ttft_s, fmt.duration),
            fmt.band(effort.tpot_s, fmt.duration),
            fmt.watts(effort.watts_per_replica * effort.replicas),
            *self._price_cells(device, sizing),
        )

    def _price_cells(self, device: Accelerator, sizing: Sizing) -> tuple[Text, Text]:
        prices = self.prices.get(device.name)
        cost = _cost(sizing, prices)
        if prices is None or cost is None:
            return (dim("unknown"), dim("no price"))
        unit = "/h" if isinstance(sizing.effort, Service) else ""
        return (f"{fmt.usd_short(cost['p50'])}{unit}", self._quote(prices.low))

    def _quote(self, quote: Quote) -> Text:
        text = f"{fmt.usd(quote.usd_per_gpu_hour)}/GPU-h"
        if quote.observed_at is None:
            return f"{text} ({quote.offer})"
        return f"{text} ({quote.offer}, {fmt.age(quote.observed_at, self.now)} old, {quote.source})"

    def _refused(self) -> list[Block]:
        rows: list[tuple[Text, ...]] = [
            (device.name, warn(answer.code.value), answer.detail)
            for device in self.accelerators
            if isinstance(answer := self.sizings.get(device.name), Reason)
        ]
        if not rows:
            return []
        columns = (left("accelerator"), left("reason"), left("arithmetic"))
        return [Title("Does not run on"), Table(columns, tuple(rows)), Line()]

    def _one_inference(self, device: Accelerator) -> dict[str, float | None]:
        peak = device.peak(self.precision)
        prices = self.prices.get(device.name)
        weights_gib = self._weights_gb(self.precision) * 1e9 / GIB
        seconds = self._inference_flops() / (peak * 1e12) if peak else None

        def cost(quote: Quote | None) -> float | None:
            if seconds is None or quote is None:
                return None
            return usd_per_1000_tokens(seconds, self.inference_tokens, quote.usd_per_gpu_hour)

        return {
            "peak_tflops": peak,
            "seconds_at_peak": seconds,
            "gpus_for_weights": float(ceil(weights_gib / device.memory_gib)),
            "usd_per_1000_tokens_low": cost(prices.low if prices else None),
            "usd_per_1000_tokens_high": cost(prices.high if prices else None),
        }

    def _inference(self) -> list[Block]:
        able = [device for device in self.accelerators if device.peak(self.precision)]
        shown = able if len(able) <= DETAILED else [device for device in able if device.name in self.prices]
        if not shown:
            return []
        rows = tuple(self._inference_row(device) for device in sorted(shown, key=self._floor_usd))
        columns = (
            left("accelerator"),
            right("GPUs for the weights"),
            right("dense peak"),
            right("device time"),
            right("per 1,000 tokens"),
            right("per 1M tokens"),
            left("at"),
        )
        tokens = fmt.count(self.inference_tokens)
        title = f"One inference of {tokens} tokens in {self.precision} at 100 % of the peak: a floor, not an estimate"
        blocks: list[Block] = [Title(title), Table(columns, rows)]
        if len(shown) < len(able):
            left_out = fmt.plural(len(able) - len(shown), "accelerator")
            blocks.append(line(dim(f"{left_out} without a price left out: --accelerator NAME shows them"), indent=2))
        return blocks

    def _floor_usd(self, device: Accelerator) -> tuple[float, str]:
        usd = self._one_inference(device)["usd_per_1000_tokens_low"]
        return (float("inf") if usd is None else usd, device.name)

    def _inference_row(self, device: Accelerator) -> tuple[Text, ...]:
        one = self._one_inference(device)
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


FINITE_COLUMNS = (
    left("accelerator"),
    right("GPUs at least"),
    left("memory per GPU"),
    right("MFU"),
    left("work"),
    right("time on those"),
    right("energy"),
    right("cost"),
    left("at the cheapest offer"),
)
SERVICE_COLUMNS = (
    left("accelerator"),
    right("replicas x GPUs"),
    left("memory per GPU"),
    right("each serves"),
    left("first token"),
    left("each token"),
    right("power"),
    right("cost"),
    left("at the cheapest offer"),
)


def _cost(sizing: Sizing | None, prices: Prices | None) -> dict[str, float] | None:
    """US dollars at the cheapest offer: in all, or per hour of a service."""
    if sizing is None or prices is None:
        return None
    price = prices.low.usd_per_gpu_hour
    if isinstance(sizing.effort, Service):
        per_hour = sizing.effort.replicas * sizing.min_gpus * price
        return {"p10": per_hour, "p50": per_hour, "p90": per_hour}
    hours = sizing.effort.gpu_hours
    return {"p10": hours.p10 * price, "p50": hours.p50 * price, "p90": hours.p90 * price}


def _ends(low: float, high: float) -> str:
    return fmt.usd(low) if low == high else f"{fmt.usd(low)} to {fmt.usd(high)}"


def _memory(sizing: Sizing) -> str:
    return f"{fmt.gib(sizing.memory_per_gpu_gib)} of {fmt.gib(sizing.capacity_per_gpu_gib)}"


def _origins(fitting: Sequence[tuple[Accelerator, Sizing]]) -> tuple[tuple[str, Text], ...]:
    """Every MFU with its origin and the devices it is for."""
    devices: dict[tuple[float, str], list[str]] = {}
    for device, sizing in fitting:
        devices.setdefault((sizing.mfu.value, sizing.mfu.origin), []).append(device.name)
    ordered = sorted(devices.items(), key=lambda item: (-item[0][0], item[0][1]))
    return tuple((f"{fmt.percent(value)}", f"{origin} ({', '.join(names)})") for (value, origin), names in ordered)


def _detail(sizing: Sizing) -> list[Block]:
    terms = " + ".join(f"{term.name} {fmt.gib(term.gib)}" for term in sizing.memory)
    rows: list[tuple[str, Text]] = [("memory", f"{terms} = {fmt.gib(sizing.memory_gib)}")]
    rows += [(each.name, f"{each.value:.4g} ({each.origin})") for each in sizing.assumptions]
    return [Title(f"{sizing.accelerator}: what the arithmetic rests on"), Facts(tuple(rows)), Line()]


def _gigabytes(number: float) -> str:
    return f"{number:,.4g} GB" if number < 1e4 else f"{number / 1e3:,.4g} TB"
