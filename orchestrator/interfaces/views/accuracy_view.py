"""Accuracy: the error of predictions per quantity and generation, and the fate of every row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

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
from orchestrator.sizing.accuracy import NEAR, Judged, Score, Skipped, scores
from orchestrator.spec.documents import to_jsonable

WORST = 20  # rows shown
PARTICULARS = re.compile(r"'[^']*'|\d[\d.,]*(?:e[+-]?\d+)?")  # what reasons of one kind differ in
TITLES = ("rows", "groups", "median error", "p90 error", "bias", f"within {fmt.percent(NEAR)}", "in p10-p90")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """One file: `rows` = `used` + the skipped ones, always."""

    file: str
    layout: str
    rows: int
    used: int
    judged: tuple[Judged, ...]
    skipped: tuple[Skipped, ...]
    assumed: tuple[tuple[str, int], ...] = ()  # what was taken for rows that do not say, and of how many
    left: tuple[tuple[str, int], ...] = ()  # observed in rows that are used, and not predicted
    ignored_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # of whoever measured the rows


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """Files judged with one set of numbers; `worst` asks for the rows that are furthest off."""

    files: tuple[FileVerdict, ...]
    numbers: str  # "as released", or the calibration's name and date
    worst: bool = False

    @property
    def judged(self) -> tuple[Judged, ...]:
        """The predictions of all files."""
        return tuple(row for file in self.files for row in file.judged)

    def page(self) -> Page:
        """Header, scores, files, reasons, and the worst rows where they are asked for."""
        judged = self.judged
        facts: tuple[tuple[str, Text], ...] = (("rows", counts(self.files)), ("numbers", self.numbers))
        blocks: list[Block] = [Title(f"Accuracy of {fmt.plural(len(judged), 'prediction')}"), Facts(facts)]
        if judged:
            blocks += [Line(), *score_blocks(scores(judged))]
        blocks += [Line(), *fate_blocks(self.files)]
        if self.worst and judged:
            blocks += [Line(), *_worst(judged)]
        return tuple(blocks)

    def document(self) -> object:
        """Scores, counts and every reason; with `worst`, every row."""
        found: dict[str, object] = {
            "numbers": self.numbers,
            "scores": [to_jsonable(each) for each in scores(self.judged)],
            "files": file_documents(self.files),
        }
        if self.worst:
            found["rows"] = [_row_document(row) for row in _by_distance(self.judged)]
        return found


def counts(files: Sequence[FileVerdict]) -> str:
    """`511: 505 used, 6 skipped`."""
    rows, used = sum(file.rows for file in files), sum(file.used for file in files)
    return f"{fmt.count(rows)}: {fmt.count(used)} used, {fmt.count(rows - used)} skipped"


def fate_blocks(files: Sequence[FileVerdict]) -> list[Block]:
    """What became of every row of every file, and why."""
    rows = tuple(
        (file.file, file.layout, *map(fmt.count, (file.rows, file.used, file.rows - file.used))) for file in files
    )
    columns = (left("file"), left("of"), right("rows"), right("used"), right("skipped"))
    blocks: list[Block] = [Table(columns, rows), *_reasons(files)]
    blocks += _remarks("Taken for rows that do not say", [pair for file in files for pair in file.assumed])
    blocks += _remarks("Observed, and not predicted", [pair for file in files for pair in file.left])
    ignored = dict.fromkeys(column for file in files for column in file.ignored_columns)
    if ignored:
        blocks += [Line(), line(warn("columns without a meaning here: "), ", ".join(ignored))]
    notes = dict.fromkeys(note for file in files for note in file.notes)
    blocks += [Line(), *(line(note, indent=2) for note in notes)] if notes else []
    return blocks


def score_blocks(found: Sequence[Score]) -> list[Block]:
    """The scores as a table, and what its columns mean."""
    rows = []
    for score in found:
        name: Text = dim(f"  {score.generation}") if score.generation else strong(score.quantity.value)
        figures = (
            fmt.count(score.n),
            fmt.count(score.groups),
            fmt.percent(score.median_error),
            fmt.percent(score.p90_error),
            f"{'+' if score.bias >= 0 else ''}{fmt.percent(score.bias)}",
            fmt.percent(score.near),
            fmt.percent(score.covered),
        )
        rows.append((name, *figures))
    columns = (left("quantity, by generation"), *map(right, TITLES))
    said = (
        "error: |predicted/observed - 1|; bias: median of predicted/observed - 1; groups are independent of each other"
    )
    return [Table(columns, tuple(rows)), line(dim(said), indent=2)]


def _reasons(files: Sequence[FileVerdict]) -> list[Block]:
    """The kinds of reasons for which rows are skipped, most frequent first."""
    skipped = [row for file in files for row in file.skipped]
    if not skipped:
        return []
    kinds = Counter((row.column, PARTICULARS.sub("#", row.reason)) for row in skipped)
    first: dict[tuple[str, str], Skipped] = {}
    for row in skipped:
        first.setdefault((row.column, PARTICULARS.sub("#", row.reason)), row)
    rows = tuple(
        (fmt.count(count), f"{first[kind].file}:{first[kind].line}", first[kind].run_id, kind[0], first[kind].reason)
        for kind, count in kinds.most_common()
    )
    columns = (right("rows"), left("the first at"), left("id"), left("column"), left("why"))
    return [Line(), Title("Skipped rows by reason (--json lists every one)"), Table(columns, rows)]


def _remarks(title: str, pairs: Sequence[tuple[str, int]]) -> list[Block]:
    if not pairs:
        return []
    total: Counter[str] = Counter()
    for what, count in pairs:
        total[what] += count
    rows = tuple((fmt.count(count), what) for what, count in total.most_common())
    return [Line(), Title(title), Table((right("rows"), left("what")), rows)]


def _by_distance(judged: Sequence[Judged]) -> list[Judged]:
    """The furthest off first: twice as much and half as much are equally far."""
    return sorted(judged, key=lambda row: -abs(log(row.predicted.p50 / row.true)))


def _worst(judged: Sequence[Judged]) -> list[Block]:
    shown = _by_distance(judged)[:WORST]
    rows: tuple[tuple[Text, ...], ...] = tuple(
        (
            row.run_id,
            row.quantity.value,
            row.accelerator,
            f"{row.true:.4g}",
            fmt.band(row.predicted, lambda number: f"{number:.4g}"),
            f"{'+' if row.error >= 0 else ''}{fmt.percent(row.error)}",
            "yes" if row.covered else warn("no"),
        )
        for row in shown
    )
    columns = (left("id"), left("quantity"), left("device"), right("observed"), right("predicted"), right("error"))
    units = "s, or output tokens/s; training: device-hours of runs, device-seconds per 1e6 tokens of benchmarks"
    title = f"The {fmt.plural(len(shown), 'prediction')} furthest off"
    return [Title(title), Table((*columns, left("in p10-p90")), rows), line(dim(units), indent=2)]


def file_documents(files: Sequence[FileVerdict]) -> list[dict[str, object]]:
    """The fate of every row."""
    return [_file_document(file) for file in files]


def _file_document(file: FileVerdict) -> dict[str, object]:
    return {
        "file": file.file,
        "of": file.layout,
        "rows": file.rows,
        "used": file.used,
        "skipped": [to_jsonable(row) for row in file.skipped],
        "assumed": [{"what": what, "rows": count} for what, count in file.assumed],
        "not_predicted": [{"what": what, "rows": count} for what, count in file.left],
        "ignored_columns": list(file.ignored_columns),
        "notes": list(file.notes),
    }


def _row_document(row: Judged) -> dict[str, object]:
    return {
        "id": row.run_id,
        "quantity": row.quantity.value,
        "accelerator": row.accelerator,
        "generation": row.generation,
        "family": row.family,
        "group": row.group,
        "observed": row.true,
        "predicted": to_jsonable(row.predicted),
        "error": row.error,
        "in_band": row.covered,
    }
