"""Reads a vendor's JSON field by field, so that what is missing or ill-typed has a name and a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite

from orchestrator.domain.errors import TransientError

UNREADABLE_S = 30.0  # after which an answer that could not be read is asked for again


class Malformed(ValueError):
    """A document that is not what its vendor's documentation says; the message names the field."""


@contextmanager
def readable(provider: str, what: str = "an answer") -> Iterator[None]:
    """Make what cannot be read a TransientError: left out of a listing without a word, it would be a lie."""
    try:
        yield
    except Malformed as error:
        raise TransientError(provider, f"{what} cannot be read: {error}", UNREADABLE_S) from error


class Document:
    """A JSON object with the place it was found at."""

    __slots__ = ("_fields", "place")

    def __init__(self, value: object, place: str) -> None:
        """Raises: Malformed where `value` is no JSON object."""
        if not isinstance(value, Mapping):
            raise Malformed(f"{place} is {_kind(value)}, not an object")
        self._fields: Mapping[str, object] = value
        self.place = place

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def keys(self) -> Iterator[str]:
        """The names of its fields."""
        return iter(self._fields)

    def raw(self, name: str) -> object:
        """The field as it is; None where it is missing."""
        return self._fields.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        """A string. Raises: Malformed where there is none and no default."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise Malformed(f"{self.place}.{name} is {_kind(value)}, not a text")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number, also where it is written as a text. Raises: Malformed where there is none and no default."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        except (ValueError, OverflowError):
            number = None
        if number is None or not isfinite(number):
            raise Malformed(f"{self.place}.{name} is {_kind(value)}, not a number")
        return number

    def within(self, name: str) -> Document:
        """The object called `name`. Raises: Malformed."""
        return Document(self._fields.get(name), f"{self.place}.{name}")

    def each(self, name: str) -> Iterator[Document]:
        """The objects of the list called `name`; of a missing one, none. Raises: Malformed where it is no list."""
        value = self._fields.get(name)
        if value is None:
            return
        if not isinstance(value, list | tuple):
            raise Malformed(f"{self.place}.{name} is {_kind(value)}, not a list")
        for number, item in enumerate(value):
            yield Document(item, f"{self.place}.{name}[{number}]")

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of the list called `name`; of a missing one, none. Raises: Malformed."""
        value = self._fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise Malformed(f"{self.place}.{name} is {_kind(value)}, not a list of texts")
        return tuple(value)


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    shown = repr(value)
    return f"{type(value).__name__} {shown[:40]}"
