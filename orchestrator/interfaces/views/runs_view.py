"""Runs as `status` shows them: state, progress, time left and cost so far."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.run import AttemptState, RunState
from orchestrator.interfaces.api.messages import AttemptView, RunView
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Bar,
    Block,
    Cell,
    Facts,
    Line,
    Page,
    Style,
    Table,
    Text,
    Title,
    dim,
    left,
    line,
    right,
    strong,
    warn,
)
from orchestrator.spec.documents import to_jsonable

LOOKS: Mapping[RunState, Style] = {
    RunState.SUCCEEDED: Style.GOOD,
    RunState.FAILED: Style.BAD,
    RunState.CANCELLED: Style.WARN,
    RunState.RECOVERING: Style.WARN,
    RunState.WAITING: Style.WARN,
    RunState.RUNNING: Style.STRONG,
}


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run in full."""

    run: RunView

    def page(self) -> Page:
        """Facts, attempts and a bar."""
        run = self.run
        blocks: list[Block] = [Title(f"{run.id} ({run.kind})"), Facts(self._facts())]
        if run.attempts:
            blocks += [Line(), Table(ATTEMPT_COLUMNS, tuple(_attempt_row(run, attempt) for attempt in run.attempts))]
        if run.progress is not None:
            blocks += [Line(), bar(run)]
        return tuple(blocks)

    def document(self) -> object:
        """The run as the control plane told it."""
        return to_jsonable(self.run)

    def stamp(self) -> str:
        """State, attempt, and every tenth of the work."""
        done = int(self.run.progress.done * 10) if self.run.progress else ""
        return f"{self.run.state} {len(self.run.attempts)} {self.run.detail} {done}"

    def headline(self) -> Line:
        """`12:00:05Z  train-1a2b  running  40 %, 12 s left, $0.01 so far  detail`."""
        run = self.run
        said = [text for text in (progress(run), left_of(run), f"{fmt.usd(run.usd)} so far") if text]
        running = run.state is RunState.RUNNING and run.progress is not None
        what = run.progress.detail if running and run.progress is not None else run.detail
        detail = f"  {what}" if what else ""
        return line(f"{run.at:%H:%M:%S}Z  {run.id}  ", state(run), f"  {', '.join(said)}{detail}")

    def _facts(self) -> tuple[tuple[str, Text], ...]:
        run = self.run
        for_s = (run.at - run.entered_at).total_seconds()
        now = run.state.value if run.state.final else f"{run.state.value} for {fmt.duration(for_s)}"
        rows: list[tuple[str, Text]] = [("name", run.name), ("state", Cell(now, LOOKS.get(run.state, Style.PLAIN)))]
        if run.detail:
            rows.append(("because", run.detail))
        served = [url for attempt in run.attempts for url in attempt.urls]
        if served:
            rows.append(("reached at", ", ".join(served)))
        rows.append(("submitted", f"{fmt.moment(run.submitted_at)} ({_ago(run.at, run.submitted_at)})"))
        rows.append(("cost so far", f"{fmt.usd(run.usd)}{_against(run)}"))
        if run.usd_per_hour:
            rows.append(("spending", fmt.usd_per_hour(run.usd_per_hour)))
        ends_at = _ends_at(run)
        if ends_at is not None:
            rows.append(
                ("lease ends", f"{fmt.moment(ends_at)} (in {fmt.duration((ends_at - run.at).total_seconds())})")
            )
        if run.planned_hours is not None:
            rows.append(("planned time", fmt.band(run.planned_hours, fmt.hours)))
        if run.state is RunState.WAITING and run.asked is not None:
            agree = f"isoflop approve {run.id} --as {shlex.quote(run.asked.by)}"
            rows.append(("approval", warn(f"{run.asked.by} agrees with: {agree}")))
        if run.cancel_asked_at is not None and not run.state.final:
            rows.append(("cancel", warn(f"asked for at {fmt.moment(run.cancel_asked_at)}")))
        if run.blind:
            rows.append(("blind", warn(f"no answer from {', '.join(run.blind)}: the state is kept")))
        return tuple(rows)


