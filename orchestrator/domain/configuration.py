"""Reads a plug-in's table of the configuration file into its own frozen dataclass, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.spelling import hint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

Reader = Callable[[object, str], object]  # (value, place) -> the field's value; raises ConfigError


def read(kind: type[C], table: Mapping[str, object], *, where: str) -> C:
    """An instance of the dataclass `kind` from `table`, whose keys are its fields: a misspelt one is never ignored.

    Every field has a default, which says its type: bool, int, float (a whole number will do), str or a StrEnum. A field
    with `metadata={"read": reader}` is read by `reader(value, place)` instead. Ranges are `kind.__post_init__`'s to
    check: it raises ValueError, and `where` is put before it.

    Raises: ConfigError naming the setting, what was found and what was expected.
    """
    known = {field.name: field for field in fields(kind)}
    for name in table:
        if name not in known:
            raise ConfigError(f"{where}: unknown setting {name!r} ({hint(name, known)})")
    given = {name: _value(known[name], value, f"{where}.{name}") for name, value in table.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(field: Field[Any], value: object, place: str) -> object:
    reader = cast("Reader | None", field.metadata.get("read"))
    if reader is not None:
        return reader(value, place)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    kind = type(default)
    if issubclass(kind, StrEnum):
        return _choice(kind, value, place)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not isfinite(value)):
        raise ConfigError(f"{place} is {_EXPECTED[kind]}, not {value!r}")
    return value


def _choice(kind: type[StrEnum], value: object, place: str) -> StrEnum:
    choices = [str(choice) for choice in kind]
    if isinstance(value, str) and value in choices:
        return kind(value)
    raise ConfigError(f"{place} is one of {', '.join(choices)}, not {value!r} ({hint(str(value), choices)})")


_EXPECTED: Mapping[type, str] = MappingProxyType(
    {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
)
