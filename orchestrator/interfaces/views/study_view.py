"""A study: what was simulated, and the figures of every way to act in a table."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Page, Table, Text, Title, dim, left, line, right, strong
from orchestrator.interfaces.views.page import Line as Blank
from orchestrator.simulation.study import Row, Study, Unit


@dataclass(frozen=True, slots=True)
class StudyReport:
    """One study."""

    study: Study

    def page(self) -> Page:
        """The setting, the table, and what to know of it."""
        study = self.study
        shown = [
            index for index, _ in enumerate(study.measures) if any(r.values[index] is not None for r in study.rows)
        ]
        columns = (left(""), *(right(study.measures[index].title) for index in shown))
        rows = tuple(self._row(row, shown) for row in study.rows)
        blocks: list[Block] = [Title(study.title), *(line(text) for text in study.setting), Blank()]
        blocks.append(Table(columns, rows))
        if study.notes:
            blocks.append(Blank())
            blocks += [line(dim("note: "), note) for note in study.notes]
        return tuple(blocks)

    def document(self) -> object:
        """Every figure, unrounded."""
        study = self.study
        return {
            "simulation": study.kind,
            "setting": list(study.setting),
            "rows": [
                {"name": row.name} | {m.key: value for m, value in zip(study.measures, row.values, strict=True)}
                for row in study.rows
            ],
            "notes": list(study.notes),
        }

    def _row(self, row: Row, shown: list[int]) -> tuple[Text, ...]:
        name: Text = strong(row.name) if row.name == self.study.own else row.name
        return (name, *(_figure(row.values[index], self.study.measures[index].unit) for index in shown))


def _figure(value: float | None, unit: Unit) -> str:
    if value is None:
        return ""
    match unit:
        case Unit.USD:
            return fmt.usd(value)
        case Unit.RATIO:
            return f"{value:.3f}x"
        case Unit.SHARE:
            return f"{value:.2%}"
        case Unit.HOURS:
            return f"{value:,.2f}"
        case Unit.COUNT:
            return fmt.count(value)
