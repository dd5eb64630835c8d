"""`isoflop calibrate --measure` on a bench of its own: what is written, and what is said when there is too little."""

from __future__ import annotations

import json
from itertools import repeat
from pathlib import Path

import pytest

from orchestrator.interfaces.cli import calibrate
from orchestrator.measure.session import Measured, measure_on
from orchestrator.testing.clock import FakeClock
from tests.unit.cli.conftest import Cli
from tests.unit.measure.bench_fakes import FakeBench, timer_of, wavering


def measuring(monkeypatch: pytest.MonkeyPatch, bench: FakeBench) -> None:
    def measure(devices: object, *, budget_s: float, clock: object, progress: object) -> Measured:
        return measure_on(
            bench, devices, budget_s=budget_s, clock=bench.clock, progress=progress, timer=timer_of(bench.clock)
        )

    monkeypatch.setattr(calibrate, "measure_here", measure)


def test_what_was_measured_is_written_as_files_that_validate_reads(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"seconds_of": lambda decoder, tokens: repeat(0.005 + 6 * decoder.parameters * tokens / 400e12)}
    measuring(monkeypatch, FakeBench(FakeClock(), **steps))
    ran = cli("calibrate", "--measure", "--budget", "5min", "-o", tmp_path / "seen")
    assert ran.code == 0, ran.err
    assert "NVIDIA H200" in ran.out
    checked = cli("validate", *sorted((tmp_path / "seen").glob("*.csv")), "--json")
    assert checked.code == 0, checked.err
    files = json.loads(checked.out)["files"]
    assert [file["rows"] - file["used"] for file in files] == [0, 0]
    assert all(file["used"] > 5 for file in files)


def test_too_few_rows_say_why_they_are_few(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, FakeBench(FakeClock(), seconds_of=lambda decoder, tokens: wavering(0.1, 0.3)))
    ran = cli("calibrate", "--measure", "--budget", "5min")
    assert ran.code == 2
    assert "too few rows" in ran.err
    assert "took 3.0 times as long" in ran.err
