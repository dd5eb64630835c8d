"""A run on hosts of one's own: one dies under it, the next is cut off, the third ends it, and every lock is gone."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml

from orchestrator.domain.events import LeaseGone, OrphanReleased, Purchased
from orchestrator.domain.run import RunState
from orchestrator.domain.workload import Checkpointing, Limits, Program
from orchestrator.runtime.store import SqliteStore
from orchestrator.testing import builders
from tests.e2e.conftest import Plane, make
from tests.e2e.test_bought_machine import TRAIN
from tests.e2e.yard import Yard, YardHost

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

STEPS = 450  # of a tenth of a second
CONFIG = """
[providers.local]
enabled = false

[providers.ssh]
fleet = "{fleet}"
lost_after_s = 4.0
quiet_s = 0.5
bandwidth_mib = 0.0

[control]
tick_s = 0.2
"""


def holder(yard: Yard, plane: Plane, attempt: int, within_s: float = 60.0) -> YardHost:
    """The host that is locked for an attempt; no two are for one run."""
    found: list[YardHost] = []

    def held() -> bool:
        mark = f"-{attempt}".encode()
        texts = {host: host.folder / "lock" for host in yard.hosts if host.locked}
        found[:] = [host for host, lock in texts.items() if re.search(rb'"token": "[^"]*%s"' % mark, lock.read_bytes())]
        return bool(found)

    plane.until(f"a host is taken for attempt {attempt}", held, within_s=within_s)
    (host,) = found
    return host


def test_a_run_goes_on_from_host_to_host_and_every_host_is_free_in_the_end(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text(TRAIN)
    with ExitStack() as stack:
        yard = stack.enter_context(Yard(tmp_path / "yard", hosts=3, sites=2))
        for host in yard.hosts:
            stack.callback(host.die)
        fleet = tmp_path / "fleet.yaml"
        fleet.write_text(yaml.safe_dump(yard.document()))
        plane = make(tmp_path / "home", CONFIG.format(fleet=fleet))
        stack.callback(plane.destroy)
        plane.up()
        program = Program(
            command=("python3", "train.py", str(STEPS)),
            workdir=str(work),
            checkpoint=Checkpointing(interval_s=4.0, grace_s=5.0),
        )
        model = builders.model(
            name="tiny", parameters=1e5, active_parameters=1e5, layers=2, hidden=64, heads=4, kv_heads=4, head_dim=16
        )
        workload = builders.training(
            name="edge", model=model, tokens=1e5, sequence_length=64, program=program, limits=Limits(providers=("ssh",))
        )
        with plane.client() as client:
            run_id = client.submit(workload).run_id
        home = plane.home / "checkpoints" / run_id

        def saved() -> int:
            return len(json.loads((home / "saved").read_text())) if (home / "saved").exists() else 0

        first = holder(yard, plane, 1)
        plane.until("the first host's checkpoint comes home", lambda: saved() > 0)
        kept = saved()
        first.die()
        second = holder(yard, plane, 2)
        assert second is not first
        plane.until("the second host's checkpoint comes home", lambda: saved() > kept)
        second.down()  # it is only cut off: what runs there goes on
        assert second.running()
        third = holder(yard, plane, 3)
        assert third not in {first, second}
        assert (first.locked, second.locked) == (True, True)  # so nobody could tell
        first.up()
        second.up()
        plane.until("the hosts that are back are freed", lambda: not first.locked and not second.locked)

        def ended() -> bool:
            with plane.client() as client:
                return client.run(run_id).state.final

        plane.until("the run ends", ended, within_s=120)
        events = plane.events(run_id)
        with plane.client() as client:
            assert client.run(run_id).state is RunState.SUCCEEDED, events
            output = client.logs(run_id).data
        assert json.loads((home / "saved").read_text()) == list(range(1, STEPS + 1))
        assert [sum(isinstance(event, kind) for event in events) for kind in (Purchased, LeaseGone)] == [3, 3]
        assert sorted(path.name.split("-")[1] for path in home.glob("start-*")) == ["1", "2", "3"]  # none ran twice
        with closing(SqliteStore(plane.home / "store.db")) as store:
            assert sum(isinstance(item.event, OrphanReleased) for item in store.events()) == 2
        for attempt in (2, 3):
            assert b"step 1\n" not in output.partition(b"--- attempt %d" % attempt)[2]  # each went on where it was
        for host in yard.hosts:
            plane.until(f"{host.name} is free", lambda host=host: not host.locked)  # type: ignore[misc]
            assert not list(host.folder.glob("leases/*"))
        assert not [pid for host in yard.hosts for pid in _jobs(host)]


def _jobs(host: YardHost) -> list[int]:
    """What runs on a host and is neither its server nor a connection of ours."""
    return [pid for pid in host.running() if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
