"""Calibrations: what was learned, from how much, what it changes, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.accuracy_view import FileVerdict, counts, fate_blocks, file_documents
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    code,
    dim,
    good,
    left,
    line,
    right,
)
from orchestrator.sizing.learning import LEAST_ROWS, Calibration, Factor
from orchestrator.spec.documents import to_jsonable

LEGEND = (
    "factor: predicted times are multiplied by it, throughput is divided; shrunk towards 1 where groups are few",
    "band: p10 to p90 around the corrected median",
    "error: the median of these same rows; it says how well the factor fits them, not what comes next",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """A calibration just made from `files`; `kept` it was stored, `used` the settings choose it."""

    made: Calibration
    files: tuple[FileVerdict, ...]
    kept: bool
    used: bool

    def page(self) -> Page:
        """What was learned and from what."""
        verb = "kept as" if self.kept else "not kept, for --dry-run:"
        facts: tuple[tuple[str, Text], ...] = (
            ("rows", counts(self.files)),
            ("predictions", f"{fmt.count(self.made.rows)} to learn from"),
        )
        blocks: list[Block] = [
            line(good("calibrated "), f"from {', '.join(self.made.sources)}, {verb} {self.made.name}"),
            Facts(facts),
            Line(),
            *factor_blocks(self.made),
            Line(),
            *fate_blocks(self.files),
        ]
        return (*blocks, Line(), *_use(self.made.name, used=self.used, kept=self.kept))

    def document(self) -> object:
        """The same as fields."""
        return {
            "calibration": to_jsonable(self.made),
            "kept": self.kept,
            "used": self.used and self.kept,
            "files": file_documents(self.files),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationsReport:
    """Everything kept, and the name that the settings choose."""

    kept: tuple[Calibration, ...]
    used: str

    def page(self) -> Page:
        """A table per calibration."""
        if not self.kept:
            return (line("no calibration is kept; isoflop calibrate FILE makes one"),)
        blocks: list[Block] = []
        for each in self.kept:
            said = ", in use" if each.name == self.used else ""
            blocks += [
                Title(f"{each.name}, of {each.made_on}{said}"),
                line(f"from {', '.join(each.sources)}", indent=2),
            ]
            blocks += [*factor_blocks(each), Line()]
        return tuple(blocks[:-1])

    def document(self) -> object:
        """The same as fields."""
        return {"used": self.used, "calibrations": [to_jsonable(each) for each in self.kept]}


def factor_blocks(made: Calibration) -> list[Block]:
    """The factors as a table, and the kinds that had too few rows."""
    columns = (left("of"), left("generation"), right("factor"), right("band"), right("rows"), right("groups"))
    rows = tuple(_factor(each) for each in made.factors)
    blocks: list[Block] = [Table((*columns, right("error before"), right("after")), rows)]
    blocks += [line(dim(each), indent=2) for each in LEGEND]
    if made.left:
        said = ", ".join(f"{kind} ({fmt.plural(count, 'row')})" for kind, count in made.left)
        blocks.append(line(f"left as released, with fewer than {LEAST_ROWS} rows: {said}", indent=2))
    return blocks


def _factor(each: Factor) -> tuple[Text, ...]:
    low, high = exp(-each.spread), exp(each.spread)
    return (
        each.kind.value,
        "all others" if each.generation == "all" else each.generation,
        f"{each.factor:.3f}",
        f"{low:.2f} to {high:.2f}",
        fmt.count(each.rows),
        fmt.count(each.groups),
        fmt.percent(each.before),
        fmt.percent(each.after),
    )


def _use(name: str, *, used: bool, kept: bool) -> list[Block]:
    if not kept:
        return [line("without --dry-run, size and plan use it")]
    if used:
        return [line("size and plan use it now and name it; to see what that does:"), _command(name)]
    setting = f'[sizing] calibration = "{name}"'
    return [line("size and plan use it with ", code(setting), " in the settings; to try it:"), _command(name)]


def _command(name: str) -> Line:
    return line(code(f"isoflop validate FILE... --calibration {name}"), indent=2)
