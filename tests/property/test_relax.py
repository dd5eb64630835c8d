"""What is said to be saved by loosening a limit is what planning the looser job saves."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.network import Network
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import DataSet, LatencyTarget, Limits, Population, Setting, Workload
from orchestrator.planning.plan import PlanOptions, plan
from orchestrator.planning.relax import Case, Relaxation, relaxations
from orchestrator.testing.builders import accelerator, inference, model, network, offer, place, training
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as create_budget
from policies.cost.policy import create as create_cost
from policies.deadline.policy import create as create_deadline
from policies.latency.policy import create as create_latency
from policies.residency.policy import create as create_residency

POLICIES: tuple[Policy, ...] = tuple(
    create(PolicyContext())
    for create in (create_budget, create_cost, create_deadline, create_latency, create_residency)
)
A100 = accelerator(name="A100-80GB", peak_tflops=accelerator().peak_tflops, memory_bandwidth_gb_s=2000.0)
WHERE: Network = replace(
    network(),
    places=(
        *network().places,
        place(key="zed/eu-north-1", country="SE", jurisdictions=("SE", "EU")),
        place(key="zed/us-east-1", country="US", jurisdictions=("US",)),
    ),
)

offers = st.builds(
    offer,
    provider=st.sampled_from(["acme", "zed"]),
    region=st.sampled_from(["us-east-1", "eu-central-1", "eu-north-1"]),
    instance_type=st.sampled_from(["s", "m", "l"]),
    accelerator=st.sampled_from(["H100-SXM", "A100-80GB"]),
    billing=st.sampled_from(list(Billing)),
    usd_per_hour=st.floats(5.0, 100.0),
    available=st.sampled_from([None, 1, 4, 60]),
    boot_s=st.sampled_from([0.0, 600.0]),
)
markets = st.lists(offers, min_size=2, max_size=14, unique_by=lambda o: o.label)
ONE_LIMIT: dict[str, st.SearchStrategy[object]] = {
    "budget_usd": st.sampled_from([100.0, 300.0, 3000.0]),
    "deadline_s": st.sampled_from([3600.0, 6 * 3600.0, 48 * 3600.0]),
    "regions": st.sampled_from([("us-*",), ("eu-central-1",)]),
    "residency": st.just(("EU",)),
    "providers": st.just(("acme",)),
    "accelerators": st.just(("A100",)),
    "billing": st.just((Billing.ON_DEMAND,)),
}
LIFTED: dict[str, object] = {"budget_usd": None, "deadline_s": None, "billing": tuple(Billing)}
limits = st.one_of(
    *[st.builds(Limits, **{name: values}) for name, values in ONE_LIMIT.items()],
    st.builds(Limits, **{name: st.one_of(st.just(getattr(Limits(), name)), v) for name, v in ONE_LIMIT.items()}),
)
jobs = st.one_of(
    st.builds(
        lambda limit, data, confidence: training(
            model=model(),
            tokens=2e9,
            limits=limit,
            data=data,
            settings=(Setting("deadline", "confidence", confidence),),
        ),
        limits,
        st.sampled_from([DataSet(), DataSet(location="acme/us-east-1", size_gib=900.0)]),
        st.sampled_from([0.0, 0.9]),
    ),
    st.builds(
        lambda limit, first: inference(
            limits=replace(limit, deadline_s=None, latency=LatencyTarget(first_token_s=first)),
            users=(Population("Frankfurt", 2.0),),
        ),
        limits,
        st.sampled_from([0.15, 0.3, 2.0]),
    ),
)


def market_of(listed: Sequence[Offer]) -> Snapshot:
    return Snapshot(
        taken_at=EPOCH, book=OfferBook.of(listed), accelerators=(accelerator(), A100), network=WHERE, buyable=("acme",)
    )


def again(job: Workload, each: Relaxation, listed: Sequence[Offer]) -> Plan | None:
    """The job planned as somebody would who reads `each` and mends the job file; None where it is no single field."""
    limit, words = job.limits, each.change
    last = words.rsplit(" ", 1)[-1]
    of_lists = {
        "limits.regions": ("regions", "limit on regions"),
        "limits.residency": ("residency", "limit on residency"),
        "limits.providers": ("providers", "limit on providers"),
        "limits.accelerators": ("accelerators", "limit on devices"),
    }
    if each.limit in of_lists:
        field, _ = of_lists[each.limit]
        given: tuple[str, ...] = () if words.startswith("no ") else (*getattr(limit, field), last)
        limit = replace(limit, **{field: given})
    elif each.limit == "limits.billing":
        usual = (Billing.ON_DEMAND, Billing.SPOT, Billing.OWNED)
        limit = replace(limit, billing=(*(limit.billing or usual), Billing(last)))
    elif each.limit == "limits.budget":
        limit = replace(limit, budget_usd=None)
    elif each.limit == "limits.latency":
        first = limit.latency.first_token_s or 0.0
        looser = LatencyTarget() if words.startswith("no ") else LatencyTarget(first_token_s=1.1 * first)
        limit = replace(limit, latency=looser)
    elif each.limit == "limits.deadline":
        now = limit.deadline_s or 0.0
        more = {"no deadline": None, "one more day": now + 86400.0, "10 % more time": now + 0.1 * now}[words]
        limit = replace(limit, deadline_s=more)
    else:
        return None
    return plan(replace(job, limits=limit), market_of(listed), POLICIES, PlanOptions(keep=1))


@given(markets, jobs)
@settings(deadline=None, max_examples=60)
def test_a_relaxation_is_what_planning_the_looser_job_gives(listed: list[Offer], job: Workload) -> None:
    before = plan(job, market_of(listed), POLICIES, PlanOptions(keep=1)).best
    for each in relaxations(Case(job, market_of(listed), POLICIES)):
        made = again(job, each, listed)
        if made is None:
            continue
        assert made.best is not None, each
        assert made.best.objective_usd == pytest.approx(each.placement.objective_usd)
        if before is None:
            assert each.saving_usd is None
        else:
            assert each.saving_usd == pytest.approx(before.objective_usd - made.best.objective_usd)
            assert each.saving_usd > 1.0 or each.saving_usd > 0.01 * before.objective_usd


@given(markets, jobs, st.sampled_from(sorted(ONE_LIMIT)))
@settings(deadline=None, max_examples=100)
def test_no_limit_that_costs_something_is_passed_over(listed: list[Offer], job: Workload, name: str) -> None:
    limit = replace(job.limits, **{name: LIFTED.get(name, ())})  # type: ignore[arg-type]
    before, after = (
        plan(each, market_of(listed), POLICIES, PlanOptions(keep=1)).best for each in (job, replace(job, limits=limit))
    )
    if after is None or (before is not None and before.objective_usd - after.objective_usd <= 1.0):
        return
    field = {"budget_usd": "limits.budget", "deadline_s": "limits.deadline"}.get(name, f"limits.{name}")
    found = [each for each in relaxations(Case(job, market_of(listed), POLICIES)) if each.limit == field]
    assert found[0].placement.objective_usd == pytest.approx(after.objective_usd)


@given(markets, jobs)
@settings(deadline=None, max_examples=60)
def test_the_largest_saving_comes_first_and_nothing_is_said_twice(listed: list[Offer], job: Workload) -> None:
    found = relaxations(Case(job, market_of(listed), POLICIES))
    worth = [round(each.placement.objective_usd, 6) for each in found]
    assert worth == sorted(worth)
    assert len({(each.limit, each.change) for each in found}) == len(found)
    shuffled = relaxations(Case(job, market_of(list(reversed(listed))), POLICIES))
    assert shuffled == found
