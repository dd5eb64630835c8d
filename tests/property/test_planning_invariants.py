"""What holds of every plan, whatever the market and the limits."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Placement, Plan
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Band, FiniteWork, Service, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import (
    BatchInference,
    Checkpointing,
    DataSet,
    Inference,
    LatencyTarget,
    Limits,
    Population,
    Setting,
    Workload,
)
from orchestrator.planning.judge import judge
from orchestrator.planning.plan import PlanOptions, plan_sized
from orchestrator.testing.builders import batch_inference, inference, network, offer, sizing, training
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
NETWORK = network()
PLACES = {place.key: place for place in NETWORK.places}
NAN = float("nan")


def mostly(usual: Sequence[object], *rare: object) -> st.SearchStrategy[object]:
    """One of `usual` four times in five, else one of `rare`: where everything is odd, nothing is feasible."""
    return st.sampled_from([*usual] * max(1, 4 * len(rare) // len(usual)) + [*rare])


offers = st.builds(
    offer,
    provider=st.sampled_from(["acme", "zed"]),
    region=mostly(["us-east-1", "eu-central-1"], "mars-1"),
    zone=st.sampled_from(["", "a"]),
    instance_type=st.sampled_from(["s", "m", "l"]),
    accelerator=mostly(["H100-SXM", "A100-80GB"], "OLD", "MYSTERY"),
    gpus=mostly([0.5, 1.0, 8.0, 16.0], 0.25, 0.125, 0.0),
    billing=mostly([Billing.ON_DEMAND, Billing.SPOT], Billing.OWNED, Billing.RESERVED),
    usd_per_hour=st.one_of(
        st.just(7.0), mostly([7.0, 28.0], 0.0, -1.0, NAN), st.floats(0.1, 300.0)
    ),  # a few prices make ties
    available=mostly([None, 3, 100], 0, 1),
    interruption_rate=mostly([None, 0.0, 0.001], 0.3, 50.0),
    boot_s=mostly([0.0, 120.0], 7200.0),
    min_billing_s=mostly([0.0, 60.0], 86400.0),
    max_lease_s=mostly([None, None, 86400.0], 14400.0, 300.0),
)
# A market has one offer per key: `label` is unique within it. Zones of a region often sell at one price, hence twins.
markets = st.lists(offers, max_size=20, unique_by=lambda o: o.label).map(
    lambda found: [*found, *(replace(twin, zone="b") for twin in found[:5] if twin.zone == "a")]
)
# One limit at a time, so that each is tried often on a market that is otherwise feasible; and all of them together.
ONE_LIMIT: dict[str, st.SearchStrategy[object]] = {
    "budget_usd": st.floats(100.0, 5000.0),
    "deadline_s": st.floats(3600.0, 1e5),
    "finish_by": st.floats(-1.0, 30.0).map(lambda h: EPOCH + timedelta(hours=h)),
    "regions": st.sampled_from([("us-*",), ("acme/*", "mars-1")]),
    "residency": st.sampled_from([("EU",), ("US", "DE")]),
    "providers": st.just(("acme",)),
    "accelerators": st.sampled_from([("H100",), ("A100-80GB", "OLD")]),
    "billing": st.sampled_from([(Billing.SPOT,), tuple(Billing)]),
}
targets = st.one_of(
    st.builds(LatencyTarget, first_token_s=st.floats(0.1, 0.6)),
    st.builds(LatencyTarget, per_token_s=st.floats(0.01, 0.1)),
    st.builds(LatencyTarget, total_s=st.floats(4.0, 30.0)),
)
limits = st.one_of(
    st.just(Limits()),
    *[st.builds(Limits, **{name: values}) for name, values in ONE_LIMIT.items()],
    st.builds(Limits, latency=targets, **ONE_LIMIT),
)
datasets = st.sampled_from([DataSet(), DataSet(location="acme/us-east-1", size_gib=900.0)])
finite = st.builds(
    lambda make, limit, data: make(limits=limit, data=data),
    st.sampled_from([training, batch_inference]),
    limits,
    datasets,
)
services = st.builds(
    lambda limit, target, data, rate, slope: inference(
        limits=replace(limit, latency=target),
        data=data,
        users=(Population("Frankfurt", rate), Population("acme/us-east-1", 1.0)),
        settings=(Setting("latency", "usd_per_ms", slope),),
    ),
    limits,
    st.one_of(st.just(LatencyTarget()), targets, targets),
    datasets,
    st.floats(0.1, 20.0),
    st.sampled_from([0.0, 3.0]),
)
workloads = st.one_of(finite, services)


def sized(workload: Workload) -> dict[str, Sizing | Reason]:
    """Two devices that can, one that cannot, and nothing about MYSTERY."""

    def effort(speed: float) -> FiniteWork | Service:
        if isinstance(workload, Inference):
            return Service(
                replicas=3,
                requests_per_s_per_replica=speed,
                ttft_s=Band(0.05, 0.1, 0.2 / speed),
                tpot_s=Band(0.01, 0.02, 0.04 / speed),
                watts_per_replica=500.0,
            )
        hours = Band(80.0 / speed, 160.0 / speed, 240.0 / speed)
        return FiniteWork(gpu_hours=hours, energy_kwh=hours)

    return {
        "H100-SXM": sizing(effort=effort(2.0)),
        "A100-80GB": sizing(accelerator="A100-80GB", min_gpus=2, memory_per_gpu_gib=60.0, effort=effort(1.0)),
        "OLD": Reason("sizing", ReasonCode.NO_PRECISION, "no bf16"),
    }


def snapshot_of(book: OfferBook) -> Snapshot:
    return Snapshot(taken_at=EPOCH, book=book, accelerators=(), network=NETWORK, buyable=("acme",))


def planned(listed: Sequence[Offer], workload: Workload, *, keep: int = 1000, buyable_only: bool = False) -> Plan:
    options = PlanOptions(keep=keep, buyable_only=buyable_only)
    return plan_sized(workload, snapshot_of(OfferBook.of(listed)), sized(workload), POLICIES, options)


def alone(made: Plan) -> list[Placement]:
    """The placements on one offer; those in parts have tests of their own."""
    return [placement for placement in made.ranked if len(placement.parts) == 1]


@given(markets, workloads, st.booleans())
@settings(deadline=None, max_examples=150)
def test_every_offer_is_used_or_refused_and_never_both(
    listed: list[Offer], workload: Workload, buyable_only: bool
) -> None:
    market = snapshot_of(OfferBook.of(listed))
    judgement = judge(workload, market, sized(workload), POLICIES, buyable_only=buyable_only)
    used = judgement.candidates.offer.tolist()
    assert len(set(used)) == len(used)
    for row in range(len(market.book)):
        reason = judgement.sieve.reason(row)
        assert (reason is None) == (row in used)
        assert reason is None or reason.detail
    made = planned(listed, workload, buyable_only=buyable_only)
    assert made.considered == len(listed)
    assert made.feasible == len(used) == len(alone(made))
    assert made.feasible + sum(refusal.count for refusal in made.refusals) == made.considered
    assert all(0 < len(refusal.examples) <= refusal.count for refusal in made.refusals)


def breaches(placement: Placement, workload: Workload, *, buyable_only: bool) -> list[str]:
    """The limits that a placement breaks, found one by one without the planner's code."""
    limit, (part,) = workload.limits, placement.parts
    chosen, nodes = part.offer, part.nodes
    place = PLACES.get(f"{chosen.provider}/{chosen.region}")
    names = (chosen.region, f"{chosen.provider}/{chosen.region}")
    families = limit.accelerators
    found = {
        "provider": bool(limit.providers) and chosen.provider not in limit.providers,
        "buyable": buyable_only and chosen.provider != "acme",
        "region": bool(limit.regions) and not any(fnmatch(name, glob) for name in names for glob in limit.regions),
        "residency": bool(limit.residency)
        and (place is None or not {place.country, *place.jurisdictions} & set(limit.residency)),
        "accelerator": bool(families) and not any(chosen.accelerator.startswith(family) for family in families),
        "billing": chosen.billing not in (limit.billing or (Billing.ON_DEMAND, Billing.SPOT, Billing.OWNED)),
        "price": not (chosen.usd_per_hour > 0 or (chosen.usd_per_hour == 0 and chosen.billing is Billing.OWNED)),
        "stock": chosen.available is not None and nodes > chosen.available,
        "memory": _too_small(placement, chosen, nodes),
        "budget": limit.budget_usd is not None and placement.cost_usd.p50 > limit.budget_usd + 1e-6,
        **_time(placement, workload),
    }
    return [name for name, broken in found.items() if broken]


