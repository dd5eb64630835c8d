"""What every policy promises, as tests: subclass PolicyContract and supply one fixture."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.domain.candidates import Candidates, PlanView, Refusals
from orchestrator.domain.contracts import Annotates, Audits, Bills, Policy
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import BoolArray, OfferBook, Words
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import Band, Service, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import DataSet, Inference, LatencyTarget, Limits, Workload
from orchestrator.testing.builders import (
    accelerator,
    batch_inference,
    fine_tune,
    inference,
    network,
    offer,
    program,
    sizing,
    training,
)
from orchestrator.testing.clock import EPOCH

Columns: TypeAlias = dict[str, npt.NDArray[np.generic]]

DATA = DataSet(location="acme/us-east-1", size_gib=500.0)
LIMITS = Limits(
    budget_usd=2_000.0,
    deadline_s=30 * 86400.0,
    latency=LatencyTarget(first_token_s=0.4, per_token_s=0.05, total_s=20.0),
)
WORKLOADS: tuple[Workload, ...] = (
    training(data=DATA, limits=LIMITS, program=program()),
    training(),
    fine_tune(data=DATA),
    batch_inference(limits=LIMITS),
    inference(limits=LIMITS, data=DATA),
    inference(),
)


class PolicyContract:
    """Subclass it as `TestXPolicy` with a fixture `policy`; every promise of the Policy protocol is one test.

    The market has unknown places, hazards and stock, owned machines at no cost and a fraction of a GPU; each test runs
    for every kind of workload, with limits and without. A policy that has more cases overrides `workload` or `market`.
    """

    @pytest.fixture
    def policy(self) -> Policy:
        """The policy under test, as its factory makes it."""
        raise NotImplementedError

    @pytest.fixture(params=WORKLOADS, ids=lambda w: f"{w.KIND}{'-limited' if w.limits == LIMITS else ''}")
    def workload(self, request: pytest.FixtureRequest) -> Workload:
        """What the candidates are for."""
        workload: Workload = request.param
        return workload

    @pytest.fixture
    def market(self) -> Snapshot:
        """The snapshot that the candidates are from."""
        return contract_market()

    @pytest.fixture
    def view(self, workload: Workload, market: Snapshot) -> PlanView:
        """What the policy may look at."""
        return PlanView(workload=workload, snapshot=market)

    @pytest.fixture
    def candidates(self, view: PlanView) -> Candidates:
        """One candidate per offer."""
        return candidates_of(view)

    def test_the_name_is_a_word(self, policy: Policy) -> None:
        assert policy.name
        assert policy.name == policy.name.strip()

    def test_refusals_are_masks_with_figures_and_codes(
        self, policy: Policy, view: PlanView, candidates: Candidates
    ) -> None:
        for refusals in policy.refuse(view, candidates):
            assert refusals.refused.shape == (len(candidates),)
            assert refusals.refused.dtype == np.dtype(np.bool_)
            assert refusals.figure.shape == (len(candidates),)
            assert isinstance(refusals.code, ReasonCode)

    def test_every_refusal_can_be_said_as_a_sentence(
        self, policy: Policy, view: PlanView, candidates: Candidates
    ) -> None:
        for refusals in policy.refuse(view, candidates):
            for row in np.flatnonzero(refusals.refused).tolist():
                reason = refusals.reason(policy.name, row)
                assert reason.detail.strip()
                assert "nan" not in reason.detail.split()

    def test_prices_are_finite_dollars_for_every_candidate_it_lets_through(
        self, policy: Policy, view: PlanView, candidates: Candidates
    ) -> None:
        passed = ~_refused(policy.refuse(view, candidates), len(candidates))
        for name, usd in policy.price(view, candidates).items():
            assert name.strip()
            assert usd.shape == (len(candidates),)
            assert usd.dtype == np.dtype(np.float64)
            assert np.isfinite(usd[passed]).all(), name

    def test_it_is_pure(self, policy: Policy, view: PlanView, candidates: Candidates) -> None:
        before = copy.deepcopy(_columns(candidates))
        first = _answers(policy, view, candidates)
        assert _same(_columns(candidates), before), "the policy wrote into the columns it was given"
        assert _same(_answers(policy, view, candidates), first), "the same question had two answers"
        again = candidates_of(view)
        assert _same(_answers(policy, view, again), first), "an equal question had another answer"

    def test_every_candidate_is_judged_by_itself(self, policy: Policy, view: PlanView, candidates: Candidates) -> None:
        whole = _answers(policy, view, candidates)
        size = len(candidates)
        orders = (np.arange(size)[::-1].copy(), np.arange(0, size, 2), np.arange(size - 1, size))
        for rows in orders:
            part = _answers(policy, view, candidates.take(rows))
            assert _same(part, {name: column[rows] for name, column in whole.items()}), (
                "the answer about a candidate depends on the others or on their order"
            )

    def test_longer_hours_are_never_billed_less(self, policy: Policy, view: PlanView, candidates: Candidates) -> None:
        if not isinstance(policy, Bills):
            pytest.skip("none of its terms is money")
        low = policy.price(view, candidates.at(candidates.hours_p10))
        high = policy.price(view, candidates.at(candidates.hours_p90))
        assert policy.bills, "a policy that bills names the terms"
        billed = policy.bills & set(low)
        shorter = np.sum([low[name] for name in billed], axis=0) if billed else np.zeros(len(candidates))
        longer = np.sum([high[name] for name in billed], axis=0) if billed else np.zeros(len(candidates))
        # What is credited, because it is paid already, grows with what it is credited against.
        assert np.where(shorter < 0, longer <= shorter + 1e-9, longer >= shorter - 1e-9).all(), billed

    def test_what_is_refused_for_a_bill_is_refused_for_every_larger_one(
        self, policy: Policy, view: PlanView, candidates: Candidates
    ) -> None:
        if not isinstance(policy, Audits):
            pytest.skip("it audits nothing")
        before = np.zeros(len(candidates), np.bool_)
        for usd in (0.0, 1.0, 100.0, 1e4, 1e6, 1e9):
            refused = _refused(policy.audit(view, candidates, np.full(len(candidates), usd)), len(candidates))
            assert not (before & ~refused).any(), f"${usd:g} passes where less did not"
            before = refused

    def test_what_it_remembers_of_a_plan_changes_no_answer(
        self, policy: Policy, view: PlanView, candidates: Candidates
    ) -> None:
        first = _answers(policy, view, candidates)
        assert _same(_answers(policy, replace(view, memo={}), candidates), first)

    def test_no_candidates_are_no_trouble(self, policy: Policy, view: PlanView, candidates: Candidates) -> None:
        nobody = candidates.take(np.zeros(0, np.int64))
        assert all(refusals.refused.shape == (0,) for refusals in policy.refuse(view, nobody))
        assert all(usd.shape == (0,) for usd in policy.price(view, nobody).values())

    def test_notes_are_sentences(self, policy: Policy, view: PlanView, candidates: Candidates) -> None:
        if not isinstance(policy, Annotates):
            pytest.skip("it takes no notes")
        assert all(note.strip() for note in policy.notes(view, candidates))


def contract_market() -> Snapshot:
    """The market of the contract, for policies that look at more of a snapshot: `replace` what they need."""
    return Snapshot(
        taken_at=EPOCH + timedelta(hours=1),
        book=OfferBook.of(_offers()),
        accelerators=(accelerator(),),
        network=network(),
        buyable=("acme",),
    )


def candidates_of(view: PlanView) -> Candidates:
    """One candidate per offer of the view's snapshot: two nodes each, for the horizon or some hours."""
    book, sized = view.snapshot.book, _sizing(view.workload)
    hours = np.linspace(2.0, 400.0, len(book))
    if isinstance(view.workload, Inference):
        hours = np.full(len(book), view.workload.duration_s / 3600.0)
    service = isinstance(view.workload, Inference)
    return Candidates(
        book=book,
        offer=np.arange(len(book)),
        sizing=np.zeros(len(book), np.int64),
        sizings=(sized,),
        nodes=np.full(len(book), 2, np.int64),
        hours=hours,
        hours_p10=hours if service else hours * 0.8,
        hours_p90=hours if service else hours * 1.3,
    )


