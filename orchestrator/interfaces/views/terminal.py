"""Pages on a terminal: colour, aligned tables that fit the width, progress bars; the only module that imports rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table as RichTable
from rich.text import Text as RichText

from orchestrator.interfaces.views import stacks
from orchestrator.interfaces.views.page import Bar, Block, Cell, Facts, Line, Page, Stacks, Style, Table, Text, Title

LOOK = {
    Style.PLAIN: "",
    Style.STRONG: "bold",
    Style.DIM: "dim",
    Style.GOOD: "green",
    Style.WARN: "yellow",
    Style.BAD: "red",
    Style.CODE: "bold cyan",
}
BAR_WIDTH = 32
STACK_COLOURS = ("blue", "cyan", "magenta", "green", "yellow", "red", "white", "bright_blue", "bright_green")
FULL, EMPTY = "█", "░"


class Screen:
    """A terminal that pages are drawn on; honours NO_COLOR and the width."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)

    def draw(self, page: Page) -> None:
        """Print the page."""
        for block in page:
            self._console.print(_block(block))

    @contextmanager
    def live(self, *, transient: bool = False) -> Iterator[Live]:
        """A region that is redrawn in place until it is left, and then stays as it was last, or goes if `transient`."""
        overflow: Literal["ellipsis", "visible"] = "ellipsis" if transient else "visible"
        with Live(console=self._console, auto_refresh=False, vertical_overflow=overflow, transient=transient) as region:
            yield region

    @contextmanager
    def spinner(self, label: str) -> Iterator[None]:
        """A turning wheel beside `label` with the time it has taken; leaves nothing behind."""
        wheel = RichTable.grid(padding=(0, 1))
        wheel.add_row(Spinner("dots", style="cyan"), RichText(label))
        with Live(wheel, console=self._console, transient=True, refresh_per_second=12):
            yield


def group(page: Page) -> RenderableType:
    """The page as one thing that a live region can redraw."""
    return Group(*(_block(block) for block in page))


def _text(text: Text) -> RichText:
    if isinstance(text, Cell):
        return RichText(text.text, style=LOOK[text.style])
    return RichText(text)


def _block(block: Block) -> RenderableType:
    if isinstance(block, Title):
        return RichText(block.text, style="bold underline")
    if isinstance(block, Line):
        return Padding(RichText.assemble(*(_text(cell) for cell in block.cells)), (0, 0, 0, block.indent))
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Stacks):
        return _StackedBars(block)
    return _bar(block)


def _facts(facts: Facts) -> RenderableType:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.rows:
        grid.add_row(name, _text(value))
    return Padding(grid, (0, 0, 0, 2))


def _table(table: Table) -> RenderableType:
    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=True)
    for column in table.columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(_text(cell) for cell in row))
    return Padding(drawn, (0, 0, 0, 2))


def _bar(bar: Bar) -> RenderableType:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_row(
        RichText(bar.label),
        ProgressBar(total=1.0, completed=bar.done, width=BAR_WIDTH),
        RichText(f"{bar.done * 100:3.0f} %"),
        RichText(bar.detail, style="dim"),
    )
    return Padding(grid, (0, 0, 0, 2))


class _StackedBars:
    """Blocks in a colour for every part; letters where there is no colour to tell them apart, or no block to draw."""

    def __init__(self, block: Stacks) -> None:
        self._rows = block.rows
        self._letters = stacks.letters(stacks.names(block.rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        coloured = not console.no_color and console.color_system is not None and "utf" in options.encoding
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(style="dim", overflow="fold")
        for stack in self._rows:
            bar = RichText()
            for name, count in stacks.cells(stack, BAR_WIDTH):
                bar.append_text(self._cells(name, count, coloured=coloured))
            grid.add_row(stack.label, bar, stack.detail)
        yield Padding(grid, (0, 0, 0, 2))
        named = [(name, name) for name in self._letters]
        if stacks.roomy(self._rows):
            named.append(("", "free"))
        legend = [RichText.assemble(self._cells(name, 1, coloured=coloured), f" {said}") for name, said in named]
        yield Padding(RichText("  ").join(legend), (0, 0, 0, 2))

    def _cells(self, name: str, count: int, *, coloured: bool) -> RichText:
        if not coloured:
            return RichText(self._letters.get(name, stacks.FREE) * count)
        if not name:
            return RichText(EMPTY * count, style="dim")
        place = list(self._letters).index(name)
        return RichText(FULL * count, style=STACK_COLOURS[place % len(STACK_COLOURS)])
