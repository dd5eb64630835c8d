"""CSVs of observed runs and model shapes: every row comes out as a run, or as skipped with the reason."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from orchestrator.domain.errors import Problem, SpecError, UserError
from orchestrator.domain.workload import Model
from orchestrator.sizing.accuracy import Skipped
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.spec import csv_text
from orchestrator.spec.history.cells import Cells
from orchestrator.spec.history.inference import inference_run
from orchestrator.spec.history.layout import Header, Layout, read_header
from orchestrator.spec.history.shapes import Find, finder, shape_of
from orchestrator.spec.history.training import Resolve, training_run
from orchestrator.spec.models import find_model

Run: TypeAlias = TrainingRun | InferenceRun
CUT_OFF = "the file ends in the middle: it was cut off, and the lines after this one are lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What became of one file: `rows` = runs (or models) + skipped, always."""

    file: str
    layout: Layout
    rows: int  # records after the header that are not blank
    runs: tuple[Run, ...] = ()
    lines: tuple[int, ...] = ()  # where each of them begins
    models: tuple[Model, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    assumed: tuple[tuple[str, int], ...] = ()  # what was taken for rows that do not say, and of how many
    ignored_columns: tuple[str, ...] = ()


def read(paths: Sequence[Path], resolve: Resolve) -> tuple[History, ...]:
    """Read files of observed runs, and of shapes for the models that they name, in any order.

    `resolve` gives the device that a vendor's name means, or the words that say why it is none.

    Raises: UserError where a file is given twice or none holds runs; ConfigError where one cannot be read; SpecError
        where a header is none of ours.
    """
    if len({path.absolute() for path in paths}) != len(paths):
        raise UserError("a file is given twice: its rows would count double")
    texts = [_Text.of(path) for path in paths]
    if all(text.header.layout is Layout.MODELS for text in texts):
        raise UserError("no file holds observed runs: a table of model shapes only helps to read them")
    shapes = {text.file: _shapes(text) for text in texts if text.header.layout is Layout.MODELS}
    own = {model.name.casefold(): model for history in shapes.values() for model in history.models}
    find = finder(own, find_model)
    return tuple(shapes.get(text.file) or _runs(text, find, resolve) for text in texts)


@dataclass(frozen=True, slots=True)
class _Text:
    file: str
    lines: Sequence[str]
    header: Header
    whole: bool

    @staticmethod
    def of(path: Path) -> _Text:
        text, whole = csv_text.read(path)
        lines = text.split("\n")
        if not lines[0].strip():
            message = "the file is empty" if not text.strip() else "the first line is empty"
            raise SpecError(str(path), (Problem(1, 1, "", message, hint="it is the header with the columns' names"),))
        try:
            header = read_header(next(csv.reader((lines[0],), strict=True)))
        except csv.Error as error:
            raise SpecError(str(path), (Problem(1, 1, "", f"the header is not CSV: {error}"),)) from error
        if isinstance(header, Problem):
            raise SpecError(str(path), (header,))
        return _Text(str(path), lines if whole else lines[:-1], header, whole)


class _Taking:
    """The state of one file."""

    def __init__(self, text: _Text) -> None:
        self._text = text
        self.rows = 0
        self.skipped: list[Skipped] = []
        self.assumed: Counter[str] = Counter()
        self._lines: dict[str, int] = {}

    def skip(self, line: int, name: str, column: str, reason: str) -> None:
        """The row that begins in `line` is no run."""
        self.skipped.append(Skipped(self._text.file, line, name, column, reason))

    def name(self, cells: Cells, line: int, column: str) -> str:
        """What the row is called; a name that a row in use has is a fault."""
        name = cells.text(column) or f"line {line}"
        first = self._lines.get(name.casefold())
        if first is not None:
            cells.fault(column, f"line {first} has the same {column} {name[:40]!r}: a run counts once")
        return name

    def use(self, name: str, line: int) -> None:
        """The row is in use under its name."""
        self._lines[name.casefold()] = line

    def faulty(self, cells: Cells, line: int, name: str) -> None:
        """The row cannot be used: its first fault says why."""
        column, message = cells.faults[0]
        more = f" (and {len(cells.faults) - 1} more)" if len(cells.faults) > 1 else ""
        self.skip(line, name, column, message + more)

    def cut_off(self) -> None:
        """The file ends in the middle of a row."""
        if not self._text.whole:
            self.rows += 1
            self.skip(len(self._text.lines) + 1, "", "", CUT_OFF)


def _shapes(text: _Text) -> History:
    taking, models = _Taking(text), []
    for record in csv_text.records(text.lines, text.header.width):
        taking.rows += 1
        if record.fault:
            taking.skip(record.line, "", "", record.fault)
            continue
        cells = Cells(text.header, record.fields)
        name = taking.name(cells, record.line, "model")
        model = shape_of(cells)
        if model is None or cells.faults:
            taking.faulty(cells, record.line, name)
        else:
            taking.use(name, record.line)
            models.append(model)
    taking.cut_off()
    return _history(text, taking, models=tuple(models))


def _runs(text: _Text, find: Find, resolve: Resolve) -> History:
    taking, runs, lines = _Taking(text), [], []
    read_row = training_run if text.header.layout is Layout.TRAINING else inference_run
    for record in csv_text.records(text.lines, text.header.width):
        taking.rows += 1
        if record.fault:
            taking.skip(record.line, "", "", record.fault)
            continue
        cells = Cells(text.header, record.fields)
        assumed: list[str] = []
        name = taking.name(cells, record.line, "id")
        run: Run | None = read_row(cells, name, find, resolve, assumed.append)
        if run is None or cells.faults:
            taking.faulty(cells, record.line, name)
        else:
            taking.use(name, record.line)
            runs.append(run)
            lines.append(record.line)
            taking.assumed.update(set(assumed))
    taking.cut_off()
    return _history(text, taking, runs=tuple(runs), lines=tuple(lines))


def _history(
    text: _Text,
    taking: _Taking,
    *,
    runs: tuple[Run, ...] = (),
    lines: tuple[int, ...] = (),
    models: tuple[Model, ...] = (),
) -> History:
    return History(
        file=text.file,
        layout=text.header.layout,
        rows=taking.rows,
        runs=runs,
        lines=lines,
        models=models,
        skipped=tuple(taking.skipped),
        assumed=tuple(taking.assumed.most_common()),
        ignored_columns=text.header.ignored,
    )