def _sizing(workload: Workload) -> Sizing:
    if not isinstance(workload, Inference):
        return sizing()
    service = Service(
        replicas=2,
        requests_per_s_per_replica=1.0,
        ttft_s=Band(0.1, 0.15, 0.25),
        tpot_s=Band(0.01, 0.02, 0.03),
        watts_per_replica=500.0,
    )
    return sizing(effort=service)


def _offers() -> list[Offer]:
    return [
        offer(),
        offer(billing=Billing.SPOT, usd_per_hour=12.0, interruption_rate=0.05),
        offer(billing=Billing.SPOT, usd_per_hour=9.0, interruption_rate=None, instance_type="h100.4x", gpus=4.0),
        offer(region="eu-central-1", usd_per_hour=40.0, available=None),
        offer(region="nowhere-1", usd_per_hour=20.0, boot_s=0.0),
        offer(
            provider="lab", region="basement", billing=Billing.OWNED, usd_per_hour=0.0, boot_s=0.0, min_billing_s=0.0
        ),
        offer(provider="zed", region="eu-central-1", instance_type="slice", gpus=0.25, usd_per_hour=1.0),
        offer(provider="zed", instance_type="brief", usd_per_hour=24.0, max_lease_s=14400.0),
        offer(provider="zed", instance_type="day", min_billing_s=86400.0, boot_s=1800.0, interruption_rate=None),
    ]


def _refused(refusals: Sequence[Refusals], count: int) -> BoolArray:
    refused = np.zeros(count, np.bool_)
    for part in refusals:
        refused |= part.refused
    return refused


def _answers(policy: Policy, view: PlanView, candidates: Candidates) -> Columns:
    """All that the policy says, as columns."""
    answers: Columns = {f"price {name}": usd for name, usd in policy.price(view, candidates).items()}
    for index, refusals in enumerate(policy.refuse(view, candidates)):
        answers[f"refused {index} {refusals.code}"] = refusals.refused
    return answers


def _columns(candidates: Candidates) -> Columns:
    """Every column that the policy was given."""
    given: Columns = {
        name: column.codes if isinstance(column, Words) else column
        for name, column in candidates.book.columns().items()
    }
    for name in ("offer", "sizing", "nodes", "hours", "hours_p10", "hours_p90"):
        given[f"candidate {name}"] = getattr(candidates, name)
    return given


def _same(some: Columns, others: Columns) -> bool:
    """Equal up to the last digit, which vectorised arithmetic may round either way."""
    return some.keys() == others.keys() and all(
        np.allclose(column.astype(np.float64), others[name].astype(np.float64), rtol=1e-12, atol=0.0, equal_nan=True)
        for name, column in some.items()
    )
