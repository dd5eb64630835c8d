"""How commands reach the control plane, and what they read where none runs: the store itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from orchestrator.app import App
from orchestrator.domain.errors import Infeasible, JobFailed
from orchestrator.domain.events import Planned, Recorded
from orchestrator.domain.run import RunState
from orchestrator.interfaces.api import host
from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.api.messages import Accepted, LogPiece, RunView
from orchestrator.interfaces.api.service import Service
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.choose import View, waiting
from orchestrator.interfaces.views.page import Text, good, warn
from orchestrator.interfaces.views.runs_view import RunReport, RunsReport
from orchestrator.interfaces.views.said_view import Said
from orchestrator.lifecycle.billing import Ledger

EVERY_S = 0.5  # between two looks while watching


class Reader(Protocol):
    """What can be asked without changing anything."""

    def runs(self) -> Sequence[RunView]:
        """Every run."""
        ...

    def run(self, run_id: str) -> RunView:
        """One run."""
        ...

    def events(self, run_id: str, *, since: int = 0) -> Sequence[Recorded]:
        """What happened to a run."""
        ...

    def logs(self, run_id: str, *, cursor: str = "", attempt: int | None = None) -> LogPiece:
        """The next output."""
        ...

    def bill(self, run_id: str | None = None) -> Ledger:
        """What it cost."""
        ...


class StoreReader:
    """The same answers from the store, while no control plane runs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def runs(self) -> Sequence[RunView]:
        """Every run, as it was left."""
        return self._service.runs()

    def run(self, run_id: str) -> RunView:
        """One run, as it was left."""
        return self._service.run(run_id)

    def events(self, run_id: str, *, since: int = 0) -> Sequence[Recorded]:
        """What happened to a run."""
        return self._service.events(run_id, since)

    def logs(self, run_id: str, *, cursor: str = "", attempt: int | None = None) -> LogPiece:
        """The next output that the launcher kept."""
        return self._service.logs(run_id, cursor, attempt)

    def bill(self, run_id: str | None = None) -> Ledger:
        """What it cost by now: a lease that was left behind goes on costing."""
        return self._service.bill(run_id)


def running(app: App) -> bool:
    """Whether a control plane of this state folder runs. Raises: ConfigError where its file is damaged."""
    return host.running(app.settings) is not None


@contextmanager
def reader(app: App) -> Iterator[Reader]:
    """The control plane, or else the store, with a word about it on standard error."""
    if running(app):
        with Client.connect(app.settings.home) as client:
            yield client
        return
    store = app.store()
    try:
        say("no control plane runs: this is what its store says")
        yield StoreReader(Service(store, app.launchers(), app.clock))
    finally:
        store.close()


def say(text: str) -> None:
    """A remark beside the answer."""
    sys.stderr.write(f"{text}\n")


def watch_run(source: Reader, run_id: str, view: View, sleep: Callable[[float], None]) -> None:
    """Show a run until it ends.

    Raises: JobFailed where it did not succeed, Infeasible where there was no placement for it.
    """
    try:
        with view.follow() as update:
            run = source.run(run_id)
            update(RunReport(run))
            while not run.state.final:
                sleep(EVERY_S)
                run = source.run(run_id)
                update(RunReport(run))
    except KeyboardInterrupt:
        say(f"\nthe run goes on; look again: isoflop status {run_id} --watch; end it: isoflop cancel {run_id}")
        raise
    settle(source, run)


def watch_runs(source: Reader, view: View, sleep: Callable[[float], None]) -> None:
    """Show all runs until every one has ended."""
    with view.follow() as update:
        runs = tuple(source.runs())
        update(RunsReport(runs))
        while not all(run.state.final for run in runs):
            sleep(EVERY_S)
            runs = tuple(source.runs())
            update(RunsReport(runs))


def watch_these(source: Reader, run_ids: Sequence[str], view: View, sleep: Callable[[float], None]) -> None:
    """Show some runs until every one has ended. Raises: as `watch_run`, for the first that did not succeed."""
    if len(run_ids) == 1:
        watch_run(source, run_ids[0], view, sleep)
        return
    with view.follow() as update:
        runs = tuple(map(source.run, run_ids))
        update(RunsReport(runs))
        while not all(run.state.final for run in runs):
            sleep(EVERY_S)
            runs = tuple(map(source.run, run_ids))
            update(RunsReport(runs))
    for run in runs:
        settle(source, run)


def settle(source: Reader, run: RunView) -> None:
    """Nothing where `run` succeeded. Raises: JobFailed, or Infeasible where nothing could be bought for it."""
    if run.state is RunState.SUCCEEDED:
        return
    if not run.attempts:
        plans = [each.event.plan for each in source.events(run.id) if isinstance(each.event, Planned)]
        if plans and plans[-1].best is None:
            raise Infeasible(plans[-1])
    why = f": {run.detail}" if run.detail else ""
    logs = f"; its output: isoflop logs {run.id}" if any(attempt.started_at for attempt in run.attempts) else ""
    raise JobFailed(f"run {run.id} {'was cancelled' if run.state is RunState.CANCELLED else 'failed'}{why}{logs}")


@contextmanager
def started(app: App) -> Iterator[Client]:
    """The control plane, started where none runs.

    Raises: ConfigError where it cannot be started.
    """
    if not running(app):
        say(f"no control plane runs for {app.settings.home}: starting one (isoflop down ends it)")
        with waiting("starting the control plane"):
            host.start(app.settings)
    with Client.connect(app.settings.home) as client:
        yield client


def handed_in(source: Reader, accepted: Accepted, *, key: str) -> Said:
    """What to say about a submission: new, new again, or known by its key."""
    run_id = accepted.run_id
    commands = (f"isoflop status {run_id} --watch", f"isoflop logs {run_id} -f")
    fields: dict[str, object] = {"run_id": run_id, "created": accepted.created, "key": key or None}
    if not accepted.created:
        return Said((warn(f"already submitted as run {run_id}: the key {key!r} was seen before"),), fields, commands)
    runs = source.runs()
    mine = next(run for run in runs if run.id == run_id)
    others = [run.id for run in runs if run.id != run_id and (run.name, run.kind) == (mine.name, mine.kind)]
    fields["same_name"] = others
    sentences: list[Text] = [good(f"submitted as run {run_id}")]
    if others and not key:
        again = f"{fmt.plural(len(others), 'earlier run')} of {mine.name} ({', '.join(others[-3:])})"
        sentences.append(warn(f"this is another run beside {again}: give --key to submit a job only once"))
    return Said(tuple(sentences), fields, commands)
