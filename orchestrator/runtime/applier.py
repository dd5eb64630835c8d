"""Carries out what reconcile decided, and turns every answer and every error into a result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from orchestrator.domain.contracts import Clock, Launcher
from orchestrator.domain.errors import (
    AuthError,
    Blocking,
    IsoflopError,
    LeaseNotFound,
    ProviderError,
    ThrottledError,
    TransientError,
    UserError,
)
from orchestrator.domain.job import Handle, Job, JobStatus
from orchestrator.domain.lease import Lease
from orchestrator.domain.plan import Plan
from orchestrator.domain.workload import Workload
from orchestrator.lifecycle.actions import (
    Action,
    Bought,
    Buy,
    Doubtful,
    GiveBack,
    Launch,
    MakePlan,
    PlanMade,
    Refused,
    Released,
    Releasing,
    Result,
    Started,
    Stop,
    Stopped,
)
from orchestrator.lifecycle.observed import Blind, Listing, Sight
from orchestrator.runtime.gateway import Acquire, Gateway, Look, Release, Sighting

Planner: TypeAlias = Callable[[Workload], Plan]

RETRY_S = 5.0  # after an error that names no time of its own

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long providers may take to answer."""

    acquire_s: float = 300.0
    release_s: float = 60.0
    look_s: float = 20.0


class Applier:
    """Calls providers, launchers and the planner. Safe to use from many threads.

    No call raises for a fault of the world or of an adapter. An adapter that raises anything but our errors has a bug:
    the call counts as in doubt, is tried again with the same token, and the run gets a note, so that a broken adapter
    neither leaks a lease nor buys one twice, and runs elsewhere go on.
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        launchers: Mapping[str, Launcher],
        planner: Planner,
        clock: Clock,
        checkpoints: Path,
        timeouts: Timeouts,
    ) -> None:
        self._gateway = gateway
        self._launchers = dict(launchers)
        self._planner = planner
        self._clock = clock
        self._checkpoints = checkpoints
        self._timeouts = timeouts

    def carry_out(self, action: Action) -> Result:
        """Do it, now."""
        try:
            return self._carry_out(action)
        except TransientError as error:
            away = isinstance(error, ThrottledError)
            return Doubtful(action=action, detail=str(error), retry_after_s=error.retry_after_s, turned_away=away)
        except IsoflopError as error:
            return _refusal(action, error)
        except Exception as error:  # whatever an adapter may raise, its runs must stay under control
            _log.exception("%s failed with an error that no contract allows", type(action).__name__)
            detail = f"bug while carrying out {type(action).__name__} {action.key}: {type(error).__name__}: {error}"
            return Doubtful(action=action, detail=detail, retry_after_s=RETRY_S, note=True)

    def look(self, provider: str) -> Sight:
        """What `provider` says we hold."""
        asked_at = self._clock.now()
        try:
            answer = self._gateway.call(provider, Look(), timeout_s=self._timeouts.look_s)
        except IsoflopError as error:
            return Blind(detail=str(error))
        except Exception as error:  # as above: this provider is not seen, the others are
            _log.exception("listing the leases of %s failed with an error that no contract allows", provider)
            return Blind(detail=f"bug in the provider {provider}: {type(error).__name__}: {error}")
        if not isinstance(answer, Sighting):
            return Blind(detail=f"bug in the provider {provider}: its listing is a {type(answer).__name__}")
        return Listing(asked_at=asked_at, leases=answer.leases, notices=answer.notices)

    def poll(self, handle: Handle) -> JobStatus | None:
        """How the job stands; None where that could not be learnt."""
        try:
            return self._launcher(handle.launcher).poll(handle)
        except IsoflopError as error:
            _log.warning("polling %s: %s", handle.id, error)
        except Exception:  # as above
            _log.exception("polling %s failed with an error that no contract allows", handle.id)
        return None

    def _carry_out(self, action: Action) -> Result:
        match action:
            case MakePlan():
                return PlanMade(action=action, plan=self._planner(action.workload))
            case Buy():
                return self._buy(action)
            case Launch():
                return self._launch(action)
            case Stop():
                grace_s = max(0.0, (action.until - self._clock.now()) / timedelta(seconds=1))
                self._launcher(action.handle.launcher).stop(action.handle, grace_s=grace_s)
                return Stopped(action=action)
            case GiveBack():
                return self._give_back(action)

    def _launcher(self, name: str) -> Launcher:
        launcher = self._launchers.get(name)
        if launcher is None:
            known = ", ".join(sorted(self._launchers)) or "none"
            raise UserError(f"no launcher called {name!r} is installed (installed: {known})")
        return launcher

    def _buy(self, action: Buy) -> Result:
        request = Acquire(offer=action.offer, nodes=action.nodes, token=action.token, boot=action.boot)
        answer = self._gateway.call(action.offer.provider, request, timeout_s=self._timeouts.acquire_s)
        if not isinstance(answer, Lease) or answer.token != action.token:
            raise TypeError(f"{action.offer.provider} sold {answer!r} for the token {action.token}")
        return Bought(action=action, lease=answer)

    def _launch(self, action: Launch) -> Result:
        job = Job(
            run_id=action.run_id,
            attempt=action.attempt,
            token=action.token,
            program=action.program,
            checkpoint_dir=str(self._checkpoints / action.run_id),
        )
        launcher = self._launcher(action.launcher)
        return Started(action=action, handle=launcher.start(action.lease, job))

    def _give_back(self, action: GiveBack) -> Result:
        try:
            self._gateway.call(action.provider, Release(lease_id=action.lease_id), timeout_s=self._timeouts.release_s)
        except LeaseNotFound:
            return Released(action=action)
        return Releasing(action=action)


def _refusal(action: Action, error: IsoflopError) -> Result:
    """What an error that is not TransientError means for `action`."""
    name, detail = type(error).__name__, str(error)
    # A plain UserError says that nothing was bought; a ConfigError, of a provider that is off by now, does not.
    if isinstance(action, Buy) and (isinstance(error, Blocking | AuthError) or type(error) is UserError):
        scope = error.scope if isinstance(error, Blocking) else None
        return Refused(action=action, error=name, detail=detail, scope=scope)
    if isinstance(action, Launch) and isinstance(error, ProviderError | UserError):
        return Refused(action=action, error=name, detail=detail, final=isinstance(error, UserError))
    if isinstance(action, MakePlan) and isinstance(error, UserError):
        return Refused(action=action, error=name, detail=detail, final=True)
    return Doubtful(action=action, detail=detail, retry_after_s=RETRY_S, note=True)
