"""Why an offer is, or is not, the choice."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views import relax_view
from orchestrator.interfaces.views.page import (
    Block,
    Line,
    Page,
    Table,
    Text,
    Title,
    bad,
    dim,
    good,
    left,
    line,
    right,
    strong,
    trimmed,
)
from orchestrator.planning.explain import Explanation, Finding
from orchestrator.planning.relax import Relaxation
from orchestrator.spec.documents import to_jsonable


@dataclass(frozen=True, slots=True)
class ExplainReport:
    """The planner's explanation."""

    explanation: Explanation
    relax: tuple[Relaxation, ...] | None = None  # None: not looked for

    def page(self) -> Page:
        """Headline, findings, refusals."""
        told = self.explanation
        blocks: list[Block] = [line(strong(told.headline)), Line()]
        if told.findings:
            rows = tuple(_row(finding) for finding in told.findings)
            blocks += [Table((right("#"), left("offer"), left("why")), rows), Line()]
        if told.refusals and told.matched > len(told.findings):  # else each is listed with its reason
            total = sum(refusal.count for refusal in told.refusals)
            refused: list[tuple[Text, ...]] = []
            for refusal in told.refusals:
                example = refusal.examples[0] if refusal.examples else None
                said = f"{example.offer}: {example.detail}" if example else ""
                refused.append((fmt.count(refusal.count), refusal.code.value, dim(refusal.by), said))
            columns = (right("offers"), left("reason"), left("by"), left("for example"))
            blocks += [Title(f"Refused: {fmt.plural(total, 'offer')}"), Table(columns, tuple(refused)), Line()]
        if self.relax is not None:
            blocks += relax_view.blocks(self.relax)
        return trimmed(blocks)

    def document(self) -> object:
        """The explanation, unrounded."""
        told = to_jsonable(self.explanation)
        if self.relax is None or not isinstance(told, dict):
            return told
        return {**told, "relax": relax_view.documents(self.relax)}


def _row(finding: Finding) -> tuple[Text, ...]:
    rank: Text = bad("out") if finding.rank is None else (good("1") if finding.rank == 1 else str(finding.rank))
    return (rank, finding.offer, finding.sentence)
