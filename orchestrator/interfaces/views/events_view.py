"""Events as lines of a log: when, which run, what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain import events as ev
from orchestrator.domain.errors import Scope
from orchestrator.domain.events import Event, Recorded
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Page, Table, Text, dim, left, line, strong
from orchestrator.spec.documents import to_jsonable

REACH = {  # of a refusal, for people
    Scope.ZONE: "",
    Scope.REGION: " (all of this instance type in the region)",
    Scope.PROVIDER: " (all of the provider)",
}
COLUMNS = (left("when"), left("run"), left("event"), left("what"))


@dataclass(frozen=True, slots=True)
class EventsReport:
    """What happened, in order; people see reports of progress about every tenth of the work, unless `full`."""

    recorded: tuple[Recorded, ...]
    full: bool = False

    def page(self) -> Page:
        """A line for every event that matters."""
        if not self.recorded:
            return (line("No events."),)
        events = [each.event for each in self.recorded]
        shown = events if self.full else _without_chatter(events)
        blocks: list[Block] = [Table(COLUMNS, tuple(_row(event) for event in shown))]
        if len(shown) < len(events):
            left_out = fmt.plural(len(events) - len(shown), "report")
            blocks.append(line(dim(f"{left_out} of progress left out: --all shows them"), indent=2))
        return tuple(blocks)

    def document(self) -> object:
        """A list of events with their sequence numbers."""
        return to_jsonable(self.recorded)


def _without_chatter(events: Sequence[Event]) -> list[Event]:
    tenths: dict[str, int] = {}  # of each lease's work, as last shown
    shown: list[Event] = []
    for event in events:
        if isinstance(event, ev.Progressed):
            tenth = int(event.done * 10)
            if tenths.get(event.token) == tenth:
                continue
            tenths[event.token] = tenth
        shown.append(event)
    return shown


def _row(event: Event) -> tuple[Text, ...]:
    return (dim(fmt.moment(event.at)), event.run_id, strong(event.kind), describe(event))


def describe(event: Event) -> str:
    """The event in words, without its time and its run."""
    if isinstance(event, ev.Submitted | ev.Planned | ev.Postponed | ev.Moved | ev.CancelAsked | ev.ControllerNote):
        return _of_run(event)
    if isinstance(event, ev.ApprovalAsked | ev.Approved):
        return _of_approval(event)
    if isinstance(event, ev.PurchaseIntended | ev.Purchased | ev.PurchaseRefused | ev.LeaseChanged | ev.ReclaimNoticed):
        return _of_purchase(event)
    if isinstance(event, ev.ReleaseIntended | ev.LeaseGone | ev.OrphanReleased | ev.Blinded | ev.Sighted):
        return _of_release(event)
    return _of_job(event)


def _of_run(
    event: ev.Submitted | ev.Planned | ev.Postponed | ev.Moved | ev.CancelAsked | ev.ControllerNote,
) -> str:
    if isinstance(event, ev.Submitted):
        key = f", key {event.key}" if event.key else ""
        plan = ", with a plan" if event.plan is not None else ""
        return f"{event.workload.name} ({event.workload.KIND}{plan}{key})"
    if isinstance(event, ev.Planned):
        best = event.plan.best
        if best is None:
            return f"no placement among {fmt.plural(event.plan.considered, 'offer')}"
        return f"{best.label}, {fmt.band(best.cost_usd, fmt.usd)}, {fmt.band(best.hours, fmt.hours)}"
    if isinstance(event, ev.Moved):
        outcome = f" (ends {event.outcome})" if event.outcome is not None else ""
        return f"{event.to}{outcome}: {event.cause}"
    if isinstance(event, ev.Postponed):
        return event.cause
    return event.detail if isinstance(event, ev.ControllerNote) else "the user wants the run to end"


def _of_approval(event: ev.ApprovalAsked | ev.Approved) -> str:
    if isinstance(event, ev.Approved):
        return f"{event.by} agrees to up to {fmt.usd(event.usd)}"
    asked = event.approval
    expected = f"{fmt.usd(asked.expected_usd)} expected, above {fmt.usd(asked.above_usd)}"
    return f"{asked.by} is asked to agree to up to {fmt.usd(asked.usd)} ({expected})"


def _of_purchase(
    event: ev.PurchaseIntended | ev.Purchased | ev.PurchaseRefused | ev.LeaseChanged | ev.ReclaimNoticed,
) -> str:
    if isinstance(event, ev.PurchaseIntended):
        price = fmt.usd_per_hour(event.usd_per_hour)
        return f"candidate {event.candidate + 1}: {event.nodes}x {event.offer.label} at {price}"
    if isinstance(event, ev.Purchased):
        lease = event.lease
        return f"lease {lease.id}: {lease.nodes}x {lease.offer.label} at {fmt.usd_per_hour(lease.usd_per_hour)}"
    if isinstance(event, ev.PurchaseRefused):
        reach = REACH[event.scope] if event.scope is not None else ""
        return f"{event.error}: {event.detail}{reach}"
    if isinstance(event, ev.LeaseChanged):
        return f"lease {event.lease.id} is {event.lease.state}"
    return f"the machines are taken back at {fmt.moment(event.reclaim_at)}"


def _of_release(event: ev.ReleaseIntended | ev.LeaseGone | ev.OrphanReleased | ev.Blinded | ev.Sighted) -> str:
    if isinstance(event, ev.OrphanReleased):
        return f"{event.provider}: lease {event.lease_id} that no run knows"
    if isinstance(event, ev.Blinded):
        return f"{event.provider} does not answer: {event.detail}"
    if isinstance(event, ev.Sighted):
        return f"{event.provider} answers again"
    return event.cause


def _of_job(
    event: ev.LaunchIntended | ev.Launched | ev.LaunchFailed | ev.Progressed | ev.StopAsked | ev.JobEnded,
) -> str:
    if isinstance(event, ev.Launched):
        return f"{event.handle.launcher} {event.handle.id}"
    if isinstance(event, ev.Progressed):
        return f"{event.done * 100:.0f} %{f', {event.detail}' if event.detail else ''}"
    if isinstance(event, ev.JobEnded):
        how = "lost with its machine" if event.exit_code is None else f"exit code {event.exit_code}"
        return f"{how}: {event.cause}" if event.cause not in {"", how} else how
    if isinstance(event, ev.LaunchFailed):
        return event.detail
    return event.cause if isinstance(event, ev.StopAsked) else "starting the program"
