"""`isoflop gap`: the compute that frontier AI takes, year by year, against what is expected to exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from typer.models import OptionInfo

from orchestrator.catalog.lookup import look_up
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import files, session
from orchestrator.interfaces.views import chart
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.gap_view import GapReport, number
from orchestrator.sizing import gap
from orchestrator.sizing.arithmetic import lacks
from orchestrator.sizing.gap import Device, Region, Scenario
from orchestrator.sizing.parameters import bundled
from orchestrator.spec import quantity

YEARS = (gap.FIRST_YEAR, gap.HORIZON)  # those of which the source documents speak
YEAR = re.compile(r"(\d{4})(?:-(\d{4}))?", re.ASCII)


class Flag(NamedTuple):
    """How an assumption is given on the command line."""

    option: str
    what: str
    read: Callable[[str], float] = quantity.number
    metavar: str = "N"


FLAGS: Mapping[str, Flag] = {
    "training_flop": Flag("--training-flop", "FLOPs of a frontier training run of 2024"),
    "growth_per_year": Flag("--growth", "Growth of training compute, times a year"),
    "run_s": Flag("--run-length", "How long a training run takes, such as 1e7s or 100d", quantity.duration_s, "TIME"),
    "longer_runs": Flag("--longer-runs", "Conservative: runs are so many times as long by 2030"),
    "algorithmic_gain": Flag("--algorithmic-gain", "Conservative: the same for so many times fewer FLOPs by 2030"),
    "answer_flop": Flag("--answer-flop", "FLOPs of one answer of 2024"),
    "answer_s": Flag("--answer-time", "How long an answer may take, such as 1s", quantity.duration_s, "TIME"),
    "answers_at_once": Flag("--answers-at-once", "Answers that one edge node works on at a time"),
    "inference_growth": Flag("--inference-growth", "An answer takes so many times the FLOPs by 2030"),
    "us_hpc_2024": Flag("--us-hpc-2024", "Largest US HPC system of 2024, EFLOP/s"),
    "us_hpc_2030": Flag("--us-hpc-2030", "Largest US HPC system of 2030, EFLOP/s"),
    "us_cloud_2024": Flag("--us-cloud-2024", "Largest US cloud system of 2024, EFLOP/s"),
    "us_cloud_2030": Flag("--us-cloud-2030", "Largest US cloud system of 2030, EFLOP/s"),
    "eu_hpc_2024": Flag("--eu-hpc-2024", "Largest EU HPC system of 2024, EFLOP/s"),
    "eu_hpc_2030": Flag("--eu-hpc-2030", "Largest EU HPC system of 2030, EFLOP/s"),
    "eu_cloud_2024": Flag("--eu-cloud-2024", "Largest EU cloud system of 2024, EFLOP/s"),
    "eu_cloud_2030": Flag("--eu-cloud-2030", "Largest EU cloud system of 2030, EFLOP/s"),
    "supply_share": Flag("--supply-share", "Share of its rated speed that training gets of a system", quantity.ratio),
    "us_edge_gpus": Flag("--us-edge-gpus", "GPUs of one US edge node"),
    "eu_edge_gpus": Flag("--eu-edge-gpus", "GPUs of one EU edge node"),
    "edge_utilisation": Flag("--edge-utilisation", "Share of the peak that answers get at the edge", quantity.ratio),
    "utilisation": Flag("--utilisation", "Share of the peak that training gets of its GPUs (MFU)", quantity.ratio),
    "device_growth": Flag("--device-growth", "Speed of one GPU, times a year"),
    "efficiency_growth": Flag("--efficiency-growth", "FLOP/s per watt, times a year"),
    "watts_per_tdp": Flag("--watts-per-tdp", "Watts of IT for every watt of the GPUs' TDP"),
    "pue": Flag("--pue", "Power usage effectiveness of the site"),
}
OPTIONS = {name: flag.option for name, flag in FLAGS.items()}


def _assumed(name: str) -> OptionInfo:
    """The option of an assumption, its default in the help."""
    flag, row = FLAGS[name], bundled().row(gap.PREFIX + name)
    text = f"{flag.what} ({number(row.value)})."
    option: OptionInfo = typer.Option(flag.option, metavar=flag.metavar, help=text, rich_help_panel="Assumptions")
    return option


def run(
    *,
    year: Annotated[
        list[str] | None,
        typer.Option("--year", metavar="YEAR", help="Year or range, such as 2027 or 2024-2035; may be repeated."),
    ] = None,
    region: Annotated[list[Region] | None, typer.Option("--region", help="Only this; may be repeated.")] = None,
    scenario: Annotated[list[Scenario] | None, typer.Option("--scenario", help="Only this; may be repeated.")] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Accelerator that training is counted in.")
    ] = "H100-SXM",
    edge_device: Annotated[
        str, typer.Option("--edge-device", metavar="NAME", help="Accelerator of edge nodes.")
    ] = "L4",
    precision: Annotated[Precision, typer.Option("--precision", help="Of both devices' arithmetic.")] = Precision.BF16,
    chart_file: Annotated[
        Path | None,
        typer.Option("--chart", metavar="FILE", help="Draw 2024 to 2035 as .svg or .png (extra: isoflop[charts])."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    training_flop: Annotated[str | None, _assumed("training_flop")] = None,
    growth_per_year: Annotated[str | None, _assumed("growth_per_year")] = None,
    run_s: Annotated[str | None, _assumed("run_s")] = None,
    longer_runs: Annotated[str | None, _assumed("longer_runs")] = None,
    algorithmic_gain: Annotated[str | None, _assumed("algorithmic_gain")] = None,
    answer_flop: Annotated[str | None, _assumed("answer_flop")] = None,
    answer_s: Annotated[str | None, _assumed("answer_s")] = None,
    answers_at_once: Annotated[str | None, _assumed("answers_at_once")] = None,
    inference_growth: Annotated[str | None, _assumed("inference_growth")] = None,
    us_hpc_2024: Annotated[str | None, _assumed("us_hpc_2024")] = None,
    us_hpc_2030: Annotated[str | None, _assumed("us_hpc_2030")] = None,
    us_cloud_2024: Annotated[str | None, _assumed("us_cloud_2024")] = None,
    us_cloud_2030: Annotated[str | None, _assumed("us_cloud_2030")] = None,
    eu_hpc_2024: Annotated[str | None, _assumed("eu_hpc_2024")] = None,
    eu_hpc_2030: Annotated[str | None, _assumed("eu_hpc_2030")] = None,
    eu_cloud_2024: Annotated[str | None, _assumed("eu_cloud_2024")] = None,
    eu_cloud_2030: Annotated[str | None, _assumed("eu_cloud_2030")] = None,
    supply_share: Annotated[str | None, _assumed("supply_share")] = None,
    us_edge_gpus: Annotated[str | None, _assumed("us_edge_gpus")] = None,
    eu_edge_gpus: Annotated[str | None, _assumed("eu_edge_gpus")] = None,
    edge_utilisation: Annotated[str | None, _assumed("edge_utilisation")] = None,
    utilisation: Annotated[str | None, _assumed("utilisation")] = None,
    device_growth: Annotated[str | None, _assumed("device_growth")] = None,
    efficiency_growth: Annotated[str | None, _assumed("efficiency_growth")] = None,
    watts_per_tdp: Annotated[str | None, _assumed("watts_per_tdp")] = None,
    pue: Annotated[str | None, _assumed("pue")] = None,
) -> None:
    """Show demand for compute against expected capacity, 2024 to 2035.

    Exit codes: 0, or 2 for bad input, or where a chart is asked for and cannot be drawn or written.
    """
    given = {name: value for name, value in locals().items() if name in FLAGS}  # the options of the assumptions
    form = chart.format_of(chart_file) if chart_file is not None else None
    if form is not None:
        chart.check_installed()
    assumed = gap.outlook(_changes(given))
    regions = tuple(dict.fromkeys(region)) if region else tuple(Region)
    scenarios = tuple(each for each in Scenario if not scenario or each in scenario)
    known = session.open_app().accelerators()
    trainer, trainer_notes = _device(device, known, precision, training=True)
    edge, edge_notes = _device(edge_device, known, precision, training=False)
    rows = gap.capacity_gap(assumed, _years(year), device=trainer, edge_device=edge)
    if chart_file is not None and form is not None:
        drawn = importlib.import_module("orchestrator.interfaces.views.gap_chart").gap_chart(
            assumed, regions, scenarios, device=trainer, edge_device=edge
        )
        files.write_bytes(chart_file, chart.render(drawn, form))
        typer.echo(f"{chart_file}: the chart", err=True)
    report = GapReport(
        outlook=assumed,
        rows=tuple(row for row in rows if row.scenario in scenarios),
        regions=regions,
        device=trainer,
        edge_device=edge,
        flags=OPTIONS,
        notes=trainer_notes + edge_notes,
    )
    choose(as_json).show(report)


def _changes(given: Mapping[str, str | None]) -> dict[str, float]:
    """What the options say, by assumption. Raises: UserError naming the option."""
    changes: dict[str, float] = {}
    for name, text in given.items():
        flag = FLAGS[name]
        value = session.read_option(flag.option, text, flag.read)
        if value is None:
            continue
        found = gap.fault(name, value)
        if found:
            raise UserError(f"{flag.option} {text}: {found}")
        changes[name] = value
    return changes


def _years(asked: Sequence[str] | None) -> tuple[int, ...]:
    """Every year asked for once, in order. Raises: UserError."""
    years: set[int] = set()
    for text in asked or ():
        found = YEAR.fullmatch(text.strip())
        if found is None:
            raise UserError(f"--year {text}: not a year or a range (write 2030 or 2024-2035)")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise UserError(f"--year {text}: the range ends before it begins")
        if first < gap.FIRST_YEAR or last > gap.LAST_YEAR:
            raise UserError(f"--year {text}: the outlook is from {gap.FIRST_YEAR} to {gap.LAST_YEAR}")
        years.update(range(first, last + 1))
    return tuple(sorted(years)) or YEARS


def _device(
    name: str, known: Sequence[Accelerator], precision: Precision, *, training: bool
) -> tuple[Device, tuple[str, ...]]:
    """The accelerator that `name` means, and what there is to say about it. Raises: UserError."""
    option = "--device" if training else "--edge-device"
    chosen = look_up(name, known)
    if len(chosen.devices) != 1:
        raise UserError(f"{option} {name}: one accelerator, please")
    accelerator = chosen.devices[0]
    found = gap.device_of(accelerator, precision, training=training)
    if found is None:
        raise UserError(f"{option} {name}: {lacks(accelerator, precision)}")
    return found, chosen.notes
