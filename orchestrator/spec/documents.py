"""What isoflop writes and reads back: plans with their snapshots, snapshots, workloads and events, exactly."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from orchestrator.domain.errors import UserError
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.spec.codec import codec, to_json
from orchestrator.spec.columns import Undecodable

if TYPE_CHECKING:  # a plan knows no events, and their classes take a tenth of its time to make
    from orchestrator.domain.events import Event

T = TypeVar("T")
Object: TypeAlias = dict[str, object]
PLAN_FORMAT = "isoflop-plan/1"
SNAPSHOT_FORMAT = "isoflop-snapshot/1"
FLEET_FORMAT = "isoflop-fleet-plan/1"
FLEET = (
    "this is the plan of several jobs: hand each in by itself, with the `isoflop submit` commands that "
    "`isoflop plan` of these jobs lists, in their order"
)


def to_jsonable(value: object) -> object:
    """Any domain value (or container of them) as what `json.dumps` takes: enums by value, moments in ISO 8601 UTC.

    Numbers that are not finite become the words "NaN", "Infinity" and "-Infinity", which JSON has no numbers for.
    """
    return to_json(value)


def plan_json(plan: Plan) -> Object:
    """The plan for `--json`: its fields, and what is computed from them for each placement."""
    fields = _object(plan)
    fields["ranked"] = [_placement(placement) for placement in plan.ranked]
    return fields


def dump_plan(plan: Plan, snapshot: Snapshot) -> str:
    """A plan file: the plan and the snapshot it was made from. Equal values give equal bytes."""
    return _text({"format": PLAN_FORMAT, "plan": to_json(plan), "snapshot": to_json(snapshot)})


def load_plan(text: str) -> tuple[Plan, Snapshot]:
    """The plan and snapshot of `dump_plan`.

    Raises: UserError where the text is no plan file, or its two halves do not belong together.
    """
    document = _document(text, PLAN_FORMAT, "plan file", "isoflop plan -o FILE")
    plan = _read(Plan, document.get("plan"), "plan file")
    snapshot = _read(Snapshot, document.get("snapshot"), "plan file")
    if plan.snapshot_id != snapshot.id:
        raise UserError(
            f"the plan file is damaged: the plan was made from snapshot {plan.snapshot_id}, "
            f"the file holds {snapshot.id}; make a new one with 'isoflop plan -o FILE'"
        )
    return plan, snapshot


def dump_snapshot(snapshot: Snapshot) -> str:
    """A snapshot file. Equal values give equal bytes."""
    return _text({"format": SNAPSHOT_FORMAT, "snapshot": to_json(snapshot)})


def load_snapshot(text: str) -> Snapshot:
    """The snapshot of `dump_snapshot` (or the one within a plan file), with the same id.

    Raises: UserError.
    """
    document = _document(text, SNAPSHOT_FORMAT, "snapshot file", "isoflop plan -o FILE", also=PLAN_FORMAT)
    snapshot: Snapshot = _read(Snapshot, document.get("snapshot"), "snapshot file")
    return snapshot


def dump_workload(workload: Workload) -> str:
    """A workload as one line of JSON."""
    return _text(to_json(workload))


def load_workload(text: str) -> Workload:
    """The workload of `dump_workload`. Raises: UserError."""
    workload: Workload = _read(Workload, _parse(text, "workload"), "workload")
    return workload


def dump_event(event: Event) -> str:
    """An event as one line of JSON."""
    return _text(to_json(event))


def load_event(text: str) -> Event:
    """The event of `dump_event`. Raises: UserError."""
    kinds = importlib.import_module("orchestrator.domain.events").Event
    event: Event = _read(kinds, _parse(text, "event"), "event")
    return event


def _placement(placement: Placement) -> Object:
    computed = {"label": placement.label, "gpus": placement.gpus, "usd_per_hour": placement.usd_per_hour}
    return {name: to_json(value) for name, value in computed.items()} | _object(placement)


def _object(value: Plan | Placement) -> Object:
    fields = to_json(value)
    if not isinstance(fields, dict):
        raise TypeError("a dataclass is an object in JSON")
    return dict(fields)


def _text(value: Any) -> str:
    # ASCII alone: a path with undecodable bytes survives, and so does every terminal and encoding
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _parse(text: str, what: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the {what} cannot be read: it is not JSON ({error})") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _document(text: str, wanted: str, what: str, remedy: str, *, also: str = "") -> Object:
    document = _parse(text, what)
    found = document.get("format") if isinstance(document, dict) else None
    if found == FLEET_FORMAT and wanted == PLAN_FORMAT:
        raise UserError(FLEET)
    if not isinstance(document, dict) or found not in {wanted, also or wanted}:
        kind = f"its format is {found!r}" if found is not None else "it names no format"
        raise UserError(f"this is no {what} of this version ({kind}, expected {wanted}): make one with '{remedy}'")
    return document


def _read(kind: Any, value: object, what: str) -> Any:
    try:
        return codec(kind).decode(value, ())
    except Undecodable as error:
        raise UserError(f"the {what} cannot be read: {error}") from error
