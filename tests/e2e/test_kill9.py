"""kill -9 of the control plane in each step of a run: the next `up` goes on; nothing is lost, nothing bought twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.events import (
    Launched,
    LaunchIntended,
    LeaseGone,
    Moved,
    Planned,
    Purchased,
    PurchaseIntended,
    ReleaseIntended,
)
from orchestrator.domain.run import RunState

if TYPE_CHECKING:
    from tests.e2e.conftest import Plane

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

STEPS = 30
Window = Callable[["Plane", str, int], bool]


def planning(plane: Plane, run: str, sold: int) -> bool:
    moved = any(isinstance(event, Moved) and event.to is RunState.PLANNING for event in plane.events(run))
    return moved and not plane.holds(run, Planned)


def buying(plane: Plane, run: str, sold: int) -> bool:
    """The market was asked and has not sold yet."""
    return plane.holds(run, PurchaseIntended) and plane.purchases() == sold


def bought(plane: Plane, run: str, sold: int) -> bool:
    """The market has sold, and we do not know it yet: the answer is on its way."""
    return plane.purchases() > sold and not plane.holds(run, Purchased)


def launching(plane: Plane, run: str, sold: int) -> bool:
    return plane.holds(run, LaunchIntended) and not plane.holds(run, Launched)


def running(plane: Plane, run: str, sold: int) -> bool:
    return plane.holds(run, Launched) and len(plane.counted(run)[0]) >= 3


def releasing(plane: Plane, run: str, sold: int) -> bool:
    return plane.holds(run, ReleaseIntended) and not plane.holds(run, LeaseGone)


@pytest.mark.parametrize(
    ("window", "everything"),
    [(planning, True), (buying, False), (bought, True), (launching, False), (running, True), (releasing, False)],
    ids=lambda value: value.__name__ if callable(value) else ("everything" if value else "host"),
)
def test_a_run_goes_on_after_a_kill_in(shared_plane: Plane, window: Window, everything: bool) -> None:
    plane = shared_plane
    plane.up()
    run_id, sold = caught_in(plane, window)
    if everything:
        plane.kill_everything()
    else:
        # The controller outlives its host for a moment: whatever it still does must not harm.
        controller = plane.frozen.pop()
        plane.kill_host()
        os.kill(controller, signal.SIGCONT)
    killed = plane.started[-1]

    plane.up()

    assert plane.started[-1].pid != killed.pid
    view = plane.finished(run_id)
    assert view.state is RunState.SUCCEEDED, view
    assert view.exit_code == 0
    assert [attempt.number for attempt in view.attempts] == [1]
    assert plane.purchases() == sold + 1
    plane.until("every lease is gone", lambda: plane.leases() == 0)
    assert plane.counted(run_id) == (list(range(1, STEPS + 1)), 1)
    tokens = {event.token for event in plane.events(run_id) if isinstance(event, PurchaseIntended)}
    assert len(tokens) == 1
    assert sum(isinstance(event, LeaseGone) for event in plane.events(run_id)) == 1


def test_a_killed_controller_is_started_again_by_ray_alone(shared_plane: Plane) -> None:
    plane = shared_plane
    host_before = plane.up()
    run_id, sold = caught_in(plane, running)
    killed = plane.frozen.pop()

    os.kill(killed, signal.SIGKILL)

    assert plane.finished(run_id).state is RunState.SUCCEEDED
    assert plane.controller_pid() != killed
    assert plane.up() == host_before
    assert plane.purchases() == sold + 1
    assert plane.counted(run_id) == (list(range(1, STEPS + 1)), 1)


def caught_in(plane: Plane, window: Window) -> tuple[str, int]:
    """A run whose controller is frozen within `window`, and how many leases had been sold before it."""
    for _ in range(5):
        controller = plane.controller_pid()
        sold = plane.purchases()
        run_id = plane.submit(STEPS)
        plane.until(window.__name__, lambda run_id=run_id, sold=sold: window(plane, run_id, sold))
        plane.freeze(controller)
        if window(plane, run_id, sold):
            return run_id, sold
        plane.thaw()  # it was quicker than we: let it end, and try again
        plane.finished(run_id)
    raise AssertionError(f"never caught a run in {window.__name__}")
