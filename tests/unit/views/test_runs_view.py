"""What `status` says of the lease that a run holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.run import AttemptState, RunState
from orchestrator.interfaces.api.messages import AttemptView, RunView
from orchestrator.interfaces.views.page import Facts, text_of
from orchestrator.interfaces.views.runs_view import RunReport
from orchestrator.testing.clock import EPOCH


@pytest.mark.parametrize(
    ("state", "hours", "told"),
    [
        (AttemptState.HELD, 3.0, ["2026-01-01 03:00:00Z (in 3 h)"]),
        (AttemptState.HELD, None, []),
        (AttemptState.GONE, 3.0, []),
    ],
)
def test_the_end_of_the_lease_that_is_held_is_told_where_it_is_known(
    state: AttemptState, hours: float | None, told: list[str]
) -> None:
    attempt = AttemptView(
        number=1,
        provider="slurm",
        offer="slurm lab/batch 4x-a100 owned",
        nodes=1,
        usd_per_hour=4.0,
        state=state,
        intended_at=EPOCH,
        ends_at=None if hours is None else EPOCH + timedelta(hours=hours),
    )
    run = RunView(
        id="run-1",
        name="run",
        kind="Training",
        state=RunState.RUNNING,
        at=EPOCH,
        submitted_at=EPOCH,
        entered_at=EPOCH,
        detail="",
        attempts=(attempt,),
        usd=0.0,
        usd_per_hour=4.0,
    )
    (facts,) = [block for block in RunReport(run).page() if isinstance(block, Facts)]
    assert [text_of(value) for name, value in facts.rows if name == "lease ends"] == told