@dataclass(frozen=True, slots=True)
class RunsReport:
    """Every run on a line."""

    runs: tuple[RunView, ...]

    def page(self) -> Page:
        """A table, and a bar for every run under way."""
        if not self.runs:
            return (line("No runs. Hand one in with: isoflop submit job.yaml"),)
        blocks: list[Block] = [Table(RUN_COLUMNS, tuple(_run_row(run) for run in self.runs))]
        moving = [run for run in self.runs if run.progress is not None and not run.state.final]
        if moving:
            blocks.append(Line())
        return (*blocks, *(bar(run) for run in moving))

    def document(self) -> object:
        """A list of runs."""
        return to_jsonable(self.runs)

    def stamp(self) -> str:
        """The stamps of all."""
        return "\n".join(f"{run.id} {RunReport(run).stamp()}" for run in self.runs)

    def headline(self) -> Line:
        """`12:00:05Z  3 runs: 1 running, 2 succeeded; $1.20 so far`."""
        states = [run.state for run in self.runs]
        counts = ", ".join(f"{states.count(each)} {each}" for each in RunState if each in states)
        at = f"{max(run.at for run in self.runs):%H:%M:%S}Z  " if self.runs else ""
        total = fmt.usd(sum(run.usd for run in self.runs))
        return line(f"{at}{fmt.plural(len(self.runs), 'run')}: {counts or 'none'}; {total} so far")


RUN_COLUMNS = (
    left("run"),
    left("kind"),
    left("state"),
    right("done"),
    right("time left"),
    right("cost so far"),
    right("spending"),
    left("where"),
    left("submitted"),
)
ATTEMPT_COLUMNS = (
    right("#"),
    left("on"),
    left("state"),
    right("price"),
    right("held for"),
    right("done"),
    right("exit"),
    left("ended because"),
)


def state(run: RunView) -> Cell:
    """The state in its colour."""
    return Cell(run.state.value, LOOKS.get(run.state, Style.PLAIN))


def progress(run: RunView) -> str:
    """`40 %`; empty where the program reports none."""
    return f"{run.progress.done * 100:.0f} %" if run.progress is not None else ""


def left_of(run: RunView) -> str:
    """`12 s left`; empty where nobody knows."""
    return f"{fmt.duration(run.remaining_s)} left" if run.remaining_s is not None and not run.state.final else ""


def bar(run: RunView) -> Bar:
    """The run's progress bar with time left and cost so far."""
    done = run.progress.done if run.progress else 0.0
    what = run.progress.detail if run.progress else ""
    said = [text for text in (left_of(run), f"{fmt.usd(run.usd)} so far", what) if text]
    return Bar(run.id, done, ", ".join(said))


def _run_row(run: RunView) -> tuple[Text, ...]:
    last = run.attempts[-1] if run.attempts else None
    return (
        strong(run.id),
        run.kind,
        state(run),
        progress(run),
        fmt.duration(run.remaining_s) if run.remaining_s is not None and not run.state.final else "",
        fmt.usd(run.usd),
        fmt.usd_per_hour(run.usd_per_hour) if run.usd_per_hour else "",
        f"{last.nodes}x {last.offer}" if last else "",
        _ago(run.at, run.submitted_at),
    )


def _attempt_row(run: RunView, attempt: AttemptView) -> tuple[Text, ...]:
    until = attempt.gone_at or run.at
    held = fmt.duration((until - attempt.held_at).total_seconds()) if attempt.held_at else ""
    return (
        str(attempt.number),
        f"{attempt.nodes}x {attempt.offer}",
        attempt.state.value,
        fmt.usd_per_hour(attempt.usd_per_hour),
        held,
        f"{attempt.progress.done * 100:.0f} %" if attempt.progress else "",
        str(attempt.exit_code) if attempt.exit_code is not None else "",
        dim(attempt.cause),
    )


def _ends_at(run: RunView) -> datetime | None:
    """When what is held now is gone, if that is known."""
    held = [one for one in run.attempts if one.state is AttemptState.HELD and one.ends_at is not None]
    return held[-1].ends_at if held else None


def _against(run: RunView) -> str:
    said = []
    if run.budget_usd is not None:
        said.append(f"budget {fmt.usd(run.budget_usd)}, {fmt.usd(run.budget_usd - run.usd)} left")
    if run.planned_usd is not None:
        said.append(f"planned {fmt.band(run.planned_usd, fmt.usd)}")
    return f" ({'; '.join(said)})" if said else ""


def _ago(now: datetime, then: datetime) -> str:
    age = fmt.age(then, now)
    return "just now" if age in {"now", "new"} else f"{age} ago"
