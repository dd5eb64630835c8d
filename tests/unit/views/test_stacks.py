"""Stacked bars: their cells add up, every part has a letter, and colour is used only where there is some."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.interfaces.views import plain, stacks, terminal
from orchestrator.interfaces.views.page import Part, Stack, Stacks

BLOCK = Stacks((Stack("H100", (Part("weights", 20.0), Part("optimizer", 40.0)), 80.0, "60 of 80"),))


@given(st.lists(st.floats(0, 1e6), max_size=8), st.floats(0, 1e6), st.integers(1, 120))
def test_the_cells_fill_the_width_and_the_parts_their_rounded_share(
    amounts: list[float], room: float, width: int
) -> None:
    stack = Stack("x", tuple(Part(f"part {index}", amount) for index, amount in enumerate(amounts)), room)
    drawn = list(stacks.cells(stack, width))
    assert sum(count for _, count in drawn) == width
    assert all(count > 0 for _, count in drawn)
    whole = max(room, sum(amounts))
    if whole > 0:
        filled = sum(count for name, count in drawn if name)
        assert filled == pytest.approx(sum(amounts) / whole * width, abs=0.5 + 1e-6)


def test_names_that_begin_alike_get_letters_of_their_own() -> None:
    named = stacks.letters(["weights", "optimizer", "overhead", "activations", "adapter", "workspace"])
    assert len(set(named.values())) == 6
    assert named["weights"] == "w"
    assert named["overhead"] == "v"


def test_plain_bars_are_ascii_with_a_legend() -> None:
    text = plain.render((BLOCK,))
    assert text.isascii()
    assert f"[{'w' * 10}{'o' * 20}{'.' * 10}]  60 of 80" in text
    assert "w weights  o optimizer  . free" in text


def drawn(**options: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, **options)  # type: ignore[arg-type]
    console.print(terminal.group((BLOCK,)))
    return stream.getvalue()


def test_a_terminal_with_colour_gets_blocks_and_one_without_gets_letters() -> None:
    coloured = drawn(color_system="standard", no_color=False)
    assert "█" * 8 in coloured
    assert "\x1b[" in coloured
    assert "░" in coloured
    bare = drawn(color_system=None, no_color=True)
    assert "█" not in bare
    assert "w" * 8 + "o" * 16 + "." * 8 in bare
