"""Stacks: bars of parts within a room, cut into character cells; how a cell looks is the renderer's business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.interfaces.views.page import Stack

FREE = "."


def letters(names: Iterable[str]) -> dict[str, str]:
    """One letter per name, in the order given: the first of its own that is not taken, else a digit or a `#`."""
    taken: dict[str, str] = {}
    for name in names:
        if name not in taken:
            free = (each for each in (*name.lower(), *"123456789") if each.isalnum() and each not in taken.values())
            taken[name] = next(free, "#")
    return taken


def names(stacks: Iterable[Stack]) -> tuple[str, ...]:
    """Every part's name, once, in the order of appearance."""
    return tuple(dict.fromkeys(part.name for stack in stacks for part in stack.parts))


def roomy(stacks: Iterable[Stack]) -> bool:
    """Whether any of them leaves some of its room free, as far as that is to be seen."""
    return any(sum(part.amount for part in stack.parts) < stack.room * (1.0 - 1e-6) for stack in stacks)


def cells(stack: Stack, width: int) -> Iterator[tuple[str, int]]:
    """Name and number of cells of every part, "" for what is free; `width` cells are the room, or the parts if more.

    The ends of the parts are rounded, not the parts: the filled cells together are the rounded total.
    """
    whole = max(stack.room, sum(part.amount for part in stack.parts))
    if whole <= 0:
        yield "", width
        return
    end, drawn = 0.0, 0
    for part in stack.parts:
        end += part.amount
        upto = round(end / whole * width)
        if upto > drawn:
            yield part.name, upto - drawn
            drawn = upto
    if drawn < width:
        yield "", width - drawn
