"""Charts: what is drawn is in the picture, the same picture every time, and without matplotlib it says what to do."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.interfaces.views.chart import (
    Chart,
    Distance,
    Dots,
    Format,
    Line,
    Panel,
    Ribbon,
    check_installed,
    format_of,
    render,
)
from orchestrator.interfaces.views.draw import spread

SVG = "{http://www.w3.org/2000/svg}"
CHART = Chart(
    title="A title & more",
    subtitle="below it",
    source="from $5 to $6_a",
    panels=(
        Panel(
            title="Lines",
            y_label="FLOP/s",
            x_label="year",
            y_prefixed=True,
            x_whole=True,
            lines=(
                Line("demand", ((2024, 1e18), (2030, 1e22)), end="peak 10 Z"),
                Line("", ((2024, 2e18), (2030, 2e19)), thin=True, dashed=True, end="supply"),
            ),
            ribbons=(Ribbon("between", ((2024, 1e17, 1e18), (2030, 1e18, 1e20))),),
            distances=(Distance(2030, 1e20, 1e22, "x100"), Distance(2029, 1e20, 1e22, "x99", text_left=True)),
        ),
        Panel(
            title="Scatter",
            y_label="measured",
            x_label="predicted",
            log_x=True,
            dots=(Dots("runs", ((1.0, 1.1, "GPT-3"), (10.0, 9.0, ""))),),
        ),
        Panel(title="Nothing in it", y_label="y", log_y=False),
    ),
)


def parts(svg: bytes, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}{tag}"))  # noqa: S314 (we drew it)


def words(svg: bytes) -> list[str]:
    return ["".join(each.itertext()) for each in parts(svg, "text")]


def test_an_svg_is_well_formed_and_has_every_word_and_series() -> None:
    drawn = render(CHART, Format.SVG)
    said = words(drawn)
    for word in ("A title & more", "below it", "Lines", "demand", "between", "peak 10 Z", "supply", "x100", "x99"):
        assert word in said
    assert {"Scatter", "runs", "GPT-3", "measured", "predicted", "from $5 to $6_a", "1 E"} <= set(said)
    ids = {each.get("id") for each in parts(drawn, "g")}
    assert {"line: demand", "ribbon: between", "dots: runs"} <= ids


def test_a_line_without_a_name_is_drawn_and_not_in_the_legend() -> None:
    said = words(render(CHART, Format.SVG))
    assert not any("unnamed" in word for word in said)
    assert said.count("supply") == 1


def test_equal_charts_give_equal_pictures_without_a_date() -> None:
    assert render(CHART, Format.SVG) == render(CHART, Format.SVG)
    assert render(CHART, Format.PNG) == render(CHART, Format.PNG)
    assert b"<dc:date>" not in render(CHART, Format.SVG)


def test_a_png_begins_as_every_png_and_is_of_a_size_to_read() -> None:
    drawn = render(CHART, Format.PNG)
    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(drawn[16:20], "big") == 1600


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    script = (
        "import matplotlib\n"
        "def settings(): return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != 'backend'}\n"
        "before = settings()\n"
        "from orchestrator.interfaces.views.chart import Chart, Format, render\n"
        "render(Chart('t', ()), Format.SVG)\n"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert settings() == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("name", "form"), [("a.svg", Format.SVG), ("b/c.PNG", Format.PNG)])
def test_the_suffix_says_what_is_drawn(name: str, form: Format) -> None:
    assert format_of(Path(name)) is form


@pytest.mark.parametrize("name", ["a.pdf", "a", "svg", ".svg"])
def test_another_suffix_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=r"\.svg or \.png"):
        format_of(Path(name))


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'isoflop\[charts\]'"):
        check_installed()
    with pytest.raises(ConfigError, match="matplotlib"):
        render(CHART, Format.SVG)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_are_moved_apart_in_their_order_and_no_further_than_the_crowd_needs(wanted: list[float]) -> None:
    places = spread(wanted, 0.05)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for low, high in pairwise(order):
        assert places[high] - places[low] >= 0.05 - 1e-9
    assert all(abs(place - want) <= 0.05 * len(wanted) for place, want in zip(places, wanted, strict=True))


def test_labels_that_do_not_touch_stay_where_they_are() -> None:
    assert spread([0.9, 0.1, 0.5], 0.05) == [0.9, 0.1, 0.5]
