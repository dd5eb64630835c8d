"""What a provider's errors mean for a purchase: refused with its scope, turned away, or in doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ConfigError,
    IsoflopError,
    ProviderError,
    QuotaError,
    Scope,
    ThrottledError,
    TransientError,
    UserError,
)
from orchestrator.domain.lease import Boot
from orchestrator.domain.workload import Workload
from orchestrator.lifecycle.actions import Buy, Doubtful, Refused
from orchestrator.runtime.applier import Applier, Timeouts
from orchestrator.runtime.gateway import Answer, Request
from orchestrator.testing.builders import offer, plan_of
from orchestrator.testing.clock import FakeClock

BUY = Buy(run_id="r", token="r-1", offer=offer(), nodes=2, boot=Boot())


class Raising:
    """A gateway whose every call raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def names(self) -> tuple[str, ...]:
        return ("acme",)

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:
        raise self._error


def planner(_: Workload) -> object:
    return plan_of()


@pytest.fixture
def bought(tmp_path: Path) -> Callable[[Exception], object]:
    def buy(error: Exception) -> object:
        applier = Applier(
            gateway=Raising(error),
            launchers={},
            planner=planner,  # type: ignore[arg-type]
            clock=FakeClock(),
            checkpoints=tmp_path,
            timeouts=Timeouts(),
        )
        return applier.carry_out(BUY)

    return buy


@pytest.mark.parametrize(
    ("error", "scope"),
    [
        (CapacityError("acme", "no"), Scope.ZONE),
        (CapacityError("acme", "no", Scope.REGION), Scope.REGION),
        (QuotaError("acme", "no"), Scope.PROVIDER),
        (QuotaError("acme", "no", Scope.REGION), Scope.REGION),
        (AuthError("acme", "no"), None),
        (UserError("the start-up text is too long"), None),
    ],
)
def test_a_refusal_comes_with_what_it_reaches(
    bought: Callable[[Exception], object], error: IsoflopError, scope: Scope | None
) -> None:
    result = bought(error)
    assert isinstance(result, Refused)
    assert (result.error, result.scope) == (type(error).__name__, scope)


@pytest.mark.parametrize(
    ("error", "turned_away"),
    [(ThrottledError("acme", "slower", 7.0), True), (TransientError("acme", "no answer", 7.0), False)],
)
def test_only_what_was_turned_away_leaves_no_doubt(
    bought: Callable[[Exception], object], error: TransientError, turned_away: bool
) -> None:
    result = bought(error)
    assert isinstance(result, Doubtful)
    assert (result.turned_away, result.retry_after_s, result.note) == (turned_away, 7.0, False)


@pytest.mark.parametrize("error", [ConfigError("no such provider"), KeyError("a bug"), ProviderError("acme", "what?")])
def test_what_no_contract_allows_leaves_the_purchase_in_doubt_and_is_noted(
    bought: Callable[[Exception], object], error: Exception
) -> None:
    result = bought(error)
    assert isinstance(result, Doubtful)
    assert result.note
    assert not result.turned_away
