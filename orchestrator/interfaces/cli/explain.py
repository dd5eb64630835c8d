"""`isoflop explain`: judges a saved plan's market again and says why, and what if."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.contracts import Policy
from orchestrator.domain.errors import UserError
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose
from orchestrator.interfaces.views.explain_view import ExplainReport
from orchestrator.interfaces.views.whatif_view import WhatIfReport
from orchestrator.planning.explain import explain
from orchestrator.planning.relax import Case, relaxations
from orchestrator.planning.whatif import Market, WhatIf, what_if
from orchestrator.spec.edits import edited

POLICY = "policies."


def run(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan saved with `isoflop plan -o`.")],
    offer: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OFFER]...", help="Words of provider, region, type, billing or GPU; all must match."),
    ] = None,
    *,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="OFFER=CHANGE", help="What if: 'aws p5=-20%' or 'aws p5=$30/h'. Repeatable."),
    ] = None,
    sold_out: Annotated[
        list[str] | None, typer.Option("--sold-out", metavar="OFFER", help="What if these are sold out. Repeatable.")
    ] = None,
    add_nodes: Annotated[
        list[str] | None,
        typer.Option("--add-nodes", metavar="OFFER=N", help="What if N are on sale, or +N more. Repeatable."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="PROVIDER", help="What if it were not there. Repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="What if the job said so: limits.budget=300k. Repeatable."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME.SETTING=N", help="What if: deadline.usd_per_hour=100. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why an offer is, or is not, the choice of a plan; what if.

    Exit codes: 0, or 2 where the file is no plan, no offer matches, or a change makes no sense.
    """
    app = session.open_app()
    plan, snapshot = session.load_plan(plan_file)
    market = Market(snapshot)
    for edit, given in (
        (market.without, without),
        (market.price, price),
        (market.sold_out, sold_out),
        (market.add_nodes, add_nodes),
    ):
        for text in given or ():
            edit(text)
    fields = [*(set_ or ()), *(f"{POLICY}{text}" for text in policy or ())]
    if market.edits or fields:
        if offer:
            raise UserError("a question about an offer and a change at once: ask one after the other")
        choose(as_json).show(WhatIfReport(_changed(plan, app.policies(), market, fields)))
        return
    policies = app.policies()
    told = explain(plan, snapshot, policies, " ".join(offer) if offer else None)
    if told.query is not None and not told.matched:
        raise UserError(told.headline)
    buyable_only = any(refusal.code is ReasonCode.NOT_BUYABLE for refusal in plan.refusals)
    relax = relaxations(Case(plan.workload, snapshot, policies, buyable_only)) if told.query is None else None
    choose(as_json).show(ExplainReport(told, relax))


def _changed(plan: Plan, policies: Sequence[Policy], market: Market, fields: Sequence[str]) -> WhatIf:
    """The plan again with every change. Raises: UserError for two values of one field."""
    workload = plan.workload
    said: dict[str, str] = {}
    for text in fields:
        path, equals, value = text.partition("=")
        shown = text.removeprefix(POLICY) if text.startswith(POLICY) else text
        if not equals or not path.strip():
            raise UserError(f"{shown}: write FIELD=VALUE, such as limits.budget=300k")
        if path.strip() in said:
            raise UserError(f"{path.strip()} is changed twice, to {said[path.strip()]} and to {value.strip()}")
        said[path.strip()] = value.strip()
        workload = edited(workload, path.strip(), value.strip())
    words = [
        *(f"{e.words} ({e.offers} offer{'s' * (e.offers != 1)})" for e in market.edits),
        *(f"{p} = {v}" for p, v in said.items()),
    ]
    return what_if(plan, workload, market.snapshot, policies, words)
