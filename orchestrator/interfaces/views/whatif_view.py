"""What if: the plan as made beside the plan over an edited market or job."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.plan import Placement
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Line,
    Page,
    Table,
    Text,
    Title,
    bad,
    dim,
    left,
    line,
    right,
    strong,
    trimmed,
)
from orchestrator.planning.explain import money
from orchestrator.planning.whatif import WhatIf
from orchestrator.spec.documents import to_jsonable


@dataclass(frozen=True, slots=True)
class WhatIfReport:
    """The difference between two plans."""

    told: WhatIf

    def page(self) -> Page:
        """Edits, headline, both choices, and what changed between them."""
        told = self.told
        blocks: list[Block] = [line(dim("what if: "), edit) for edit in told.edits]
        blocks += [Line(), line(strong(told.headline)), Line()]
        rows = (_row("now", told.before, told.feasible_before), _row("then", told.after, told.feasible_after))
        columns = (left(""), left("placement"), left("time"), right("cost"), right("with all terms"), right("feasible"))
        blocks += [Table(columns, rows), Line()]
        if told.differences:
            terms: list[tuple[Text, ...]] = [
                (each.name, dim(each.by), money(each.usd, sign=True)) for each in told.differences
            ]
            blocks += [Title("Terms that change"), Table((left("term"), left("priced by"), right("USD")), tuple(terms))]
            blocks.append(Line())
        if told.moves:
            ranks: list[tuple[Text, ...]] = [(_rank(m.before), _rank(m.after), m.offer) for m in told.moves]
            blocks += [Title("Offers that move"), Table((right("now"), right("then"), left("offer")), tuple(ranks))]
            blocks.append(Line())
        if told.shifts:
            refused: list[tuple[Text, ...]] = [
                (fmt.count(s.before), fmt.count(s.after), s.code.value, dim(s.by)) for s in told.shifts
            ]
            heads = (right("now"), right("then"), left("reason"), left("by"))
            blocks += [Title("Refusals that change"), Table(heads, tuple(refused)), Line()]
        return trimmed(blocks)

    def document(self) -> object:
        """Both placements and every difference, unrounded."""
        return to_jsonable(self.told)


def _row(when: str, placement: Placement | None, feasible: int) -> tuple[Text, ...]:
    if placement is None:
        return (when, bad("nothing is feasible"), "", "", "", fmt.count(feasible))
    return (
        when,
        placement.label,
        fmt.hours(placement.hours.p50),
        fmt.usd(placement.cost_usd.p50),
        fmt.usd(placement.objective_usd),
        fmt.count(feasible),
    )


def _rank(rank: int | None) -> Text:
    return dim("-") if rank is None else str(rank)
