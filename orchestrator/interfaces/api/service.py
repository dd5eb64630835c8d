"""What the API does, over a store and launchers alone: no HTTP, no Ray."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from orchestrator.domain.contracts import Clock, Launcher, Store
from orchestrator.domain.errors import UserError
from orchestrator.domain.events import Approved, CancelAsked, OrphanReleased, Progressed, Recorded, Submitted
from orchestrator.domain.job import Handle
from orchestrator.domain.run import Attempt, AttemptState, Run, RunState
from orchestrator.interfaces.api.faults import Refused, RunsOpen, UnknownRun
from orchestrator.interfaces.api.messages import Accepted, AttemptView, LogPiece, RunView
from orchestrator.lifecycle import billing, fold, serving
from orchestrator.lifecycle.billing import Ledger
from orchestrator.spec import documents

PIECE_BYTES = 2**20  # of a log per answer
CENT = 0.005  # what is asked for is shown in whole cents
HELD = frozenset({AttemptState.HELD, AttemptState.RELEASING})


@dataclass(slots=True)
class _Known:
    """A run as folded so far, with the progress that its current attempt reported first."""

    run: Run
    first_progress: Progressed | None = None


class Service:
    """The control plane for its users. Safe to call from many threads.

    It folds events as they come, so that a status costs what is new and not what ever happened.
    """

    def __init__(
        self,
        store: Store,
        launchers: Mapping[str, Launcher],
        clock: Clock,
        *,
        suffix: Callable[[], str] = lambda: uuid.uuid4().hex[:8],
    ) -> None:
        self._store = store
        self._launchers = launchers
        self._clock = clock
        self._suffix = suffix
        self._lock = threading.Lock()
        self._runs: dict[str, _Known] = {}
        self._orphans: list[OrphanReleased] = []
        self._seq = 0

    def submit(self, body: Mapping[str, object]) -> Accepted:
        """Store a submission: `workload` or `plan` (a plan file's content or its plan alone), and perhaps a `key`.

        Raises: UserError where it cannot be read or could never run.
        """
        submitted = self._read_submission(body)
        if submitted.workload.program is None:
            raise UserError(
                f"{submitted.workload.name} has nothing to run: give the job file a `command` and submit it"
            )
        if submitted.plan is not None and not any(placement.buyable for placement in submitted.plan.ranked):
            raise UserError("none of the plan's placements can be bought: no provider that sells them is switched on")
        run_id, created = self._store.submit(submitted)
        return Accepted(run_id=run_id, created=created)

    def runs(self) -> tuple[RunView, ...]:
        """Every run, in the order of submission."""
        now = self._clock.now()
        with self._lock:
            self._catch_up()
            return tuple(self._view(known, now) for known in self._runs.values())

    def run(self, run_id: str) -> RunView:
        """One run by its id, or by the only id that starts so. Raises: UnknownRun."""
        now = self._clock.now()
        with self._lock:
            return self._view(self._find(run_id), now)

    def open_runs(self) -> tuple[str, ...]:
        """Ids of the runs that have not ended."""
        with self._lock:
            self._catch_up()
            return tuple(run_id for run_id, known in self._runs.items() if not known.run.state.final)

    def events(self, run_id: str, since: int) -> Sequence[Recorded]:
        """The run's events after sequence number `since`. Raises: UnknownRun."""
        return self._store.events(run_id=self._state(run_id).id, since=since)

    def bill(self, run_id: str | None = None) -> Ledger:
        """What one run, or everything, has cost by now. Raises: UnknownRun."""
        now = self._clock.now()
        with self._lock:
            if run_id is not None:
                return Ledger(billing.lines(self._find(run_id).run, now))
            self._catch_up()
            runs = [known.run for known in self._runs.values()]
            bought = chain.from_iterable(billing.lines(run, now) for run in runs)
            return Ledger((*bought, *billing.orphan_lines(self._orphans, runs)))

    def cancel(self, run_id: str) -> RunView:
        """Store the wish that the run end; idempotent, and nothing where it has ended. Raises: UnknownRun."""
        run = self._state(run_id)
        if not run.state.final and run.cancel_asked_at is None:
            self._store.request(CancelAsked(run_id=run.id, at=self._clock.now()))
        return self.run(run.id)

    def approve(self, run_id: str, by: str, up_to_usd: float | None = None) -> RunView:
        """Store that `by` agrees to what the run waits for, or to `up_to_usd` where that is more.

        Raises: UnknownRun; UserError where it waits for nobody, for somebody else, or for more.
        """
        run = self._state(run_id)
        if run.state is not RunState.WAITING or run.asked is None:
            raise UserError(f"run {run.id} waits for no approval: it is {run.state}")
        if by != run.asked.by:
            raise UserError(f"run {run.id} waits for the approval of {run.asked.by}, not of {by or 'nobody'}")
        usd = run.asked.usd if up_to_usd is None else up_to_usd
        if not run.asked.usd - CENT <= usd < float("inf"):
            raise UserError(f"run {run.id} needs an approval of at least ${run.asked.usd:,.2f}; to refuse, cancel it")
        self._store.request(Approved(run_id=run.id, at=self._clock.now(), by=by, usd=max(usd, run.asked.usd)))
        return self.run(run.id)

    def wind_down(self, *, cancel: bool, keep: bool) -> tuple[str, ...]:
        """The open runs before going down, each cancelled with `cancel`.

        Raises: RunsOpen where there are some and neither is wanted.
        """
        open_runs = self.open_runs()
        if cancel:
            for run_id in open_runs:
                self.cancel(run_id)
        elif open_runs and not keep:
            raise RunsOpen(
                f"{len(open_runs)} run(s) are open: {', '.join(open_runs[:5])}. End them first (--cancel), or leave "
                "their machines running and paid for until the next `isoflop up` (--keep)"
            )
        return open_runs

    def logs(self, run_id: str, cursor: str, attempt: int | None) -> LogPiece:
        """The next output of all attempts in order, or of one; `cursor` is "" at first, then the last answer's.

        A line tells where a later attempt begins. Raises: UnknownRun; UserError for an attempt that there is not.
        """
        run = self._state(run_id)
        number, offset = _cursor(cursor)
        if attempt is not None:
            return self._one_attempt(run, attempt, offset)
        started = [each for each in run.attempts if each.handle is not None]
        number = number or (started[0].number if started else 0)
        pieces: list[bytes] = []
        for position, each in enumerate(started):
            if each.number < number:
                continue
            if each.number > number:
                number, offset = each.number, 0
                pieces.append(f"--- attempt {each.number} on {each.nodes}x {each.offer.label} ---\n".encode())
            data = self._read_log(each.handle, offset)
            pieces.append(data)
            offset += len(data)
            if len(data) >= PIECE_BYTES or position == len(started) - 1:
                break
        data = b"".join(pieces)
        return LogPiece(data=data, cursor=f"{number}:{offset}", ended=run.state.final and not data)

    def _one_attempt(self, run: Run, attempt: int, offset: int) -> LogPiece:
        for each in run.attempts:
            if each.number == attempt:
                data = self._read_log(each.handle, offset)
                over = each.job_ended or each.state in (AttemptState.GONE, AttemptState.REFUSED) or run.state.final
                return LogPiece(data=data, cursor=f"{attempt}:{offset + len(data)}", ended=over and not data)
        raise UserError(f"run {run.id} has {len(run.attempts)} attempt(s), none with the number {attempt}")

    def _read_log(self, handle: Handle | None, offset: int) -> bytes:
        if handle is None:
            return b""
        launcher = self._launchers.get(handle.launcher)
        if launcher is None:
            raise UserError(f"the launcher {handle.launcher!r} that has these logs is not installed here")
        found = bytearray()
        for data in launcher.logs(handle, since=offset):
            found += data
            if len(found) >= PIECE_BYTES:
                break
        return bytes(found[:PIECE_BYTES])

    def _read_submission(self, body: Mapping[str, object]) -> Submitted:
        """The submission as the event it becomes: one reader for everything that is stored."""
        plan, workload, key = body.get("plan"), body.get("workload"), body.get("key") or ""
        if isinstance(plan, dict) and isinstance(plan.get("plan"), dict):
            plan = plan["plan"]  # a plan file: the snapshot that it was made from is not stored
        if isinstance(plan, dict) == isinstance(workload, dict) or not isinstance(key, str):
            raise Refused("a submission has a `workload` or a `plan`, each an object, and perhaps a `key`, a text")
        document = {
            "kind": "submitted",
            "run_id": "",
            "at": self._clock.now().isoformat(),
            "workload": plan.get("workload") if isinstance(plan, dict) else workload,
            "plan": plan,
            "key": key,
        }
        event = documents.load_event(json.dumps(document))
        if not isinstance(event, Submitted):
            raise Refused("the body is not a submission")
        slug = re.sub(r"[^a-z0-9]+", "-", event.workload.name.lower()).strip("-")[:24].strip("-")
        return replace(event, run_id=f"{slug or 'run'}-{self._suffix()}")

    def _catch_up(self) -> None:
        for recorded in self._store.events(since=self._seq):
            self._seq = recorded.seq
            event = recorded.event
            if isinstance(event, OrphanReleased):
                self._orphans.append(event)
            if not event.run_id:
                continue
            known = self._runs.get(event.run_id)
            run = fold.advance(known.run if known else None, event)
            if known is None:
                known = self._runs[event.run_id] = _Known(run)
            known.run = run
            if isinstance(event, Progressed) and (
                known.first_progress is None or known.first_progress.token != event.token
            ):
                known.first_progress = event

    def _find(self, run_id: str) -> _Known:
        self._catch_up()
        if run_id in self._runs:
            return self._runs[run_id]
        near = [known for known_id, known in self._runs.items() if run_id and known_id.startswith(run_id)]
        if len(near) == 1:
            return near[0]
        if near:
            raise UnknownRun(f"{run_id!r} begins the ids of {len(near)} runs: {', '.join(k.run.id for k in near[:5])}")
        raise UnknownRun(f"no run is called {run_id!r}: `isoflop status` lists them")

    def _state(self, run_id: str) -> Run:
        with self._lock:
            return self._find(run_id).run

    def _view(self, known: _Known, now: datetime) -> RunView:
        run, last = known.run, known.run.attempt
        best = run.plan.best if run.plan else None
        return RunView(
            id=run.id,
            name=run.name,
            kind=run.workload.KIND,
            state=run.state,
            at=now,
            submitted_at=run.submitted_at,
            entered_at=run.entered_at,
            detail=run.detail,
            attempts=tuple(_attempt(run, attempt) for attempt in run.attempts),
            usd=billing.spent_usd(run, now),
            usd_per_hour=sum(attempt.usd_per_hour for attempt in run.attempts if attempt.state in HELD),
            budget_usd=run.workload.limits.budget_usd,
            planned_usd=best.cost_usd if best else None,
            planned_hours=best.hours if best else None,
            plans=run.plans,
            progress=last.progress if last else None,
            remaining_s=_remaining_s(known, now),
            exit_code=last.exit_code if last else None,
            outcome=run.outcome,
            cancel_asked_at=run.cancel_asked_at,
            blind=tuple(sorted(run.blind)),
            asked=run.asked,
            approved_usd=run.approved_usd,
        )


def _attempt(run: Run, attempt: Attempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        provider=attempt.offer.provider,
        offer=attempt.offer.label,
        nodes=attempt.nodes,
        usd_per_hour=attempt.usd_per_hour,
        state=attempt.state,
        intended_at=attempt.intended_at,
        lease_id=attempt.lease.id if attempt.lease else "",
        held_at=attempt.lease.acquired_at if attempt.lease else None,
        started_at=attempt.handle.started_at if attempt.handle else None,
        gone_at=attempt.gone_at,
        ends_at=attempt.lease.ends_at if attempt.lease else None,
        progress=attempt.progress,
        exit_code=attempt.exit_code,
        cause=attempt.cause,
        urls=serving.urls(run.workload.program, attempt),
    )


def _remaining_s(known: _Known, now: datetime) -> float | None:
    """Time left at the pace since this attempt's first report: a resumed job does not begin at zero."""
    attempt, first = known.run.attempt, known.first_progress
    if attempt is None or attempt.progress is None or first is None or first.token != attempt.token:
        return None
    gained, passed_s = attempt.progress.done - first.done, (now - first.at).total_seconds()
    if gained <= 0 or passed_s <= 0 or attempt.job_ended:
        return None
    return passed_s * (1 - attempt.progress.done) / gained


def _cursor(text: str) -> tuple[int, int]:
    """`attempt:byte`; a number alone is a byte of the first attempt."""
    number, _, offset = text.rpartition(":")
    if not all(part.isascii() and part.isdecimal() for part in (number or "0", offset or "0")):
        raise Refused(f"since is empty, a byte's number or what the last answer said, not {text!r}")
    return int(number or 0), int(offset or 0)
