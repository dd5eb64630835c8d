"""What the API says of runs and of itself: flat values that both sides share, written and read by pydantic."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.approval import Approval
from orchestrator.domain.errors import UserError
from orchestrator.domain.job import Progress
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.domain.sizing import Band

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One purchase of a run, and what ran on it."""

    number: int
    provider: str
    offer: str  # its label
    nodes: int
    usd_per_hour: float  # for all nodes
    state: AttemptState
    intended_at: datetime
    lease_id: str = ""
    held_at: datetime | None = None
    started_at: datetime | None = None
    gone_at: datetime | None = None
    ends_at: datetime | None = None  # when the machines are gone whatever we do, where that is known
    progress: Progress | None = None
    exit_code: int | None = None
    cause: str = ""
    urls: tuple[str, ...] = ()  # of a service, one for each machine that is reached from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as `status` shows it, at the server's moment `at`.

    `remaining_s` is extrapolated from the progress that the current attempt reported; None until it has reported twice.
    """

    id: str
    name: str
    kind: str  # of the workload: "Training"
    state: RunState
    at: datetime
    submitted_at: datetime
    entered_at: datetime  # when `state` was entered
    detail: str
    attempts: tuple[AttemptView, ...]
    usd: float  # cost so far
    usd_per_hour: float  # of what is held now
    budget_usd: float | None = None
    planned_usd: Band | None = None  # of the plan's best placement
    planned_hours: Band | None = None
    plans: int = 0
    progress: Progress | None = None
    remaining_s: float | None = None
    exit_code: int | None = None
    outcome: RunState | None = None  # the end that RELEASING leads to
    cancel_asked_at: datetime | None = None
    blind: tuple[str, ...] = ()  # providers of its leases that do not answer at present
    asked: Approval | None = None  # the approval that was asked for last
    approved_usd: float = 0.0  # the most that those who were asked agreed to


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer to a submission; `created` is False where its key had been seen before."""

    run_id: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """Some output; `cursor` asks for what follows, `ended` says that nothing ever will."""

    data: bytes
    cursor: str
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerHealth:
    """What the controller's process says of itself; `error` where it does not answer."""

    pid: int = 0
    running: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The control plane at a glance."""

    version: str
    pid: int
    home: str
    started_at: str
    ray: str  # "embedded", or the address of the cluster that was joined
    open_runs: int
    controller: ControllerHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class DownAnswer:
    """`stopping` once the control plane goes down; otherwise the runs it waits for."""

    stopping: bool
    open_runs: tuple[str, ...] = ()


def dump(kind: type[Message], message: Message) -> bytes:
    """`message` as JSON."""
    return _adapter(cast(Hashable, kind)).dump_json(message)


def load(kind: type[Message], body: bytes) -> Message:
    """A message from JSON. Raises: UserError where the other side speaks another version."""
    try:
        message: Message = _adapter(cast(Hashable, kind)).validate_json(body)
    except ValidationError as error:
        raise UserError(f"the control plane's answer is not a {kind.__name__}: does another version run?") from error
    return message


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
