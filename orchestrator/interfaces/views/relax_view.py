"""What to relax to save how much: one line per limit that costs something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Line, Page, Table, Text, Title, dim, good, left, line, right
from orchestrator.planning.relax import Relaxation
from orchestrator.spec.documents import to_jsonable

MOST = 8  # changes told of all that save something


def blocks(found: Sequence[Relaxation]) -> list[Block]:
    """A table of the largest savings; where nothing was feasible, of what would make it so."""
    if not found:
        return [line(dim("relax: "), "no single limit, lifted or loosened, changes the choice"), Line()]
    feasible = found[0].saving_usd is not None
    title = "What to relax to save how much" if feasible else "What would make it feasible"
    columns = (left("change"), left("field"), right("saves") if feasible else right("costs then"), left("then runs on"))
    told: list[Block] = [Title(title), Table(columns, tuple(_row(each) for each in found[:MOST]))]
    if len(found) > MOST:
        told.append(line(dim(f"and {len(found) - MOST} smaller ones (--json)")))
    return [*told, Line()]


def documents(found: Sequence[Relaxation]) -> object:
    """Every change, unrounded."""
    return to_jsonable(tuple(found))


def _row(each: Relaxation) -> tuple[Text, ...]:
    if each.saving_usd is None or each.share is None:
        worth: Text = fmt.usd(each.placement.objective_usd)
    else:
        worth = good(f"{fmt.usd(each.saving_usd)} ({fmt.percent(each.share)})")
    return (each.change, dim(each.limit), worth, each.placement.label)


class Relaxed(NamedTuple):
    """A page and a document with the relaxations behind those of another report."""

    page_of: Page
    document_of: object
    found: tuple[Relaxation, ...]

    def page(self) -> Page:
        """The other report's page with what to relax before its last paragraph, which says what to type next."""
        ends = [index for index, block in enumerate(self.page_of) if block == Line()]
        last = ends[-1] + 1 if ends else 0
        return (*self.page_of[:last], *blocks(self.found), *self.page_of[last:])

    def document(self) -> object:
        """The other report's document with `relax` in it."""
        fields = self.document_of if isinstance(self.document_of, dict) else {"report": self.document_of}
        return {**fields, "relax": documents(self.found)}
