"""`python -m orchestrator.measure`: the files it writes, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.measure import __main__ as command
from orchestrator.measure.session import Measured, measure_on
from orchestrator.testing.clock import FakeClock
from tests.unit.measure.bench_fakes import FakeBench, timer_of


def fake(**changes: object) -> object:
    clock = FakeClock()
    bench = FakeBench(clock, **changes)

    def measure(devices: object, *, budget_s: float, clock: object, progress: object) -> Measured:
        return measure_on(
            bench, devices, budget_s=budget_s, clock=bench.clock, progress=progress, timer=timer_of(bench.clock)
        )

    return measure


def test_rows_are_written_and_shown_and_progress_is_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "measure", fake())
    folder = tmp_path / "new" / "folder"
    assert command.main(["--out", str(folder), "--budget", "900"]) == 0
    shown = capsys.readouterr()
    for name in ("training_runs.csv", "inference_runs.csv"):
        text = (folder / name).read_text()
        assert len(text.splitlines()) > 5
        assert text in shown.out
    assert "H200 of the accelerator table" in shown.out
    assert "serving llama-3.1-8b" in shown.err


def test_no_row_is_exit_1_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "measure", fake(product_s=9.0))
    assert command.main(["--out", str(tmp_path), "--budget", "5"]) == 1
    assert "larger budget" in capsys.readouterr().out


def test_no_pytorch_is_exit_2_and_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(*args: object, **named: object) -> Measured:
        raise ConfigError("measuring needs PyTorch: pip install 'isoflop[measure]'")

    monkeypatch.setattr(command, "measure", absent)
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "isoflop[measure]" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_exit_2_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "measure", lambda *args, **named: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    assert command.main(["--out", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
