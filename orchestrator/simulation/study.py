"""A study: one trace under several ways to act, as a table that any view can print."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Unit(StrEnum):
    """What a figure is."""

    USD = "usd"
    RATIO = "ratio"  # over a named baseline
    SHARE = "share"  # in [0, 1]
    HOURS = "hours"
    COUNT = "count"


class Measure(NamedTuple):
    """A column: `key` for machines, `title` for people."""

    key: str
    title: str
    unit: Unit


class Row(NamedTuple):
    """One way to act and its figures, in the order of the measures; None where it has none."""

    name: str
    values: tuple[float | None, ...]


class Study(NamedTuple):
    """`kind` is the sub-command, `setting` what was simulated, in words. The rows of `own` are isoflop's."""

    kind: str
    title: str
    setting: tuple[str, ...]
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    own: str = "isoflop"

    def value(self, name: str, key: str) -> float | None:
        """The figure `key` of the row `name`. Raises: KeyError where there is none."""
        columns = [measure.key for measure in self.measures]
        rows = {row.name: row.values for row in self.rows}
        return dict(zip(columns, rows[name], strict=True))[key]
