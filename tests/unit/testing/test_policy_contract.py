"""The policy contract catches policies that break it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Policy
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.snapshot import Snapshot
from orchestrator.testing.builders import offer, training
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.policy_contract import PolicyContract, candidates_of

Price = Callable[[Candidates], Usd]


class Priced:
    """A policy of one term."""

    name = "priced"
    bills = frozenset({"term"})

    def __init__(self, price: Price, template: str = "is refused") -> None:
        self._price, self._template = price, template

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        refused = candidates.book.usd_per_hour > 35.0
        return (Refusals(ReasonCode.POLICY, refused, self._template, candidates.hours),)

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        return {"term": self._price(candidates)}


def _overwrite(candidates: Candidates) -> Usd:
    candidates.hours[:] = 1.0
    return candidates.hours


def _counter() -> Price:
    calls: list[int] = []

    def price(candidates: Candidates) -> Usd:
        calls.append(1)
        return np.full(len(candidates), float(len(calls)))

    return price


CHECKS = {
    "prices": PolicyContract.test_prices_are_finite_dollars_for_every_candidate_it_lets_through,
    "pure": PolicyContract.test_it_is_pure,
    "by itself": PolicyContract.test_every_candidate_is_judged_by_itself,
    "longer": PolicyContract.test_longer_hours_are_never_billed_less,
    "sentence": PolicyContract.test_every_refusal_can_be_said_as_a_sentence,
    "masks": PolicyContract.test_refusals_are_masks_with_figures_and_codes,
    "nobody": PolicyContract.test_no_candidates_are_no_trouble,
}
BROKEN: dict[str, tuple[str, Policy]] = {
    "a price that is no number": ("prices", Priced(lambda c: np.full(len(c), np.nan))),
    "a price of another shape": ("prices", Priced(lambda c: np.zeros(len(c) + 1))),
    "whole dollars": ("prices", Priced(lambda c: np.zeros(len(c), np.int64))),  # type: ignore[arg-type,return-value]
    "columns overwritten": ("pure", Priced(_overwrite)),
    "an answer that changes": ("pure", Priced(_counter())),
    "a price that depends on the rank": ("by itself", Priced(lambda c: np.argsort(c.hours) * 1.0)),
    "a price that depends on the others": ("by itself", Priced(lambda c: c.hours - c.hours.max(initial=0.0))),
    "a discount for longer hours": ("longer", Priced(lambda c: 1e6 - c.hours)),
    "an empty sentence": ("sentence", Priced(lambda c: c.hours, template="")),
    "a constant for no candidates": ("nobody", Priced(lambda c: np.zeros(1))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_contract_fails_for(name: str) -> None:
    check, policy = BROKEN[name]
    market = Snapshot(
        taken_at=EPOCH, book=OfferBook.of([offer(), offer(instance_type="x", usd_per_hour=40.0)]), accelerators=()
    )
    view = PlanView(workload=training(), snapshot=market)
    with pytest.raises(AssertionError):
        CHECKS[check](PolicyContract(), policy, view, candidates_of(view))


@pytest.mark.parametrize("check", CHECKS)
def test_the_contract_passes_for_a_good_policy(check: str) -> None:
    market = Snapshot(taken_at=EPOCH, book=OfferBook.of([offer(), offer(instance_type="x")]), accelerators=())
    view = PlanView(workload=training(), snapshot=market)
    CHECKS[check](PolicyContract(), Priced(lambda c: c.hours * 2.0), view, candidates_of(view))
