"""Comparison: accelerators side by side for one workload, every number beside its ratio to the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.domain.sizing import Band, FiniteWork, Service, Step
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views import multisite_view, size_detail_view, step_view
from orchestrator.interfaces.views.effort_words import NO_LAYOUT, seconds
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    dim,
    good,
    left,
    right,
    trimmed,
    warn,
)
from orchestrator.interfaces.views.size_figures import Figures
from orchestrator.interfaces.views.size_view import DETAILED, SizeReport, refused

Number = Callable[[Figures], float | None]
Words = Callable[[Figures], str]


class Measure(NamedTuple):
    """One row: its name with the unit, how to read it, how to print it; rows without any value are left out."""

    name: str
    key: str
    number: Number
    words: Words
    ratio: bool = True  # whether the ratio to the first says anything


@dataclass(frozen=True, slots=True)
class CompareReport:
    """The sizings of `report`, one column per accelerator in the order asked for."""

    report: SizeReport

    def page(self) -> Page:
        """Header, the columns, memory, refusals."""
        rows = self.report.all_figures()
        columns = (left(""), *(right(row.device.name) for row in rows))
        fitting = [row for row in rows if row.sizing is not None]
        blocks: list[Block] = self.report.opening()
        blocks += [Title(self._title(rows)), Table(columns, tuple(_table(rows))), Line()]
        # Names of offers are long: as a row they would make every column as wide.
        blocks += [Title("Cheapest offers"), Facts(tuple((row.device.name, _offer(row)) for row in rows)), Line()]
        blocks += [*size_detail_view.memory_bars(fitting), *step_view.bars(fitting, self.report.cluster)]
        blocks += refused(rows)
        if len(fitting) <= DETAILED:
            blocks += size_detail_view.details(fitting)
        return trimmed([*blocks, *multisite_view.several(self.report.sites)])

    def document(self) -> dict[str, object]:
        """The sizings in full, and the comparison with its ratios."""
        rows = self.report.all_figures()
        first = _first(rows)
        return {
            **self.report.document(),
            "compare": {
                "first": first.device.name if first else None,
                "rows": {
                    measure.key: {
                        row.device.name: {"value": measure.number(row), "ratio": _ratio(measure, row, first)}
                        for row in rows
                    }
                    for measure in MEASURES
                    if any(measure.number(row) is not None for row in rows)
                },
            },
        }

    def _title(self, rows: Sequence[Figures]) -> str:
        first = _first(rows)
        beside = f"; in parentheses the ratio to {first.device.name}" if first is not None and len(rows) > 1 else ""
        return f"Side by side, medians at the cheapest offer{beside}"


def _first(rows: Sequence[Figures]) -> Figures | None:
    """What the ratios are to: the first that the work fits."""
    return next((row for row in rows if row.sizing is not None), None)


def _ratio(measure: Measure, row: Figures, first: Figures | None) -> float | None:
    if not measure.ratio:
        return None
    own, base = measure.number(row), measure.number(first) if first is not None else None
    return None if own is None or not base else own / base


def _table(rows: Sequence[Figures]) -> list[tuple[Text, ...]]:
    first = _first(rows)
    table: list[tuple[Text, ...]] = [("fits", *(_fits(row) for row in rows))]
    if any(row.layout != NO_LAYOUT for row in rows):
        table.append(("parallelism", *(row.layout for row in rows)))
    for measure in MEASURES:
        if any(measure.number(row) is not None for row in rows):
            table.append((measure.name, *(_cell(measure, row, first) for row in rows)))
    return table


def _fits(row: Figures) -> Text:
    if row.sizing is not None:
        return good("yes")
    return warn(row.refusal.code.value) if row.refusal is not None else dim(fmt.UNKNOWN)


def _cell(measure: Measure, row: Figures, first: Figures | None) -> Text:
    if measure.number(row) is None:
        return dim(NO_LAYOUT if row.refusal is not None else fmt.UNKNOWN)
    ratio = _ratio(measure, row, first)
    beside = f" ({ratio:,.2f}x)" if ratio is not None and row is not first else ""
    return f"{measure.words(row)}{beside}"


def _offer(row: Figures) -> Text:
    return dim("no price") if row.prices is None else row.prices.low.offer


def _median(band: Band | None) -> float | None:
    return band.p50 if band is not None else None


def _said(band: Band | None, show: fmt.Show) -> str:
    return show(band.p50) if band is not None else fmt.UNKNOWN


def _range(band: Band | None, show: fmt.Show) -> str:
    return f"{show(band.p10)} to {show(band.p90)}" if band is not None else fmt.UNKNOWN


def _service(row: Figures) -> Service | None:
    return row.effort if isinstance(row.effort, Service) else None


def _of_service(read: Callable[[Service], float | None]) -> Number:
    def number(row: Figures) -> float | None:
        service = _service(row)
        return read(service) if service is not None else None

    return number


def _of_step(read: Callable[[Step], float]) -> Number:
    def number(row: Figures) -> float | None:
        step = step_view.step_of(row)
        return read(step) if step is not None else None

    return number


def _plain(number: Number, show: fmt.Show) -> Words:
    def words(row: Figures) -> str:
        value = number(row)
        return fmt.UNKNOWN if value is None else show(value)

    return words


def _measure(name: str, key: str, number: Number, show: fmt.Show) -> Measure:
    return Measure(name, key, number, _plain(number, show))


def _finite_only(read: Callable[[Figures], float | None]) -> Number:
    return lambda row: read(row) if isinstance(row.effort, FiniteWork) else None


def _service_only(read: Callable[[Figures], float | None]) -> Number:
    return lambda row: read(row) if isinstance(row.effort, Service) else None


def _rate(number: float) -> str:
    return f"{number:,.4g}/s"


def _tokens(number: float) -> str:
    return f"{number:,.0f}/s" if number >= 100 else f"{number:,.3g}/s"


def _price(row: Figures) -> float | None:
    return row.prices.low.usd_per_gpu_hour if row.prices is not None and row.sizing is not None else None


MEASURES: tuple[Measure, ...] = (
    _measure("GPUs", "gpus", lambda row: float(row.gpus) if row.gpus else None, fmt.count),
    _measure("replicas", "replicas", _of_service(lambda service: float(service.replicas)), fmt.count),
    _measure("MFU", "mfu", _finite_only(lambda row: row.sizing.mfu.value if row.sizing else None), fmt.percent),
    _measure("time", "hours", lambda row: _median(row.hours), fmt.hours),
    Measure(
        "  10th to 90th percentile",
        "hours_p90",
        lambda row: row.hours.p90 if row.hours else None,
        lambda row: _range(row.hours, fmt.hours),
        ratio=False,
    ),
    _measure("step, by the step model", "step_s", _of_step(lambda step: step.seconds), seconds),
    _measure("MFU of the step alone", "step_mfu", _of_step(lambda step: step.mfu), fmt.percent),
    _measure("GPU-hours", "gpu_hours", lambda row: _median(row.gpu_hours), fmt.gpu_hours),
    _measure(
        "requests/s of a replica",
        "requests_per_s_per_replica",
        _of_service(lambda service: service.requests_per_s_per_replica),
        _rate,
    ),
    _measure("time to first token", "ttft_s", _of_service(lambda service: service.ttft_s.p50), fmt.duration),
    _measure(
        "  of 95 in 100 requests", "ttft_p95_s", _of_service(lambda service: _median(service.ttft_p95_s)), fmt.duration
    ),
    _measure("time per token", "tpot_s", _of_service(lambda service: service.tpot_s.p50), fmt.duration),
    _measure("whole answer", "e2e_s", _of_service(lambda service: _median(service.e2e_s)), fmt.duration),
    _measure("tokens", "tokens_per_s", _finite_only(lambda row: row.tokens_per_s), _tokens),
    _measure(
        "most output tokens of a replica",
        "most_tokens_per_s",
        _of_service(lambda service: service.most_tokens_per_s or None),
        _tokens,
    ),
    _measure("cost", "usd", _finite_only(lambda row: _median(row.usd)), fmt.usd_short),
    _measure("cost per hour", "usd_per_hour", _service_only(lambda row: _median(row.usd)), fmt.usd_short),
    _measure("  scaling with the load", "mean_usd_per_hour", lambda row: row.mean_usd, fmt.usd_short),
    _measure("cost per 1M tokens", "usd_per_1m_tokens", lambda row: _median(row.usd_per_1m), fmt.usd),
    _measure(
        "cost per 1M output tokens", "usd_per_1m_output_tokens", lambda row: _median(row.usd_per_1m_output), fmt.usd
    ),
    _measure("energy of the GPUs", "energy_kwh", _finite_only(lambda row: _median(row.kwh)), fmt.energy),
    _measure("power of the GPUs", "kw", _service_only(lambda row: _median(row.kwh)), lambda kw: fmt.watts(kw * 1e3)),
    _measure("energy of the site", "site_energy_kwh", _finite_only(lambda row: row.site_kwh), fmt.energy),
    _measure("CO2", "co2_kg", _finite_only(lambda row: row.co2_kg), lambda kg: f"{kg:,.4g} kg"),
    _measure("power of the site", "site_kw", _service_only(lambda row: row.site_kwh), lambda kw: fmt.watts(kw * 1e3)),
    _measure("CO2 per hour", "co2_kg_per_hour", _service_only(lambda row: row.co2_kg), lambda kg: f"{kg:,.3g} kg"),
    _measure(
        "memory of a GPU at the least count",
        "memory_per_gpu_gib",
        lambda row: row.sizing.memory_per_gpu_gib if row.sizing else None,
        fmt.gib,
    ),
    _measure("price of a GPU-hour", "usd_per_gpu_hour", _price, fmt.usd),
)