def _too_small(placement: Placement, chosen: Offer, nodes: int) -> bool:
    need = placement.sizing
    if chosen.gpus < 1:
        return need.min_gpus > 1 or need.memory_per_gpu_gib > chosen.gpus * need.capacity_per_gpu_gib
    if isinstance(need.effort, Service):
        return nodes * (chosen.gpus // need.min_gpus) < need.effort.replicas
    return nodes * chosen.gpus < need.min_gpus


def _time(placement: Placement, workload: Workload) -> dict[str, bool]:
    limit, chosen, effort = workload.limits, placement.parts[0].offer, placement.sizing.effort
    if isinstance(workload, Inference):
        assert isinstance(effort, Service)
        target, slow = limit.latency, 1.0 / min(chosen.gpus, 1.0)
        rtt_s = (placement.rtt_ms or 0.0) / 1000.0
        first, further = rtt_s + effort.ttft_s.p90 * slow, effort.tpot_s.p90 * slow
        far = placement.rtt_ms is None
        return {
            "first token": target.first_token_s is not None and (far or first > target.first_token_s + 1e-9),
            "further token": target.per_token_s is not None and further > target.per_token_s + 1e-9,
            "answer": target.total_s is not None and (far or first + 256 * further > target.total_s + 1e-6),
        }
    end = EPOCH + timedelta(hours=placement.hours.p50)
    by = [EPOCH + timedelta(seconds=limit.deadline_s)] if limit.deadline_s is not None else []
    by += [limit.finish_by] if limit.finish_by is not None else []
    return {"deadline": any(end > moment + timedelta(seconds=1) for moment in by)}


@given(markets, workloads, st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_ranked_placement_breaks_a_limit(listed: list[Offer], workload: Workload, buyable_only: bool) -> None:
    for placement in alone(planned(listed, workload, buyable_only=buyable_only)):
        assert breaches(placement, workload, buyable_only=buyable_only) == []


@given(markets, workloads, st.randoms(use_true_random=False), st.sampled_from([1, 3, 1000]))
@settings(deadline=None, max_examples=150)
def test_the_order_of_offers_does_not_change_the_plan(
    listed: list[Offer], workload: Workload, random: object, keep: int
) -> None:
    made = planned(listed, workload, keep=keep)
    shuffled = list(listed)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert repr(planned(shuffled, workload, keep=keep)) == repr(made)
    # Even a book that somebody left unsorted ranks the same; which examples stand for a reason may differ.
    book = OfferBook.of(listed)
    unsorted = book.take(np.random.default_rng(len(listed)).permutation(len(book)))
    other = plan_sized(workload, snapshot_of(unsorted), sized(workload), POLICIES, PlanOptions(keep=keep))
    assert repr(other.ranked) == repr(made.ranked)
    assert [(r.by, r.code, r.count) for r in other.refusals] == [(r.by, r.code, r.count) for r in made.refusals]


@given(markets, workloads)
@settings(deadline=None, max_examples=150)
def test_terms_sum_to_the_objective_and_bills_to_the_cost(listed: list[Offer], workload: Workload) -> None:
    for placement in alone(planned(listed, workload)):
        total = money = 0.0
        for term in placement.terms:
            total += term.usd
            money += term.usd if term.by == "cost" else 0.0
        assert total == placement.objective_usd
        assert money == placement.cost_usd.p50
        assert placement.cost_usd.p10 <= placement.cost_usd.p50 + 1e-9
        assert placement.cost_usd.p50 <= placement.cost_usd.p90 + 1e-9


@given(markets, workloads, st.integers(0, 6))
@settings(deadline=None, max_examples=150)
def test_the_best_few_are_the_best_of_all_and_the_bound_is_theirs(
    listed: list[Offer], workload: Workload, keep: int
) -> None:
    every = planned(listed, workload)
    few = planned(listed, workload, keep=keep)
    objectives = [round(placement.objective_usd, 6) for placement in every.ranked]
    assert objectives == sorted(objectives)
    assert repr(few.ranked) == repr(every.ranked[:keep])
    assert (every.bound is None) == (every.ranked == ())
    if every.bound is not None:
        assert every.bound.lower_usd <= every.ranked[0].objective_usd + 1e-6
        divides = isinstance(workload, BatchInference) and "parts" in every.bound.method
        assert divides or every.bound.lower_usd >= every.ranked[0].objective_usd - 1e-6


@given(markets, workloads)
@settings(deadline=None, max_examples=150)
def test_a_looser_limit_never_makes_the_best_dearer(listed: list[Offer], workload: Workload) -> None:
    tight = planned(listed, workload).best
    loose = planned(listed, replace(workload, limits=Limits(billing=tuple(Billing)))).best
    if tight is not None:
        assert loose is not None
        # Where more nodes compete, they are looked at in steps: within half a percent of the best count.
        rewarded = workload.data.size_gib + workload.data.result_gib > 0
        assert loose.objective_usd <= tight.objective_usd * (1 + (5e-3 if rewarded else 1e-9)) + 1e-6


def way_back_h(chosen: Offer, hours: float) -> float:
    """What one fall-back from spot takes after `hours` in all: a boot, and the work since the last checkpoint again."""
    if chosen.billing is not Billing.SPOT:
        return 0.0
    saves, boot_h = Checkpointing(), chosen.boot_s / 3600
    return boot_h + saves.grace_s / 3600 + min(saves.interval_s / 3600, hours - boot_h)


def through_leases_h(chosen: Offer, work_h: float) -> float:
    """Hours from purchase to the end of `work_h` of training, lease by lease: stop, boot, read the weights and moments
    of 6.74 billion parameters back at a GB/s; infinite where a lease is too short for that.
    """
    boot_h, restore_h = chosen.boot_s / 3600, 14 * 6.74 / 3600
    passed_h, room_h = boot_h, float("inf") if chosen.max_lease_s is None else chosen.max_lease_s / 3600
    whole_h = room_h
    while work_h > room_h * (1 + 1e-9):
        if whole_h <= restore_h:
            return float("inf")
        passed_h += room_h + Checkpointing().grace_s / 3600 + boot_h + restore_h
        work_h, room_h = work_h - room_h, whole_h - restore_h
    return passed_h + work_h


def brute_force(chosen: Offer, sizing_of: Sizing, left_h: float) -> float | None:
    """The least a lease of `chosen` costs over every number of nodes that holds the state and is in time."""
    effort, costs = sizing_of.effort, []
    assert isinstance(effort, FiniteWork)
    for nodes in range(1, 1 + (chosen.available or 0)):
        devices = nodes * chosen.gpus
        hours = through_leases_h(chosen, effort.gpu_hours.p50 / devices) if devices else float("inf")
        share = sizing_of.memory_per_gpu_gib / sizing_of.capacity_per_gpu_gib
        holds = devices >= sizing_of.min_gpus if chosen.gpus >= 1 else sizing_of.min_gpus == 1 and share <= chosen.gpus
        if holds and hours + way_back_h(chosen, hours) <= left_h * (1 + 1e-9):
            costs.append(nodes * chosen.usd_per_hour * max(hours, chosen.min_billing_s / 3600))
    return min(costs, default=None)


@given(markets, st.floats(2.0, 200.0))
@settings(deadline=None, max_examples=150)
def test_no_other_number_of_nodes_would_be_cheaper(listed: list[Offer], left_h: float) -> None:
    usable = [
        replace(o, interruption_rate=0.0, available=100 if o.available is None else o.available)
        for o in listed
        if o.usd_per_hour > 0
    ]
    job = training(limits=Limits(deadline_s=left_h * 3600, billing=tuple(Billing)))
    answers = sized(job)
    costs = [brute_force(o, answer, left_h) for o in usable if isinstance(answer := answers.get(o.accelerator), Sizing)]
    known = [usd for usd in costs if usd is not None]
    free_disks = create_cost(PolicyContext(settings={"storage_usd_per_gib_month": 0}))  # the loop knows of none
    made = plan_sized(job, snapshot_of(OfferBook.of(usable)), answers, (free_disks,), PlanOptions(keep=1000))
    assert made.feasible == len(known)
    if known:  # else it may train on several sites
        # Where a lease ends more nodes may be cheaper, and counts are looked at in steps of at most 4 %.
        within = 0.04 if any(o.max_lease_s is not None for o in usable) else 1e-6
        assert min(known) * (1 - 1e-6) <= made.ranked[0].objective_usd <= min(known) * (1 + within)
