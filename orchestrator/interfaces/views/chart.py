"""Charts: what is drawn, before anybody decides about fonts and pixels; `render` makes SVG or PNG of it."""

from __future__ import annotations

import importlib
import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.errors import ConfigError, UserError


class Format(StrEnum):
    """Kinds of picture, as file suffixes name them."""

    SVG = "svg"
    PNG = "png"


class Tone(StrEnum):
    """Colours that are told apart by people who see red and green alike, and in grey."""

    INK = "#1b1f24"
    GREY = "#6e7781"
    BLUE = "#0072b2"
    ORANGE = "#d55e00"
    GREEN = "#009e73"
    PURPLE = "#9b5c96"


class Line(NamedTuple):
    """Points joined by a line, named in the legend; `end` stands beside the last point."""

    label: str
    points: tuple[tuple[float, float], ...]
    tone: Tone = Tone.INK
    dashed: bool = False
    thin: bool = False
    end: str = ""


class Ribbon(NamedTuple):
    """The area between a low and a high value at each x."""

    label: str
    points: tuple[tuple[float, float, float], ...]  # x, low, high
    tone: Tone = Tone.GREY


class Dots(NamedTuple):
    """Points that stand alone, each with its name beside it ('' for none)."""

    label: str
    points: tuple[tuple[float, float, str], ...]
    tone: Tone = Tone.INK


class Distance(NamedTuple):
    """A double arrow from `low` to `high` at `x` with what it says."""

    x: float
    low: float
    high: float
    text: str
    tone: Tone = Tone.INK
    text_left: bool = False  # of the arrow


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    y_label: str
    x_label: str = ""
    log_x: bool = False
    log_y: bool = True
    y_prefixed: bool = False  # ticks as 1 P, 10 P, 100 P, 1 E of the unit in `y_label`
    x_whole: bool = False  # x counts something: years, devices
    lines: tuple[Line, ...] = ()
    ribbons: tuple[Ribbon, ...] = ()
    dots: tuple[Dots, ...] = ()
    distances: tuple[Distance, ...] = ()


class Chart(NamedTuple):
    """Panels under one another, with a title, a line below it, and where the numbers are from."""

    title: str
    panels: tuple[Panel, ...]
    subtitle: str = ""
    source: str = ""


def format_of(path: Path) -> Format:
    """The kind of picture that the suffix of `path` names. Raises: UserError where it is neither .svg nor .png."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in tuple(Format):
        known = " or ".join(f".{each}" for each in Format)
        raise UserError(f"{path}: a chart is drawn as {known}: choose a name that ends so")
    return Format(suffix)


def check_installed() -> None:
    """Raises: ConfigError naming the extra where what draws is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("charts are drawn with matplotlib, which is not installed: pip install 'isoflop[charts]'")


def render(chart: Chart, form: Format) -> bytes:
    """The picture; equal charts give equal bytes with the same matplotlib.

    Raises: ConfigError naming the extra where what draws is not installed.
    """
    check_installed()
    # Drawing takes half a second to import, and only a command that draws has a use for it.
    drawn: bytes = importlib.import_module("orchestrator.interfaces.views.draw").draw(chart, form)
    return drawn
