"""A served API over a real store, with a controller played by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvicorn

from orchestrator.domain.events import (
    Event,
    JobEnded,
    Launched,
    LaunchIntended,
    LeaseGone,
    Moved,
    Progressed,
    Purchased,
    PurchaseIntended,
    ReleaseIntended,
)
from orchestrator.domain.job import Handle, Job, JobState, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.run import RunState
from orchestrator.interfaces.api import server
from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.api.messages import ControllerHealth, Health
from orchestrator.interfaces.api.service import Service
from orchestrator.runtime.store import SqliteStore
from orchestrator.testing import builders
from orchestrator.testing.clock import FakeClock

TOKEN = "0123456789abcdef"


@dataclass
class MemoryLauncher:
    """Logs by handle id; nothing is ever started."""

    name: str = "process"
    output: dict[str, bytes] = field(default_factory=dict)

    def start(self, lease: Lease, job: Job) -> Handle:
        raise NotImplementedError

    def poll(self, handle: Handle) -> JobStatus:
        return JobStatus(state=JobState.RUNNING)

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:
        rest = self.output.get(handle.id, b"")[since:]
        while rest:
            yield rest[:4099]
            rest = rest[4099:]

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        raise NotImplementedError


@dataclass
class Scene:
    """The store, the clock and the launcher behind the API, and events as a controller would write them."""

    store: SqliteStore
    clock: FakeClock
    launcher: MemoryLauncher
    url: str
    went_down: threading.Event
    http: httpx.Client  # bare, for what our client would not send

    def client(self, token: str = TOKEN) -> Client:
        return Client(self.url, token, home=Path("/nowhere"), timeout_s=10)

    def write(self, *events: Event) -> None:
        fence = self.store.lead("test", now=self.clock.now(), ttl_s=3600)
        assert fence is not None
        self.store.append(events, fence=fence)

    def acquire(self, run_id: str, number: int) -> None:
        """The run buys its attempt `number` and starts its job."""
        token, at, offer = f"{run_id}-{number}", self.clock.now(), builders.offer()
        lease = builders.lease(id=f"lease-{number}", token=token, offer=offer, usd_per_hour=36.0, acquired_at=at)
        handle = Handle(launcher="process", lease_id=lease.id, id=token, started_at=at)
        self.write(
            Moved(run_id=run_id, at=at, to=RunState.ACQUIRING, cause="candidates"),
            PurchaseIntended(
                run_id=run_id, at=at, token=token, candidate=0, offer=offer, nodes=1, usd_per_hour=36.0, fence=1
            ),
            Purchased(run_id=run_id, at=at, token=token, lease=lease),
            Moved(run_id=run_id, at=at, to=RunState.STARTING, cause="held"),
            LaunchIntended(run_id=run_id, at=at, token=token),
            Launched(run_id=run_id, at=at, token=token, handle=handle),
            Moved(run_id=run_id, at=at, to=RunState.RUNNING, cause="started"),
        )

    def progress(self, run_id: str, number: int, done: float) -> None:
        """The job reports."""
        token = f"{run_id}-{number}"
        self.write(Progressed(run_id=run_id, at=self.clock.now(), token=token, done=done, detail=f"{done:.0%}"))

    def lose(self, run_id: str, number: int) -> None:
        """The machine goes away under the job."""
        token, at = f"{run_id}-{number}", self.clock.now()
        self.write(
            JobEnded(run_id=run_id, at=at, token=token, exit_code=None, cause="lost"),
            Moved(run_id=run_id, at=at, to=RunState.RECOVERING, cause="lost"),
            ReleaseIntended(run_id=run_id, at=at, token=token, cause="lost"),
            LeaseGone(run_id=run_id, at=at, token=token, cause="lost"),
        )

    def finish(self, run_id: str, number: int) -> None:
        """The job ends well and the machine is given back."""
        token, at = f"{run_id}-{number}", self.clock.now()
        self.write(
            JobEnded(run_id=run_id, at=at, token=token, exit_code=0),
            Moved(run_id=run_id, at=at, to=RunState.RELEASING, cause="done", outcome=RunState.SUCCEEDED),
            ReleaseIntended(run_id=run_id, at=at, token=token, cause="done"),
            LeaseGone(run_id=run_id, at=at, token=token, cause="released"),
            Moved(run_id=run_id, at=at, to=RunState.SUCCEEDED, cause="done"),
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = SqliteStore(tmp_path / "store.db")
    clock, launcher, went_down = FakeClock(), MemoryLauncher(), threading.Event()
    suffixes = (f"{number:04d}" for number in range(1, 10_000))
    service = Service(store, {"process": launcher}, clock, suffix=lambda: next(suffixes))
    listener = server.listen(0)

    def health() -> Health:
        return Health(
            version="0",
            pid=1,
            home=str(tmp_path),
            started_at="",
            ray="embedded",
            open_runs=len(service.open_runs()),
            controller=ControllerHealth(error="played by hand"),
        )

    api = server.create(service, server.Hooks(health=health, go_down=went_down.set), token=TOKEN)
    web = uvicorn.Server(uvicorn.Config(api, log_config=None, access_log=False, lifespan="off", ws="none"))
    thread = threading.Thread(target=web.run, args=([listener],))
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, trust_env=False, verify=False) as http:  # noqa: S501
            yield Scene(store, clock, launcher, url, went_down, http)
    finally:
        web.should_exit = True
        thread.join()
        listener.close()
        store.close()
