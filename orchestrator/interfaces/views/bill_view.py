"""The bill: every lease with its time, its price and its amount, and their sum."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Line, Page, Table, Text, dim, left, line, right, strong, warn
from orchestrator.lifecycle import billing
from orchestrator.lifecycle.billing import Ledger
from orchestrator.spec.documents import to_jsonable

COLUMNS = (
    left("run"),
    right("attempt"),
    left("lease of"),
    left("since"),
    right("held for"),
    right("billed for"),
    right("price"),
    right("USD"),
    left(""),
)


@dataclass(frozen=True, slots=True)
class BillReport:
    """What runs have cost by now."""

    ledger: Ledger

    def page(self) -> Page:
        """A line per lease, and the sum."""
        lines = self.ledger.lines
        if not lines:
            return (line("Nothing was bought: $0.00."),)
        rounded = fmt.ledger([each.usd for each in lines])
        rows = [_row(each, amount) for each, amount in zip(lines, rounded.texts(), strict=True)]
        rows.append((strong("sum"), "", "", "", "", "", "", strong(rounded.total()), ""))
        blocks: list[Block] = [Table(COLUMNS, tuple(rows))]
        by_run: dict[str, int] = {}
        for each, units in zip(lines, rounded.units, strict=True):
            by_run[each.run_id] = by_run.get(each.run_id, 0) + units
        if len(by_run) > 1:
            sums = tuple((run_id or "(orphan)", rounded.text(units)) for run_id, units in by_run.items())
            blocks += [Line(), Table((left("run"), right("USD")), sums)]
        return tuple(blocks)

    def document(self) -> object:
        """Lines and sums in US dollars, to the millionth."""
        runs = [each.run_id for each in self.ledger.lines]
        return {
            "lines": to_jsonable(self.ledger.lines),
            "usd_by_run": {run_id: self.ledger.of(run_id).total_usd for run_id in dict.fromkeys(runs)},
            "total_usd": self.ledger.total_usd,
        }


def _row(each: billing.Line, amount: str) -> tuple[Text, ...]:
    return (
        each.run_id or "(orphan)",
        str(each.attempt) if each.run_id else "",
        f"{each.nodes}x {each.offer}",
        dim(fmt.moment(each.since)),
        fmt.duration(each.held_s),
        fmt.duration(each.billed_s),
        fmt.usd_per_hour(each.usd_per_hour),
        amount,
        warn("still held") if each.open else "",
    )
