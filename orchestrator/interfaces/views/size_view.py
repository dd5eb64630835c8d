"""Sizings: the FLOP arithmetic of a workload, and what it takes on every accelerator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Cluster
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Band, Service, Sizing
from orchestrator.domain.workload import Model, Workload
from orchestrator.interfaces.views import asked, multisite_view, size_detail_view, step_view
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.multisite_view import OnSites
from orchestrator.interfaces.views.page import (
    Block,
    Column,
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
    trimmed,
    warn,
)
from orchestrator.interfaces.views.size_figures import Asked, Figures, Location, Prices, Quote, figures
from orchestrator.interfaces.views.size_floor_view import GIB, Floor, weights_gb
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.spec.documents import to_jsonable

__all__ = ["Prices", "Quote", "SizeReport"]

DETAILED = 3  # accelerators of which every assumption is shown
PFLOP_S_DAY = 1e15 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReport:
    """A model, the work if there is some, and its sizing on every accelerator asked for.

    `inference_tokens` is the length of the one inference whose arithmetic is shown; `gpus` the devices asked for.
    """

    model: Model
    workload: Workload | None
    precision: Precision
    sizings: Mapping[str, Sizing | Reason]
    accelerators: tuple[Accelerator, ...]
    prices: Mapping[str, Prices]
    inference_tokens: float
    now: datetime
    gpus: int | None = None
    location: Location | None = None
    notes: tuple[str, ...] = ()  # how names were understood, and what was assumed
    cluster: Cluster | None = None  # how the devices of the fastest layouts are wired; None: none was searched
    sites: tuple[OnSites, ...] = ()

    def page(self) -> Page:
        """Header, sizings, refusals, one inference."""
        rows = self.fitting()
        blocks: list[Block] = [*self.opening(), *self._work(rows)]
        blocks += [*refused(self.all_figures()), *multisite_view.several(self.sites)]
        if not isinstance(rows[0].effort if rows else None, Service):
            blocks += self._floor().blocks(self.accelerators)
        return trimmed(blocks)

    def opening(self) -> list[Block]:
        """Title, model and work, and how names were understood."""
        blocks: list[Block] = [Title(f"Size of {self.model.name}"), Facts(self._header()), Line()]
        if self.notes:
            blocks += [*(line(dim(f"note: {note}"), indent=2) for note in self.notes), Line()]
        return blocks

    def document(self) -> dict[str, object]:
        """The same numbers, unrounded."""
        return {
            "model": to_jsonable(self.model),
            "workload": to_jsonable(self.workload),
            "training_flops": self._flops(),
            "inference": {"tokens": self.inference_tokens, "flops": self._floor().flops},
            "weights_gb": {precision.value: weights_gb(self.model, precision) for precision in BYTES},
            "location": to_jsonable(self.location),
            "notes": list(self.notes),
            "cluster": to_jsonable(self.cluster),
            "sites": [multisite_view.answer(each) for each in self.sites],
            "accelerators": [self._accelerator(device) for device in self.accelerators],
        }

    def all_figures(self) -> list[Figures]:
        """Every accelerator in the order asked for."""
        return [figures(self._asked(), device) for device in self.accelerators]

    def fitting(self) -> list[Figures]:
        """Those that the work fits, cheapest first."""
        rows = [row for row in self.all_figures() if row.sizing is not None]

        def rank(row: Figures) -> tuple[float, float, str]:
            amount = row.gpu_hours.p50 if row.gpu_hours else float(row.gpus or 0)
            return (row.usd.p50 if row.usd else float("inf"), amount, row.device.name)

        return sorted(rows, key=rank)

    def _asked(self) -> Asked:
        return Asked(
            workload=self.workload,
            sizings=self.sizings,
            prices=self.prices,
            gpus=self.gpus,
            location=self.location,
        )

    def _floor(self) -> Floor:
        return Floor(model=self.model, precision=self.precision, tokens=self.inference_tokens, prices=self.prices)

    def _accelerator(self, device: Accelerator) -> dict[str, object]:
        row = figures(self._asked(), device)
        return {
            "name": device.name,
            "memory_gib": device.memory_gib,
            "fits": row.sizing is not None if row.sizing or row.refusal else None,
            "sizing": to_jsonable(row.sizing),
            "refusal": to_jsonable(row.refusal),
            "gpus": row.gpus,
            "parallelism": row.layout if row.sizing else None,
            "gpu_hours": to_jsonable(row.gpu_hours),
            "hours": to_jsonable(row.hours),
            "energy_kwh": to_jsonable(row.kwh),
            "site_energy_kwh": row.site_kwh,
            "co2_kg": row.co2_kg,
            "tokens_per_s": row.tokens_per_s,
            "cheapest": to_jsonable(row.prices.low) if row.prices else None,
            "cost_usd": to_jsonable(row.usd),
            "mean_cost_usd": row.mean_usd,
            "usd_per_1m_tokens": to_jsonable(row.usd_per_1m),
            "usd_per_1m_output_tokens": to_jsonable(row.usd_per_1m_output),
            "inference": self._floor().on(device),
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
        product = f"2·N·tokens = 2 × {size} × {tokens} = {fmt.engineering(self._floor().flops)} FLOP"
        rows.append(("inference", f"{product} for {tokens} tokens"))
        rows.append(("weights", self._weights()))
        if self.location is not None:
            rows += size_detail_view.location_facts(self.location)
        return tuple(rows)

    def _flops(self) -> float | None:
        sized = next((each for each in self.sizings.values() if isinstance(each, Sizing)), None)
        return sized.flops if sized is not None else asked.flops_of(self.workload)

    def _weights(self) -> Text:
        shown = (Precision.FP32, Precision.BF16, Precision.INT8, Precision.INT4)
        said = ", ".join(f"{_gigabytes(weights_gb(self.model, precision))} in {precision}" for precision in shown)
        largest = max(self.accelerators, key=lambda device: device.memory_gib, default=None)
        if largest is None:
            return said
        room = largest.memory_gib * GIB / 1e9
        never = [str(precision) for precision in shown if weights_gb(self.model, precision) > room]
        if not never:
            return said
        words = f"no single device here holds them in {', '.join(never)}"
        return f"{said}; {words} (the largest, {largest.name}, has {fmt.gib(largest.memory_gib)})"

    def _work(self, fitting: Sequence[Figures]) -> list[Block]:
        if not fitting:
            return []
        service = isinstance(fitting[0].effort, Service)
        columns = [*(SERVICE if service else FINITE), *_site_columns(self.location, service=service), *MONEY]
        rows = tuple(self._row(row) for row in fitting)
        blocks: list[Block] = [Title("On each accelerator, cheapest first"), Table(tuple(columns), rows)]
        blocks += [*size_detail_view.bands(), Line(), *size_detail_view.memory_bars(fitting)]
        blocks += step_view.bars(fitting, self.cluster)
        if not service:  # a service's follows from its load
            blocks += [Title("Where the utilisation comes from"), Facts(_origins(fitting)), Line()]
        if len(self.accelerators) <= DETAILED:
            blocks += size_detail_view.details(fitting)
        return blocks

    def _row(self, row: Figures) -> tuple[Text, ...]:
        cells = _service_cells(row) if isinstance(row.effort, Service) else _finite_cells(row)
        per_hour = "/h" if isinstance(row.effort, Service) else ""
        site: tuple[Text, ...] = ()
        if self.location is not None:
            site = (_site(row),)
            if self.location.g_co2_per_kwh is not None:
                site = (*site, _co2(row.co2_kg, per_hour))
        if row.usd is None or row.prices is None:
            return (*cells, *site, dim("unknown"), dim("unknown"), dim("no price"))
        per_1m = fmt.usd(row.usd_per_1m.p50) if row.usd_per_1m else fmt.UNKNOWN
        return (*cells, *site, f"{fmt.usd_short(row.usd.p50)}{per_hour}", per_1m, self._quote(row.prices.low))

    def _quote(self, quote: Quote) -> Text:
        text = f"{fmt.usd(quote.usd_per_gpu_hour)}/GPU-h"
        if quote.observed_at is None:
            return f"{text} ({quote.offer})"
        return f"{text} ({quote.offer}, {fmt.age(quote.observed_at, self.now)} old, {quote.source})"


FINITE = (
    left("accelerator"),
    right("GPUs"),
    left("parallelism"),
    right("MFU"),
    left("time on those"),
    left("work"),
    right("energy"),
)
SERVICE = (
    left("accelerator"),
    right("replicas x GPUs"),
    right("each serves"),
    left("first token"),
    left("each token"),
    left("answer"),
    right("power"),
)
MONEY = (right("cost"), right("per 1M tokens"), left("at the cheapest offer"))


def refused(rows: Sequence[Figures]) -> list[Block]:
    """Why the work does not run on the others."""
    table: list[tuple[Text, ...]] = [
        (row.device.name, warn(row.refusal.code.value), row.refusal.detail) for row in rows if row.refusal is not None
    ]
    if not table:
        return []
    columns = (left("accelerator"), left("reason"), left("arithmetic"))
    return [Title("Does not run on"), Table(columns, tuple(table)), Line()]


def _site_columns(location: Location | None, *, service: bool) -> tuple[Column, ...]:
    if location is None:
        return ()
    co2 = (right("CO2"),) if location.g_co2_per_kwh is not None else ()
    return (right("site power" if service else "site energy"), *co2)


def _finite_cells(row: Figures) -> tuple[Text, ...]:
    return (
        strong(row.device.name),
        fmt.count(row.gpus or 0),
        row.layout,
        fmt.percent(row.sizing.mfu.value) if row.sizing else fmt.UNKNOWN,
        _band(row.hours, fmt.hours),
        fmt.gpu_hours(row.gpu_hours.p50) if row.gpu_hours else fmt.UNKNOWN,
        fmt.energy(row.kwh.p50) if row.kwh else fmt.UNKNOWN,
    )


def _service_cells(row: Figures) -> tuple[Text, ...]:
    effort, sizing = row.effort, row.sizing
    if sizing is None or not isinstance(effort, Service):
        raise TypeError(f"{row.device.name}: finite work has no replicas")
    mean = f" ({effort.mean_replicas:,.3g} on the average)" if effort.mean_replicas else ""
    return (
        strong(row.device.name),
        f"{fmt.count(effort.replicas)} x {fmt.count(sizing.min_gpus)}{mean}",
        f"{effort.requests_per_s_per_replica:.3g}/s",
        fmt.band(effort.ttft_s, fmt.duration),
        fmt.band(effort.tpot_s, fmt.duration),
        _band(effort.e2e_s, fmt.duration),
        fmt.watts(row.kwh.p50 * 1e3) if row.kwh else fmt.UNKNOWN,
    )


def _band(band: Band | None, show: fmt.Show) -> str:
    return fmt.band(band, show) if band is not None else fmt.UNKNOWN


def _site(row: Figures) -> str:
    """Energy of finite work, or power of a service, at the meter."""
    if row.site_kwh is None:
        return fmt.UNKNOWN
    return fmt.watts(row.site_kwh * 1e3) if isinstance(row.effort, Service) else fmt.energy(row.site_kwh)


def _co2(kg: float | None, unit: str) -> str:
    if kg is None:
        return fmt.UNKNOWN
    return f"{kg / 1e3:,.3g} t{unit}" if kg >= 1e3 else f"{kg:,.3g} kg{unit}"


def _origins(fitting: Sequence[Figures]) -> tuple[tuple[str, Text], ...]:
    """Every MFU with its origin and the devices it is for."""
    devices: dict[tuple[str, str], list[str]] = {}
    for row in fitting:
        if row.sizing is not None:
            devices.setdefault((fmt.percent(row.sizing.mfu.value), row.sizing.mfu.origin), []).append(row.device.name)
    return tuple((share, f"{origin} ({', '.join(names)})") for (share, origin), names in devices.items())


def _gigabytes(number: float) -> str:
    return f"{number:,.4g} GB" if number < 1e4 else f"{number / 1e3:,.4g} TB"
