"""The client of the control plane's API: typed calls, and the server's errors raised as what they were."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.events import Recorded, Submitted
from orchestrator.domain.plan import Plan
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.api import connection, faults, messages
from orchestrator.interfaces.api.messages import Accepted, DownAnswer, Health, LogPiece, RunView
from orchestrator.lifecycle.billing import Ledger
from orchestrator.spec import documents

NOT_RUNNING = "no control plane runs for {home}: start one with `isoflop up`"


class Client:
    """A connection to the control plane of one state folder; use it in a `with`.

    Every call raises: ConfigError where no control plane answers, and whatever error the control plane itself raised.
    """

    def __init__(self, url: str, token: str, *, home: Path, timeout_s: float = 30.0) -> None:
        self._home = home
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            trust_env=False,  # a proxy of the environment must not see loopback traffic, nor the token
            verify=False,  # noqa: S501 - plain HTTP on loopback: reading the authorities costs more than the call
        )

    @classmethod
    def connect(cls, home: Path, *, timeout_s: float = 30.0) -> Self:
        """A client of the control plane that the connection file of `home` names.

        Raises: ConfigError where none runs.
        """
        control = home / "control"
        known = connection.read(control)
        if known is None or not known.alive:
            raise ConfigError(NOT_RUNNING.format(home=home))
        return cls(known.url, connection.read_token(control), home=home, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def health(self) -> Health:
        """How the control plane is."""
        return messages.load(Health, self._get("/v1/health"))

    def submit(self, workload: Workload, *, key: str = "") -> Accepted:
        """Hand in a workload for the control plane to plan and run; a `key` seen before gives the earlier run."""
        return self._submit("workload", _submission(workload, None), key)

    def apply(self, plan: Plan, *, key: str = "") -> Accepted:
        """Hand in a plan: its ranked placements are what the control plane buys from, in that order."""
        return self._submit("plan", _submission(plan.workload, plan), key)

    def runs(self) -> tuple[RunView, ...]:
        """Every run, in the order of submission."""
        return messages.load(tuple[RunView, ...], self._get("/v1/runs"))

    def run(self, run_id: str) -> RunView:
        """One run by its id, or by the only id that starts so."""
        return messages.load(RunView, self._get(f"/v1/runs/{run_id}"))

    def events(self, run_id: str, *, since: int = 0) -> tuple[Recorded, ...]:
        """The run's events after sequence number `since`."""
        answer = json.loads(self._get(f"/v1/runs/{run_id}/events", {"since": str(since)}))
        return tuple(Recorded(item["seq"], documents.load_event(json.dumps(item["event"]))) for item in answer)

    def logs(self, run_id: str, *, cursor: str = "", attempt: int | None = None) -> LogPiece:
        """The next piece of output of all attempts, or of one."""
        query = {"since": cursor} | ({} if attempt is None else {"attempt": str(attempt)})
        answer = self._send("GET", f"/v1/runs/{run_id}/logs", query)
        return LogPiece(
            data=answer.content,
            cursor=answer.headers.get("isoflop-cursor", cursor),
            ended=answer.headers.get("isoflop-ended") == "true",
        )

    def follow(
        self,
        run_id: str,
        *,
        attempt: int | None = None,
        every_s: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[bytes]:
        """Output as it comes, until there can be no more."""
        piece = self.logs(run_id, attempt=attempt)
        while True:
            if piece.data:
                yield piece.data
            if piece.ended:
                return
            if not piece.data:
                sleep(every_s)
            piece = self.logs(run_id, cursor=piece.cursor, attempt=attempt)

    def bill(self, run_id: str | None = None) -> Ledger:
        """What one run, or everything, has cost."""
        return messages.load(Ledger, self._get("/v1/bill" if run_id is None else f"/v1/runs/{run_id}/bill"))

    def cancel(self, run_id: str) -> RunView:
        """Ask for the run's end; idempotent. The machines are given back in the course of the next ticks."""
        return messages.load(RunView, self._post(f"/v1/runs/{run_id}/cancel", {}))

    def approve(self, run_id: str, by: str, *, up_to_usd: float | None = None) -> RunView:
        """Agree, as `by`, to what the run waits for, or to more. Raises: UserError where it does not wait for that."""
        body = {"by": by} | ({} if up_to_usd is None else {"up_to_usd": up_to_usd})
        return messages.load(RunView, self._post(f"/v1/runs/{run_id}/approve", body))

    def down(self, *, cancel: bool = False, keep: bool = False) -> DownAnswer:
        """Ask the control plane to go down; with `cancel`, call again until it says that it is `stopping`.

        Raises: RunsOpen while runs are open and neither `cancel` nor `keep` is given.
        """
        return messages.load(DownAnswer, self._post("/v1/down", {"cancel": cancel, "keep": keep}))

    def _submit(self, part: str, submission: Mapping[str, object], key: str) -> Accepted:
        return messages.load(Accepted, self._post("/v1/runs", {part: submission[part], "key": key}))

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        return self._send("GET", path, query).content

    def _post(self, path: str, body: Mapping[str, object]) -> bytes:
        return self._send("POST", path, body=body).content

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        try:
            answer = self._http.request(method, path, params=query, json=body)
        except httpx.TimeoutException as error:
            raise ConfigError(f"the control plane at {self._http.base_url} does not answer in time") from error
        except httpx.TransportError as error:
            raise ConfigError(NOT_RUNNING.format(home=self._home)) from error
        if answer.status_code >= 400:
            raise faults.load(answer.status_code, answer.content)
        return answer


def _submission(workload: Workload, plan: Plan | None) -> Mapping[str, object]:
    """The parts of a submission as JSON: what is sent is what the event log holds."""
    event = Submitted(run_id="", at=datetime.now(UTC), workload=workload, plan=plan)
    document: dict[str, object] = json.loads(documents.dump_event(event))
    return document
