"""Where a service is reached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.job import Handle
from orchestrator.domain.lease import Endpoint
from orchestrator.domain.run import Attempt, AttemptState
from orchestrator.lifecycle.serving import urls
from orchestrator.testing.builders import lease, offer, program
from orchestrator.testing.clock import EPOCH

LISTENING = program(port=8000)


def attempt(*endpoints: Endpoint) -> Attempt:
    return Attempt(
        number=1,
        candidate=0,
        token="token-1",
        offer=offer(),
        nodes=len(endpoints),
        usd_per_hour=1.0,
        state=AttemptState.HELD,
        intended_at=EPOCH,
        lease=lease(nodes=len(endpoints), endpoints=endpoints),
        handle=Handle(launcher="ssh", lease_id="lease-1", id="job", started_at=EPOCH),
    )


def test_every_machine_has_a_url() -> None:
    nodes = (Endpoint(launcher="ssh", address="10.0.0.5", port=22), Endpoint(launcher="ssh", address="fd00::7"))
    assert urls(LISTENING, attempt(*nodes)) == ("http://10.0.0.5:8000", "http://[fd00::7]:8000")
    assert urls(LISTENING, attempt(Endpoint(launcher="process"))) == ("http://127.0.0.1:8000",)


@pytest.mark.parametrize(
    "node",
    [
        Endpoint(launcher="ssh", address="10.0.0.5", jump=Endpoint(launcher="ssh", address="gate")),
        Endpoint(launcher="slurm", address="node-1"),
        Endpoint(launcher="ssh"),
    ],
)
def test_machines_that_nobody_reaches_have_none(node: Endpoint) -> None:
    near = Endpoint(launcher="ssh", address="10.0.0.5")
    assert urls(LISTENING, attempt(node, near)) == ("http://10.0.0.5:8000",)


def test_only_what_runs_and_listens_has_urls() -> None:
    running = attempt(Endpoint(launcher="ssh", address="10.0.0.5"))
    assert urls(LISTENING, running)
    assert urls(program(), running) == ()
    assert urls(None, running) == ()
    for over in (
        replace(running, handle=None),
        replace(running, lease=None),
        replace(running, job_ended=True),
        replace(running, state=AttemptState.RELEASING),
        replace(running, state=AttemptState.GONE),
    ):
        assert urls(LISTENING, over) == ()
