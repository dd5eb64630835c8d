"""The pages of `validate` and `calibrate` over fixed rows, and the same facts in their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator.domain.sizing import Band
from orchestrator.interfaces.views import machine, plain
from orchestrator.interfaces.views.accuracy_view import AccuracyReport, FileVerdict
from orchestrator.interfaces.views.calibration_view import CalibrationReport, CalibrationsReport
from orchestrator.interfaces.views.page import Report
from orchestrator.sizing.accuracy import Judged, Quantity, Skipped
from orchestrator.sizing.learning import Calibration, calibrate
from orchestrator.sizing.parameters import Parameters

Golden = Callable[[str, str], None]


def row(number: int, quantity: Quantity, generation: str, true: float, predicted: float) -> Judged:
    return Judged(
        run_id=f"r{number}",
        family="ours",
        group=f"g{number // 2}",
        accelerator="H100-SXM" if generation == "hopper" else "A100-80GB",
        generation=generation,
        quantity=quantity,
        true=true,
        predicted=Band(predicted * 0.8, predicted, predicted * 1.25),
    )


def judged() -> tuple[Judged, ...]:
    trained = [row(number, Quantity.TRAINING_TIME, "hopper", 100.0 + 9 * number, 100.0) for number in range(5)]
    older = [row(number, Quantity.TRAINING_TIME, "ampere", 250.0, 200.0 + 25 * number) for number in range(3)]
    served = [row(9, Quantity.TPOT, "hopper", 0.0152, 0.0171)]
    return (*trained, *older, *served)


def verdict() -> FileVerdict:
    gpu = "is no device that we hold facts about"
    return FileVerdict(
        file="runs.csv",
        layout="training runs",
        rows=12,
        used=9,
        judged=judged(),
        skipped=(
            Skipped("runs.csv", 4, "a", "gpu", f"'XPU-1' {gpu}"),
            Skipped("runs.csv", 9, "b", "gpu", f"'XPU-2' {gpu}"),
            Skipped("runs.csv", 11, "c", "gpu_hours", "'about 3 weeks' is not a number"),
        ),
        assumed=(("precision not given: taken as bf16", 2),),
        left=(("request latency", 1),),
        ignored_columns=("seqlen (is seq_len meant?)",),
        notes=("the clock was steady",),
    )


def made() -> Calibration:
    return calibrate(judged(), Parameters(()), name="lab", made_on="2026-03-01", sources=("runs.csv",))


def reports() -> dict[str, Report]:
    files = (verdict(),)
    return {
        "accuracy": AccuracyReport(files=files, numbers="as released, no calibration", worst=True),
        "calibration": CalibrationReport(made=made(), files=files, kept=True, used=False),
        "calibrations": CalibrationsReport(kept=(made(),), used="lab"),
        "calibrations-none": CalibrationsReport(kept=(), used="default"),
    }


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_page_reads_as_it_did(name: str, golden: Golden) -> None:
    golden(name, plain.render(reports()[name].page()))


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_report_is_json_without_odd_numbers(name: str) -> None:
    text = machine.document(reports()[name].document())
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_reasons_of_one_kind_are_counted_together() -> None:
    text = plain.render(reports()["accuracy"].page())
    assert "2  runs.csv:4" in text
    assert "'XPU-2'" not in text
