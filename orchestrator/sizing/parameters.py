"""Parameters: every fitted or assumed number of the sizing by name, with its range and origin, in one file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.sizing import Assumption

FILE = Path(__file__).with_name("parameters.csv")
CALIBRATION = "calibration."  # what the names of a user's own numbers begin with


class Parameter(NamedTuple):
    """One number of the sizing model: its value, the range it may take when it is calibrated, and where it is from."""

    name: str  # "training.eta.ampere": what it belongs to, what it is, what it is for
    value: float
    low: float
    high: float
    unit: str
    origin: str

    def assumption(self) -> Assumption:
        """The parameter as a sizing shows it."""
        return Assumption(self.name, self.value, self.origin)


class Parameters(Mapping[str, float]):
    """The numbers of the sizing model by name; immutable."""

    __slots__ = ("_assumptions", "_rows", "_values")

    def __init__(self, rows: Iterable[Parameter]) -> None:
        self._rows = {row.name: row for row in rows}
        self._values = {name: row.value for name, row in self._rows.items()}
        self._assumptions: dict[str, Assumption] = {}  # made when first shown: a sizing of many devices repeats them

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: str) -> Parameter:
        """The whole row of `name`. Raises: KeyError."""
        return self._rows[name]

    def assumption(self, name: str) -> Assumption:
        """The parameter as a sizing shows it. Raises: KeyError."""
        if name not in self._assumptions:
            self._assumptions[name] = self._rows[name].assumption()
        return self._assumptions[name]

    def calibration(self) -> tuple[Assumption, ...]:
        """The rows that are not the bundled ones: a user's own, as a snapshot keeps them."""
        return tuple(row.assumption() for name, row in self._rows.items() if name.startswith(CALIBRATION))

    def replaced(self, rows: Iterable[Parameter]) -> Parameters:
        """These parameters with `rows` instead of those of the same name, and new ones added."""
        return Parameters((self._rows | {row.name: row for row in rows}).values())


@cache
def bundled() -> Parameters:
    """The parameters that isoflop comes with: a constant that happens to be kept in a file."""
    lines = csv.reader(FILE.read_text(encoding="utf-8").splitlines())
    next(lines)  # the header: name, value, low, high, unit, origin
    return Parameters(
        Parameter(name, float(value), float(low), float(high), unit, origin)
        for name, value, low, high, unit, origin in lines
    )


def with_calibration(rows: Iterable[Assumption]) -> Parameters:
    """The bundled parameters and the user's own `rows`, as `Parameters.calibration` gave them."""
    own = [
        Parameter(name=row.name, value=row.value, low=row.value, high=row.value, unit="", origin=row.origin)
        for row in rows
    ]
    return bundled().replaced(own) if own else bundled()
