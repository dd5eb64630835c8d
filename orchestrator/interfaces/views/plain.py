"""Pages as plain aligned text: no colour, no box characters, no cutting at a width; what a pipe gets."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.interfaces.views import stacks
from orchestrator.interfaces.views.page import Bar, Block, Facts, Line, Page, Stacks, Table, Title, text_of

GAP = "  "
STACK_WIDTH = 40


def render(page: Page) -> str:
    """The page as text that ends with a newline; equal pages give equal text."""
    lines = [text for block in page for text in _block(block)]
    return "".join(f"{text.rstrip()}\n" for text in lines)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Title):
        yield block.text
    elif isinstance(block, Line):
        yield " " * block.indent + "".join(text_of(cell) for cell in block.cells)
    elif isinstance(block, Facts):
        yield from _facts(block)
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Stacks):
        yield from _stacks(block)
    else:
        yield _bar(block)


def _facts(facts: Facts) -> Iterator[str]:
    width = max((len(name) for name, _ in facts.rows), default=0)
    for name, value in facts.rows:
        yield f"  {name.ljust(width)}{GAP}{text_of(value)}"


def _table(table: Table) -> Iterator[str]:
    rows = [tuple(column.title for column in table.columns)]
    rows += [tuple(text_of(cell) for cell in row) for row in table.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    for row in rows:
        cells = (
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
        yield "  " + GAP.join(cells)


def _bar(bar: Bar) -> str:
    detail = f"{GAP}{bar.detail}" if bar.detail else ""
    return f"  {bar.label}{GAP}{bar.done * 100:.0f} %{detail}"


def _stacks(block: Stacks) -> Iterator[str]:
    letters = stacks.letters(stacks.names(block.rows))
    width = max((len(stack.label) for stack in block.rows), default=0)
    for stack in block.rows:
        drawn = "".join(letters.get(name, stacks.FREE) * count for name, count in stacks.cells(stack, STACK_WIDTH))
        yield f"  {stack.label.ljust(width)}{GAP}[{drawn}]{GAP}{stack.detail}"
    named = [f"{letter} {name}" for name, letter in letters.items()]
    if stacks.roomy(block.rows):
        named.append(f"{stacks.FREE} free")
    yield f"  {' ' * width}{GAP}{GAP.join(named)}"
