"""Pages: what a human view says, before anybody decides about colours and widths.

Named tuples, not frozen dataclasses: they take a tenth of the time to define, and every command pays for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias


class Style(StrEnum):
    """What a piece of text means; a renderer decides how that looks."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    CODE = "code"  # something to type


class Cell(NamedTuple):
    """Text with a meaning."""

    text: str
    style: Style = Style.PLAIN


Text: TypeAlias = Cell | str


class Title(NamedTuple):
    """A heading over the blocks that follow."""

    text: str


class Line(NamedTuple):
    """One paragraph, the cells joined without blanks; no cells is an empty line."""

    cells: tuple[Text, ...] = ()
    indent: int = 0


class Facts(NamedTuple):
    """Names and values, the values aligned."""

    rows: tuple[tuple[str, Text], ...]


class Column(NamedTuple):
    """A column of a table; numbers stand to the right."""

    title: str
    right: bool = False


class Table(NamedTuple):
    """Rows under their column titles."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Text, ...], ...]


class Bar(NamedTuple):
    """Progress in [0, 1] with what to say beside it."""

    label: str
    done: float
    detail: str = ""


class Part(NamedTuple):
    """One part of a stack, in the unit of its room."""

    name: str
    amount: float


class Stack(NamedTuple):
    """What fills a room of a known size, and what to say beside it."""

    label: str
    parts: tuple[Part, ...]
    room: float
    detail: str = ""


class Stacks(NamedTuple):
    """Stacked bars under each other, and one legend for all."""

    rows: tuple[Stack, ...]


Block: TypeAlias = Title | Line | Facts | Table | Bar | Stacks
Page: TypeAlias = tuple[Block, ...]


class Report(Protocol):
    """What a command has to say, for people and for machines: the same facts twice."""

    def page(self) -> Page:
        """For people."""
        ...

    def document(self) -> object:
        """For machines: made of dicts, lists, strings, finite numbers, booleans and None."""
        ...


class Story(Report, Protocol):
    """A report that changes while somebody watches."""

    def stamp(self) -> str:
        """What has to differ for the change to be worth a line of a log."""
        ...

    def headline(self) -> Line:
        """The present state in one line."""
        ...


def text_of(text: Text) -> str:
    """The words without their meaning."""
    return text if isinstance(text, str) else text.text


def trimmed(blocks: Sequence[Block]) -> Page:
    """A page of `blocks` without empty lines at its end."""
    last = len(blocks)
    while last and blocks[last - 1] == Line():
        last -= 1
    return tuple(blocks[:last])


def line(*cells: Text, indent: int = 0) -> Line:
    """A paragraph of `cells`."""
    return Line(cells, indent)


def strong(text: str) -> Cell:
    """What the eye should find first."""
    return Cell(text, Style.STRONG)


def dim(text: str) -> Cell:
    """What may be skipped."""
    return Cell(text, Style.DIM)


def good(text: str) -> Cell:
    """As wished."""
    return Cell(text, Style.GOOD)


def warn(text: str) -> Cell:
    """Worth a second look."""
    return Cell(text, Style.WARN)


def bad(text: str) -> Cell:
    """Not as wished."""
    return Cell(text, Style.BAD)


def code(text: str) -> Cell:
    """Something to type."""
    return Cell(text, Style.CODE)


def left(title: str) -> Column:
    """A column of words."""
    return Column(title)


def right(title: str) -> Column:
    """A column of numbers."""
    return Column(title, right=True)
