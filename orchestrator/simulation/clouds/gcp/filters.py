"""The filter expressions of Compute Engine's lists, as far as clients use them: comparisons joined by AND."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Item = Mapping[str, Any]
Test = Callable[[Item], bool]

_CLAUSE = re.compile(
    r"""\s*\(?\s*(?P<field>[A-Za-z][\w.-]*)\s*(?P<operator>!=|>=|<=|=|>|<|\bne\b|\beq\b)\s*"""
    r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s()"']+))\s*\)?\s*(?:AND\b)?""",
    re.VERBOSE,
)


class BadFilter(ValueError):
    """A filter that cannot be read."""


def parse(expression: str) -> Test:
    """A test of list items: every comparison holds. Raises: BadFilter."""
    tests: list[Test] = []
    place = 0
    while place < len(expression):
        found = _CLAUSE.match(expression, place)
        if found is None:
            raise BadFilter(f"Invalid list filter expression: {expression}")
        value = next(found[name] for name in ("double", "single", "bare") if found[name] is not None)
        tests.append(_test(found["field"], found["operator"], value))
        place = found.end()
    return lambda item: all(test(item) for test in tests)


def _test(field: str, operator: str, value: str) -> Test:
    path = field.split(".")

    def actual(item: Item) -> str:
        found: Any = item
        for step in path:
            found = found.get(step) if isinstance(found, Mapping) else None
        return "" if found is None else str(found)

    if operator in {"eq", "ne"}:  # the value is a regular expression that matches the whole
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise BadFilter(f"Invalid list filter expression: {value}: {error}") from error
        return lambda item: (pattern.fullmatch(actual(item)) is not None) == (operator == "eq")
    compared: dict[str, Test] = {
        "=": lambda item: actual(item) == value,
        "!=": lambda item: actual(item) != value,
        ">": lambda item: actual(item) > value,
        "<": lambda item: actual(item) < value,
        ">=": lambda item: actual(item) >= value,
        "<=": lambda item: actual(item) <= value,
    }
    return compared[operator]
