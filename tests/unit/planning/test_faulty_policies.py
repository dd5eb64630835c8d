"""Policies that break their contract are named; what third parties refuse and price is in the plan."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import Band, FiniteWork
from orchestrator.domain.snapshot import Snapshot
from orchestrator.planning.plan import PlanOptions, plan_sized
from orchestrator.testing.builders import offer, sizing, snapshot, training
from policies.cost.policy import create as create_cost

FREE_DISKS = PolicyContext(settings={"storage_usd_per_gib_month": 0})  # round figures
POLICIES: tuple[Policy, ...] = (create_cost(FREE_DISKS),)
SIZED = sizing(effort=FiniteWork(gpu_hours=Band(80.0, 160.0, 240.0), energy_kwh=Band(1.0, 1.0, 1.0)))


def planned(market: Snapshot, *, policies: Sequence[Policy]) -> Plan:
    return plan_sized(training(), market, {"H100-SXM": SIZED}, policies, PlanOptions())


class Odd:
    """A policy that breaks its contract in one way."""

    name = "odd"

    def __init__(self, usd: Usd | None = None, refusals: Sequence[Refusals] = ()) -> None:
        self._usd, self._refusals = usd, refusals

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        return self._refusals

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        return {} if self._usd is None else {"term": self._usd}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        return frozenset()


class Raising(Odd):
    """Raises what the class is made with, in the method named."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__()
        self._where, self._error = where, error

    def _raise(self, where: str) -> None:
        if where == self._where:
            raise self._error

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        self._raise("refuse")
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        self._raise("price")
        return {}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        self._raise("rewards_speed")
        return frozenset()

    def audit(self, view: PlanView, candidates: Candidates, bill: Usd) -> Sequence[Refusals]:
        self._raise("audit")
        return ()

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        self._raise("notes")
        return ()


@pytest.mark.parametrize("where", ["refuse", "price", "audit", "notes", "rewards_speed"])
def test_a_policy_that_raises_is_named_with_what_it_raised(where: str) -> None:
    fault = ZeroDivisionError("float division by zero")
    with pytest.raises(ConfigError, match=r"policy 'odd' failed .* with ZeroDivisionError: float division") as raised:
        planned(snapshot(), policies=(*POLICIES, Raising(where, fault)))
    assert raised.value.__cause__ is fault


def test_what_a_policy_raises_for_the_user_reaches_the_user() -> None:
    with pytest.raises(UserError, match="no such place"):
        planned(snapshot(), policies=(*POLICIES, Raising("price", UserError("no such place"))))


ZERO = np.zeros(1)
ODD: dict[str, tuple[Policy, str]] = {
    "nan": (Odd(np.array([np.nan])), "priced 'term' as nan for acme us-east-1"),
    "infinite": (Odd(np.array([np.inf])), "priced 'term' as inf"),
    "a scalar": (Odd(np.zeros(())), "shape"),
    "another length": (Odd(np.zeros(7)), r"shape \(7,\)"),
    "a mask of numbers": (Odd(refusals=(Refusals(ReasonCode.POLICY, ZERO, "x", ZERO),)), "truth values"),  # type: ignore[arg-type]
    "a long mask": (Odd(refusals=(Refusals(ReasonCode.POLICY, np.ones(3, np.bool_), "x", ZERO),)), "truth values"),
    "a template": (
        Odd(refusals=(Refusals(ReasonCode.POLICY, np.ones(1, np.bool_), "{price} {figure}", ZERO),)),
        "cannot be filled",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_a_policy_that_breaks_its_contract_is_named(case: str) -> None:
    policy, message = ODD[case]
    with pytest.raises(ConfigError, match=f"policy 'odd' .*{message}"):
        planned(snapshot(), policies=(*POLICIES, policy))


def test_a_third_partys_refusal_and_term_are_in_the_plan() -> None:
    mask, figure = np.array([True, False]), np.array([3.0, 0.0])
    strict = Odd(refusals=(Refusals(ReasonCode.POLICY, mask, "is {figure:.0f} too many", figure),))
    made = planned(snapshot(offer(instance_type="a"), offer(instance_type="b")), policies=(strict, POLICIES[0]))
    assert made.feasible == 1
    assert (made.refusals[0].by, made.refusals[0].examples[0].detail) == ("odd", "is 3 too many")
    worth = Odd(np.array([7.0]))
    best = planned(snapshot(offer(boot_s=0.0)), policies=(POLICIES[0], worth)).ranked[0]
    assert best.objective_usd == 647.0
    assert best.cost_usd.p50 == 640.0, "what a third party prices is worth, not money, unless it says so"


def test_two_policies_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="share a name"):
        planned(snapshot(), policies=(POLICIES[0], POLICIES[0]))
