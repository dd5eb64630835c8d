"""Fleet plans as files: the plan and the snapshot it was made from, written and read back exactly."""

from __future__ import annotations

import json

from orchestrator.domain.errors import UserError
from orchestrator.domain.fleetplan import FleetPlan, Move, PlacedJob
from orchestrator.domain.snapshot import Snapshot
from orchestrator.spec.codec import codec, to_json
from orchestrator.spec.columns import Undecodable
from orchestrator.spec.documents import FLEET_FORMAT

REMEDY = "isoflop plan JOB JOB... -o FILE"


def fleet_json(plan: FleetPlan) -> dict[str, object]:
    """The plan for `--json`: its fields, and what is computed from them."""
    fields = to_json(plan)
    if not isinstance(fields, dict):
        raise TypeError("a dataclass is an object in JSON")
    computed: dict[str, object] = {"gap": plan.gap, "cost_usd": plan.cost_usd, "ends_h": plan.ends_h}
    document: dict[str, object] = {**{name: to_json(value) for name, value in computed.items()}, **fields}
    document["placed"] = [_placed(one) for one in plan.placed]
    document["moves"] = [_move(one) for one in plan.moves]
    return document


def _placed(one: PlacedJob) -> object:
    fields = to_json(one)
    return {"label": one.placement.label, **fields} if isinstance(fields, dict) else fields


def _move(one: Move) -> object:
    fields = to_json(one)
    return {"score": to_json(one.score), **fields} if isinstance(fields, dict) else fields


def dump_fleet(plan: FleetPlan, snapshot: Snapshot) -> str:
    """A fleet plan's file. Equal values give equal bytes."""
    document = {"format": FLEET_FORMAT, "plan": to_json(plan), "snapshot": to_json(snapshot)}
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def load_fleet(text: str) -> FleetPlan:
    """The plan of `dump_fleet`. Raises: UserError where the text is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the fleet plan cannot be read: it is not JSON ({error})") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FLEET_FORMAT:
        kind = f"its format is {found!r}" if found is not None else "it names no format"
        raise UserError(
            f"this is no fleet plan of this version ({kind}, expected {FLEET_FORMAT}): make one with {REMEDY}"
        )
    try:
        plan: FleetPlan = codec(FleetPlan).decode(document.get("plan"), ())
    except Undecodable as error:
        raise UserError(f"the fleet plan cannot be read: {error}") from error
    return plan
