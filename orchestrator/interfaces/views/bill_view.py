"""The bill: every lease with its time, its price and its amount, and their sum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

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
        amounts, total = fmt.sum_of([each.usd for each in lines])
        rows = [_row(each, amount) for each, amount in zip(lines, amounts, strict=True)]
        rows.append((strong("sum"), "", "", "", "", "", "", strong(total), ""))
        blocks: list[Block] = [Table(COLUMNS, tuple(rows))]
        if len(self._by_run()) > 1:
            by_run = self._by_run()
            texts, _ = fmt.sum_of(list(by_run.values()))
            table = tuple((run_id, text) for run_id, text in zip(by_run, texts, strict=True))
            blocks += [Line(), Table((left("run"), right("USD")), table)]
        return tuple(blocks)

    def document(self) -> object:
        """Lines and sums in US dollars, to the millionth."""
        return {
            "lines": to_jsonable(self.ledger.lines),
            "usd_by_run": self._by_run(),
            "total_usd": self.ledger.total_usd,
        }

    def _by_run(self) -> dict[str, float]:
        grouped = groupby(self.ledger.lines, key=lambda each: each.run_id)
        return {run_id: billing.total_usd(list(lines)) for run_id, lines in grouped}


def _row(each: billing.Line, amount: str) -> tuple[Text, ...]:
    return (
        each.run_id,
        str(each.attempt),
        f"{each.nodes}x {each.offer}",
        dim(fmt.moment(each.since)),
        fmt.duration(each.held_s),
        fmt.duration(each.billed_s),
        fmt.usd_per_hour(each.usd_per_hour),
        amount,
        warn("still held") if each.open else "",
    )
