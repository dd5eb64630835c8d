"""The interconnect policy: what a slow network adds to training, and devices without direct links."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.parallelism import Parallelism
from orchestrator.domain.plan import Plan
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import Assumption, Band, FiniteWork, Service, Sizing, Step
from orchestrator.domain.workload import Limits, Setting, Training, Workload
from orchestrator.planning.plan import plan_sized
from orchestrator.sizing.layouts import usual_batch
from orchestrator.sizing.parameters import bundled
from orchestrator.sizing.utilisation import SLOW_GB_PER_S
from orchestrator.sizing.work import work_of
from orchestrator.testing.builders import accelerator, batch_inference, inference, offer, sizing, snapshot, training
from policies.interconnect.exchange import BATCH_TOKENS, EXPOSED, FAST_GB_S
from policies.interconnect.policy import create
from policies.interconnect.wiring import fabric_gb_s, linked

# 10 000 device-hours of which the state takes one device, so that nodes are for the deadline.
EFFORT = FiniteWork(gpu_hours=Band(8_000.0, 10_000.0, 13_000.0), energy_kwh=Band(1.0, 1.0, 1.0))
WORK = sizing(effort=EFFORT)
BATCH = 4e6
JOB = training(tokens=4e9, global_batch_tokens=BATCH, limits=Limits(deadline_s=320 * 3600.0))  # 1000 steps
BRIDGED = accelerator(name="BRIDGED", link="nvlink-bridge", generation="ampere")
FAST, SLOW = offer(boot_s=0.0, provider="fast"), offer(boot_s=0.0, provider="slow", fabric="ethernet")


def planned(
    *offers: Offer, job: Workload = JOB, sized: Sizing = WORK, hold_deadline: float = 0.0, **settings: float
) -> Plan:
    settings = {"hold_deadline": hold_deadline, **settings}
    market = snapshot(*offers, accelerators=(accelerator(), BRIDGED))
    sizings = {name: replace(sized, accelerator=name) for name in ("H100-SXM", "BRIDGED")}
    return plan_sized(job, market, sizings, (create(PolicyContext(settings=settings)),))


def usd(made: Plan) -> dict[str, float]:
    return {one.parts[0].offer.provider: sum(term.usd for term in one.terms) for one in made.ranked}


def test_a_fast_fabric_costs_nothing_and_a_slow_one_its_delay() -> None:
    made = planned(FAST, SLOW)
    # Four nodes: each sends 2·3/4·2 bytes of 6.74e9 parameters at 8·12.5 Gbit/s, 1000 times, and hides nothing more
    # than the share that benchmarks hide; what takes an eighth of the time on the sizing's fabric is in the hours.
    seconds = 3.0 * 6.74e9 / 12.5e9
    extra_h = 1000 * EXPOSED * seconds * (1.0 - 1.0 / 8.0) / 3600.0
    assert usd(made) == pytest.approx({"fast": 0.0, "slow": 4 * 32.0 * extra_h})
    assert made.ranked[1].cost_usd.p50 == made.ranked[1].terms[0].usd  # it is money


def test_what_computation_cannot_hide_is_waited_for() -> None:
    made = planned(SLOW, ethernet_gbit_s=0.00625)
    seconds, compute_s = 3.0 * 6.74e9 / 0.00625e9, 10_000.0 / 32 * 3.6
    extra_h = 1000 * (seconds - 2.0 / 3.0 * compute_s - EXPOSED * seconds / 16_000.0) / 3600.0
    assert usd(made) == pytest.approx({"slow": 4 * 32.0 * extra_h})


def test_the_band_of_the_cost_has_one_delay() -> None:
    (placement,) = planned(SLOW).ranked
    assert placement.cost_usd == Band(*(placement.cost_usd.p50,) * 3)


def test_one_node_exchanges_with_nobody() -> None:
    assert planned(SLOW, job=replace(JOB, limits=Limits())).ranked[0].terms == ()


@pytest.mark.parametrize("job", [inference(), batch_inference()], ids=lambda job: job.KIND)
def test_what_serves_exchanges_nothing(job: Workload) -> None:
    effort = EFFORT if job.KIND == "BatchInference" else service()
    assert planned(SLOW, job=job, sized=sizing(effort=effort)).ranked[0].terms == ()


def service() -> Service:
    return Service(
        replicas=32,
        requests_per_s_per_replica=1.0,
        ttft_s=Band(0.1, 0.1, 0.1),
        tpot_s=Band(0.01, 0.01, 0.01),
        watts_per_replica=600.0,
    )


def test_an_adapter_is_small() -> None:
    adapter = replace(WORK, assumptions=(Assumption("adapter_parameters", 6.74e6, "test"),))
    assert usd(planned(SLOW, sized=adapter))["slow"] == pytest.approx(usd(planned(SLOW))["slow"] / 1000.0)


def test_a_copy_on_several_nodes_hands_activations_from_node_to_node() -> None:
    # Four nodes hold one copy: no gradients to exchange, three cuts of 4·4096 bytes per token.
    whole = usd(planned(SLOW, sized=replace(WORK, min_gpus=32)))["slow"]
    seconds = 3 * 4.0 * 4096 * BATCH / 4 / 12.5e9
    assert whole == pytest.approx(4 * 32.0 * 1000 * EXPOSED * seconds * 7 / 8 / 3600.0)


def test_layers_that_are_split_across_nodes_send_activations_in_every_layer() -> None:
    split = replace(WORK, min_gpus=32, assumptions=(Assumption("tensor_parallel", 16.0, "test"),))
    more = usd(planned(SLOW, sized=split))["slow"] - usd(planned(SLOW, sized=replace(WORK, min_gpus=32)))["slow"]
    # Two groups of two nodes; out of each node 16·L·h·15/16 bytes of each of its group's tokens.
    seconds = 16.0 * 32 * 4096 * 15 / 16 * BATCH / 2 / 12.5e9
    assert more > 4 * 32.0 * 1000 * EXPOSED * seconds * 7 / 8 / 3600.0 * 0.99


def test_the_note_says_by_how_much_and_whether_it_is_late() -> None:
    assert not planned(SLOW).notes  # 20 minutes of 13 days
    assert planned(SLOW, ethernet_gbit_s=1.0).notes[-1] == (
        "interconnect: the best placement trains on 4 nodes that send 8 Gbit/s each (assumed): "
        "expect it to take 3 h longer than shown; its cost includes them"
    )
    assert "14 h longer than shown, which is after the deadline" in planned(SLOW, ethernet_gbit_s=0.25).notes[-1]


MANY = replace(SLOW, available=None)


def nodes_in_time(slow: Offer, gbit_s: float) -> dict[str, int]:
    made = planned(FAST, slow, ethernet_gbit_s=gbit_s, hold_deadline=1.0)
    return {one.parts[0].offer.provider: one.parts[0].nodes for one in made.ranked}


def test_nodes_are_counted_to_be_in_time_with_the_delay() -> None:
    # 14 h of delay on four nodes, a little more on five: 10 000 / 40 + 15 < 320.
    assert nodes_in_time(MANY, 0.25) == {"fast": 4, "slow": 5}
    made = planned(MANY, ethernet_gbit_s=0.25, hold_deadline=1.0)
    assert not made.notes or "which is after the deadline" not in made.notes[-1]


def test_no_more_nodes_are_taken_than_are_in_time_with_the_delay() -> None:
    for gbit_s in (0.1, 0.05, 0.03):
        nodes = nodes_in_time(MANY, gbit_s)["slow"]
        fewer = replace(MANY, available=nodes - 1)
        assert nodes_in_time(MANY, gbit_s) == {"fast": 4, "slow": nodes}
        assert "slow" not in nodes_in_time(fewer, gbit_s)


def test_what_is_late_on_any_number_of_nodes_is_refused_as_too_late() -> None:
    made = planned(FAST, SLOW, ethernet_gbit_s=0.00625, hold_deadline=1.0)
    assert list(usd(made)) == ["fast"]
    assert made.refusals[0].code is ReasonCode.DEADLINE
    assert "h over its network; the deadline leaves 320.0 h" in made.refusals[0].examples[0].detail


def test_the_deadline_is_kept_as_the_policy_comes() -> None:
    market = snapshot(SLOW, accelerators=(accelerator(), BRIDGED))
    settings = {"ethernet_gbit_s": 0.00625}
    made = plan_sized(JOB, market, {"H100-SXM": WORK}, (create(PolicyContext(settings=settings)),))
    assert not made.ranked


def test_a_least_bandwidth_refuses_slow_and_unknown_networks() -> None:
    efa = offer(provider="efa", fabric="efa", accelerator="BRIDGED", boot_s=0.0)
    made = planned(FAST, SLOW, efa, min_gbit_s=100.0)
    assert list(usd(made)) == ["fast"]
    assert {example.detail for refusal in made.refusals for example in refusal.examples} == {
        "nobody says how fast its nodes exchange data; 100 Gbit/s a device are asked for",
        "the network is 50.0 Gbit/s a device short of the 100 asked for",
    }
    assert planned(FAST, min_gbit_s=500.0).refusals[0].examples[0].detail == (
        "the network is 100.0 Gbit/s a device short of the 500 asked for"
    )
    assert not planned(SLOW, job=replace(JOB, limits=Limits()), min_gbit_s=500.0).refusals  # one node


def test_a_replica_beyond_the_links_is_noted_and_refused_where_links_are_asked_for() -> None:
    bridged, one = offer(accelerator="BRIDGED"), replace(service(), replicas=1)
    job, sized = inference(), sizing(effort=one, min_gpus=4)
    made = planned(bridged, job=job, sized=sized)
    assert "direct links join 2 BRIDGED of a node, and 4 share every layer" in made.notes[-1]
    made = planned(bridged, offer(), job=job, sized=sized, need_links=1.0)
    assert [placement.parts[0].offer.accelerator for placement in made.ranked] == ["H100-SXM"]
    assert made.refusals[0].code is ReasonCode.INTERCONNECT
    assert not planned(bridged, job=job, sized=sizing(effort=one, min_gpus=2), need_links=1.0).refusals


def test_a_stated_layout_says_its_group() -> None:
    step = Step(parallelism=Parallelism(tensor=4), seconds=1.0, mfu=0.4)
    sized = sizing(effort=replace(EFFORT, step=step), min_gpus=4)
    one_node = training()
    made = planned(offer(accelerator="BRIDGED"), job=one_node, sized=sized, need_links=1.0)
    assert made.refusals[0].examples[0].detail == "4 devices share every layer, and direct links do not join them all"


def test_a_job_without_a_batch_takes_the_sizings_usual_one() -> None:
    job = training(tokens=2e12, limits=Limits(deadline_s=320 * 3600.0))
    work = work_of(job.model, sequence_length=4096.0, precision=job.precision, global_batch_tokens=None)
    batch = usual_batch(work, 32, bundled())
    said = usd(planned(SLOW, job=replace(job, global_batch_tokens=batch)))
    assert usd(planned(SLOW, job=job)) == pytest.approx(said, rel=0.01)


def test_the_numbers_of_the_sizing_are_the_sizings() -> None:
    known = bundled()
    assert known["step.batch_tokens"] == BATCH_TOKENS
    assert known["step.reduce_exposed"] == EXPOSED
    assert FAST_GB_S == SLOW_GB_PER_S


def test_fabrics_are_known_by_device_then_generation_then_name() -> None:
    devices = {
        "H100-SXM": accelerator(),
        "A10G": accelerator(name="A10G", generation="ampere"),
        "A100": accelerator(name="A100", generation="ampere"),
    }
    book = OfferBook.of(
        [
            offer(instance_type="1", fabric="efa"),
            offer(instance_type="2", fabric="efa", accelerator="A10G"),
            offer(instance_type="3", fabric="efa", accelerator="A100"),
            offer(instance_type="4", fabric="efa", accelerator="unheard of"),
            offer(instance_type="5", fabric="carrier pigeon"),
            offer(instance_type="6", fabric="", gpus=0.5),
        ]
    )
    assert fabric_gb_s(book, devices, 8.0).tolist() == [400.0, 12.5, 50.0, 50.0, 8.0, 1.0]
    assert fabric_gb_s(book.take(np.zeros(0, np.int64)), devices, 8.0).shape == (0,)


def test_links_join_all_pairs_or_none() -> None:
    links = {"nvlink4": inf, "infinity-fabric": inf, "nvlink-bridge": 2.0, "pcie5": 1.0, "": 1.0}
    assert {link: linked(accelerator(link=link)) for link in links} == links
    assert linked(accelerator(name="H200-NVL", link="nvlink-bridge")) == 4.0
    assert linked(None) == 1.0


def test_the_job_file_may_say_what_the_network_is() -> None:
    quick = replace(JOB, settings=(Setting("interconnect", "ethernet_gbit_s", 400.0),))
    assert isinstance(quick, Training)
    assert usd(planned(SLOW, job=quick)) == {"slow": 0.0}


def test_a_delay_may_outlive_one_lease_more_and_is_worked_out_of_hours_of_work_alone() -> None:
    plain = planned(SLOW)
    delay_h = usd(plain)["slow"] / (4 * 32.0)
    work_h = plain.ranked[0].hours.p50
    assert 0.1 < delay_h < 10.0
    ends = replace(SLOW, max_lease_s=3600.0 * (work_h + 0.5 * delay_h))  # not without the delay, but once with it
    change_h = (30.0 + 14.0 * 6.74) / 3600.0  # the grace, and reading back
    assert usd(planned(ends)) == pytest.approx({"slow": usd(plain)["slow"] + 4 * 32.0 * change_h})
    never = replace(SLOW, max_lease_s=3600.0 * (work_h + 2.0 * delay_h))
    assert usd(planned(never)) == pytest.approx(usd(plain))
    often = planned(replace(SLOW, max_lease_s=36_000.0), job=replace(JOB, limits=Limits(deadline_s=330 * 3600.0)))
    (placement,) = often.ranked
    assert placement.parts[0].nodes == 4
    assert placement.hours.p50 > work_h
    fewer = usd(often)["slow"] / (4 * 32.0) - delay_h
    assert fewer == pytest.approx(round(fewer / change_h) * change_h, abs=1e-6)  # ends, and no other hours


def test_nodes_are_in_time_with_the_delay_and_with_the_ends_of_leases() -> None:
    slow = replace(MANY, max_lease_s=20_000.0, boot_s=3600.0)
    (placement,) = planned(slow, hold_deadline=1.0).ranked
    (part,) = placement.parts
    delay_h = sum(term.usd for term in placement.terms) / (part.nodes * part.offer.usd_per_hour)
    assert delay_h > 0.0
    assert placement.hours.p50 + delay_h <= 320.0
    (without,) = planned(replace(slow, max_lease_s=None), hold_deadline=1.0).ranked
    assert part.nodes > without.parts[0].nodes
