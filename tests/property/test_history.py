"""Observed runs under arbitrary damage: nothing crashes, and every row is used or has a reason."""

from __future__ import annotations

import csv
import io
import tempfile
from math import exp
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.catalog.accelerators import load
from orchestrator.catalog.devices import resolver
from orchestrator.domain.sizing import Band
from orchestrator.interfaces.cli.judging import verdict
from orchestrator.interfaces.views.accuracy_view import AccuracyReport
from orchestrator.interfaces.views.machine import document
from orchestrator.interfaces.views.plain import render
from orchestrator.sizing.accuracy import Judged, Quantity, scores
from orchestrator.sizing.learning import calibrate
from orchestrator.sizing.parameters import bundled
from orchestrator.spec.history.layout import READ, Layout
from orchestrator.spec.history.reader import read

DEVICES = load()
RESOLVE = resolver(DEVICES)
KNOWN = {device.name: device for device in DEVICES}
GOOD = {
    Layout.TRAINING: {
        **{"id": "a", "kind": "run", "model": "Llama 3.1 8B", "gpu": "H100 SXM 80GB", "n_gpus": "512", "tp": "2"},
        **{"precision": "bf16", "tokens_t": "1.2", "gpu_hours": "152000", "seq_len": "8192", "recompute": "full"},
    },
    Layout.INFERENCE: {
        **{"id": "a", "model": "Llama 3.1 8B", "gpu": "L40S", "engine": "vllm-0.6", "mode": "conc", "isl": "512"},
        **{"batch_or_conc": "8", "osl": "128", "weight_prec": "fp8", "ttft_ms": "95", "tpot_ms": "19"},
    },
}
CELLS = st.one_of(
    st.sampled_from(["", "0", "-1", "nan", "inf", "1e308", "1e-9", "7e9", "about 3 weeks", "1,5", '"', "\n", "8.5"]),
    st.sampled_from(
        ["H100", "A100 SXM 80GB", "CPU", "Mixtral 8x7B", "moe", "encdec", "bench", "fp4", "int4", "single"]
    ),
    st.integers(1, 10**6).map(str),
    st.floats(1e-6, 1e6).map(str),
    st.text(alphabet="aé\ud800\x00\"',;\n 9", max_size=6),  # all of Unicode takes seconds to prepare
)


@st.composite
def files(draw: st.DrawFn) -> tuple[Layout, list[list[str]]]:
    """A layout, its header and rows of which some cells are mangled."""
    layout = draw(st.sampled_from([Layout.TRAINING, Layout.INFERENCE]))
    header = list(READ[layout])
    rows = [header]
    for number in range(draw(st.integers(0, 4))):
        row = {**GOOD[layout], "id": f"r{number}"}
        for column in draw(st.lists(st.sampled_from(header), max_size=4, unique=True)):
            row[column] = draw(CELLS)
        rows.append([row.get(column, "") for column in header][: draw(st.sampled_from([len(header)] * 5 + [3]))])
    return layout, rows


@settings(deadline=None)  # the first example loads the tables
@given(files())
def test_every_row_is_used_or_has_a_reason(made: tuple[Layout, list[list[str]]]) -> None:
    layout, rows = made
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        path.write_bytes(text.getvalue().encode("utf-8", errors="surrogatepass"))
        [history] = read([path], RESOLVE)
    assert history.layout is layout
    assert history.rows >= len(rows) - 1  # a line break in a cell may part a row in two
    found = verdict(history, KNOWN, bundled())
    assert found.rows == found.used + len(found.skipped)
    assert {row.run_id for row in found.judged} <= {run.id for run in history.runs}
    assert len({row.run_id for row in found.judged}) == found.used
    assert all(row.reason for row in found.skipped)
    report = AccuracyReport(files=(found,), numbers="as released", worst=True)
    assert render(report.page())
    assert document(report.document())


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"gpu,tok_s_gpu\n\x00,\x00\n")
@example(b"gpu,tok_s_gpu\n" + b'"' * 50 + b"\n")
def test_any_bytes_after_a_header_are_rows_or_reasons(tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        path.write_bytes(b"id,params_b,gpu,tok_s_gpu\n" + tail)
        [history] = read([path], RESOLVE)
    assert history.rows == len(history.runs) + len(history.skipped)
    assert bool(history.rows) == bool(tail.decode(errors="replace").strip())


@st.composite
def histories(draw: st.DrawFn) -> list[Judged]:
    """Rows of one kind that were predicted as 1."""
    half = draw(st.floats(0.05, 1.0))
    rows = draw(
        st.lists(st.tuples(st.floats(-3, 3), st.integers(0, 4), st.sampled_from("ab")), min_size=3, max_size=20)
    )
    return [
        Judged(
            run_id=str(number),
            family="f",
            group=str(group),
            accelerator="x",
            generation=generation,
            quantity=Quantity.TPOT,
            true=exp(ratio),
            predicted=Band(exp(-half), 1.0, exp(half)),
        )
        for number, (ratio, group, generation) in enumerate(rows)
    ]


@given(histories())
def test_a_factor_lies_between_none_and_what_was_seen(rows: list[Judged]) -> None:
    made = calibrate(rows, bundled(), name="x", made_on="2026-01-01", sources=("f",))
    low, high = min(row.true for row in rows), max(row.true for row in rows)
    for each in made.factors:
        assert min(low, 1.0) * (1 - 1e-9) <= each.factor <= max(high, 1.0) * (1 + 1e-9)
        assert each.spread > 0


@given(histories(), st.floats(0.1, 10.0))
def test_units_do_not_change_a_calibration(rows: list[Judged], scale: float) -> None:
    def factors(judged: list[Judged]) -> list[float]:
        made = calibrate(judged, bundled(), name="x", made_on="2026-01-01", sources=("f",))
        return [number for each in made.factors for number in (each.factor, each.spread)]

    scaled = [
        Judged(
            run_id=row.run_id,
            family=row.family,
            group=row.group,
            accelerator=row.accelerator,
            generation=row.generation,
            quantity=row.quantity,
            true=row.true * scale,
            predicted=row.predicted.scaled(scale),
        )
        for row in rows
    ]
    assert factors(scaled) == pytest.approx(factors(rows), rel=1e-6)


@given(histories())
def test_scores_of_generations_add_up_to_all(rows: list[Judged]) -> None:
    everything, *parts = scores(rows)
    assert everything.n == sum(part.n for part in parts) == len(rows)
    assert everything.covered * everything.n == pytest.approx(sum(part.covered * part.n for part in parts))
    assert everything.near * everything.n == pytest.approx(sum(part.near * part.n for part in parts))
    assert min(part.median_error for part in parts) <= everything.p90_error
