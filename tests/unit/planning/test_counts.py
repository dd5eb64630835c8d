"""How many nodes a plan takes of what sizing says, and what a user's calibration does to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.offer import Billing
from orchestrator.domain.plan import Placement
from orchestrator.domain.sizing import Assumption, Band, FiniteWork, Service, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Checkpointing, Limits, Program, Training
from orchestrator.planning.explain import explain
from orchestrator.planning.plan import plan, plan_sized
from orchestrator.sizing.parameters import with_calibration
from orchestrator.sizing.size import size
from orchestrator.spec.documents import dump_plan, load_plan
from orchestrator.testing.builders import inference, offer, sizing, snapshot, training
from policies.cost.policy import create as create_cost

POLICIES: tuple[Policy, ...] = (create_cost(PolicyContext()),)
ONE = offer(gpus=1.0, usd_per_hour=1.0, available=None, boot_s=0.0)
SLOW = (
    Assumption("calibration.training.hopper", 2.0, "calibration 'lab'"),
    Assumption("calibration.training.hopper.spread", 0.1, "calibration 'lab'"),
)


def grows(growth: float, *, gpus: int = 1, least: int = 1) -> Sizing:
    """A hundred device-hours on `gpus` devices."""
    work = FiniteWork(gpu_hours=Band(80.0, 100.0, 130.0), energy_kwh=Band(1.0, 1.0, 1.0), gpus=gpus, growth=growth)
    return sizing(min_gpus=least, effort=work)


def placed(sized: Sizing, job: Training | None = None, market: Snapshot | None = None) -> Placement:
    made = plan_sized(job or training(), market or snapshot(ONE), {"H100-SXM": sized}, POLICIES)
    assert made.best is not None, made.refusals
    return made.best


class TestWayBackFromSpot:
    """100 device-hours on one device a node, saved every half hour; 30 s of grace."""

    SPOT = replace(ONE, billing=Billing.SPOT, interruption_rate=0.01)
    SAVING = Program(command=("x",), checkpoint=Checkpointing(interval_s=1800.0, grace_s=30.0))

    def nodes(self, deadline_h: float, boot_s: float = 0.0, billing: tuple[Billing, ...] = ()) -> int:
        job = training(limits=Limits(deadline_s=deadline_h * 3600.0, billing=billing), program=self.SAVING)
        return placed(grows(0.0), job, snapshot(replace(self.SPOT, boot_s=boot_s))).parts[0].nodes

    def test_work_on_spot_leaves_time_to_do_an_interval_again(self) -> None:
        assert self.nodes(10.0) == 11  # where on demand takes 10
        assert self.nodes(10.0 + 0.5 + 30 / 3600) == 10
        assert self.nodes(10.0 + 0.5 + 29 / 3600) == 11

    def test_machines_boot_twice(self) -> None:
        assert self.nodes(10.0 + 0.5 + 30 / 3600 + 2 * 0.25, boot_s=900.0) == 10
        assert self.nodes(10.0 + 0.5 + 30 / 3600 + 1.9 * 0.25, boot_s=900.0) == 11

    def test_work_shorter_than_the_interval_is_done_again_whole(self) -> None:
        assert self.nodes(2 * 0.25 + 30 / 3600) == 400
        assert self.nodes(2 * 0.25 + 31 / 3600) == 400

    def test_who_takes_spot_alone_has_to_go_elsewhere_too(self) -> None:
        assert self.nodes(10.0, billing=(Billing.SPOT,)) == self.nodes(10.0, billing=tuple(Billing)) == 11

    def test_a_deadline_without_time_to_boot_twice_refuses_spot(self) -> None:
        job = training(limits=Limits(deadline_s=3600.0), program=self.SAVING)
        market = snapshot(replace(self.SPOT, boot_s=1800.0))
        made = plan_sized(job, market, {"H100-SXM": grows(0.0)}, POLICIES)
        assert not made.ranked
        assert made.refusals[0].examples[0].detail == (
            "boots for 0.5 h, and may have to be left for others that boot; the deadline leaves 1.0 h"
        )


class TestGrowth:
    def test_n_devices_take_n_to_the_growth_times_the_device_hours_of_one(self) -> None:
        eight = snapshot(replace(ONE, gpus=8.0))
        best = placed(grows(0.1), market=eight)
        assert best.hours.p50 == pytest.approx(100.0 * 8**0.1 / 8)
        assert best.hours.p90 == pytest.approx(130.0 * 8**0.1 / 8)
        assert placed(grows(0.0), market=eight).hours.p50 == pytest.approx(12.5)

    def test_hours_that_are_known_on_some_devices_are_those_on_as_many(self) -> None:
        eight = snapshot(replace(ONE, gpus=8.0))
        assert placed(grows(0.1, gpus=8), market=eight).hours.p50 == pytest.approx(12.5)

    def test_a_deadline_takes_the_fewest_nodes_that_meet_it_for_all_that_they_slow_each_other(self) -> None:
        job = training(limits=Limits(deadline_s=10 * 3600.0))
        assert placed(grows(0.0), job).gpus == 10
        # n^0.9 >= 10: 12.9 devices.
        best = placed(grows(0.1), job)
        assert best.gpus == 13
        assert best.hours.p50 == pytest.approx(100.0 * 13**-0.9)
        assert best.hours.p50 <= 10.0 < 100.0 * 12**-0.9

    @pytest.mark.parametrize("hours", [60.0, 40.0, 30.0, 20.0, 15.0, 12.0, 9.0, 6.0, 3.0])
    def test_a_deadline_takes_the_fewest_nodes_where_a_fixed_batch_slows_them_between_two_counts(
        self, hours: float
    ) -> None:
        work = FiniteWork(
            gpu_hours=Band(80.0, 100.0, 130.0),
            energy_kwh=Band(1.0, 1.0, 1.0),
            gpus=2,
            growth=0.1,
            batch_growth=0.3,
            batch_devices=(4.0, 16.0),
        )
        best = placed(sizing(min_gpus=1, effort=work), training(limits=Limits(deadline_s=hours * 3600.0)))
        takes = [work.gpu_hours_on(n).p50 / n for n in range(1, 200)]
        assert best.gpus == next(n for n, each in enumerate(takes, 1) if each <= hours)
        assert best.hours.p50 == pytest.approx(takes[int(best.gpus) - 1])

    def test_a_deadline_that_is_met_to_the_last_digit_takes_no_further_node(self) -> None:
        hours = 100.0 * 16**-0.9
        job = training(limits=Limits(deadline_s=hours * 3600.0))
        assert placed(grows(0.1), job).gpus == 16

    def test_a_share_of_a_device_is_a_slower_one(self) -> None:
        quarter = snapshot(replace(ONE, gpus=0.25))
        assert placed(grows(0.1), market=quarter).hours.p50 == pytest.approx(400.0)

    def test_work_says_how_it_grows(self) -> None:
        work = grows(0.5, gpus=4).effort
        assert isinstance(work, FiniteWork)
        assert work.gpu_hours_on(16).p50 == pytest.approx(200.0)
        assert work.gpu_hours_on(1).p90 == pytest.approx(65.0)
        assert work.gpu_hours_on(4) == work.gpu_hours


class TestCalibration:
    MARKET = snapshot(ONE)

    def test_a_plan_is_made_with_the_calibration_of_its_snapshot_and_names_it(self) -> None:
        own = replace(self.MARKET, calibration=SLOW)
        before, after = (plan(training(), market, POLICIES).best for market in (self.MARKET, own))
        assert before is not None
        assert after is not None
        assert after.hours.p50 == pytest.approx(2 * before.hours.p50)
        assert SLOW[0] in after.sizing.assumptions
        assert SLOW[0] not in before.sizing.assumptions

    def test_the_plan_says_what_size_says(self) -> None:
        own = replace(self.MARKET, calibration=SLOW)
        best = plan(training(), own, POLICIES).best
        assert best is not None
        assert best.sizing == size(training(), own.accelerators, with_calibration(SLOW))["H100-SXM"]

    def test_explaining_judges_with_the_same_numbers(self) -> None:
        job = training(limits=Limits(deadline_s=3600.0 * 10))
        own = replace(snapshot(replace(ONE, available=100)), calibration=SLOW)
        made = plan(job, own, POLICIES)
        assert made.best is not None
        before = plan(job, replace(own, calibration=()), POLICIES).best
        assert before is not None
        assert made.best.gpus > before.gpus  # twice the work by the same deadline
        (finding,) = explain(made, own, POLICIES, "acme").findings
        assert finding.rank == 1

    def test_a_snapshots_identity_is_its_calibration_too(self) -> None:
        slower = replace(self.MARKET, calibration=(replace(SLOW[0], value=3.0), SLOW[1]))
        ids = {each.id for each in (self.MARKET, replace(self.MARKET, calibration=SLOW), slower)}
        assert len(ids) == 3

    def test_a_plans_file_keeps_it(self) -> None:
        own = replace(self.MARKET, calibration=SLOW)
        made = plan(training(), own, POLICIES)
        again, market = load_plan(dump_plan(made, own))
        assert market.calibration == SLOW
        assert market.id == again.snapshot_id == own.id


def test_the_replicas_of_a_service_are_packed_on_nodes() -> None:
    answer = size(inference(peak_over_mean=50.0), snapshot().accelerators)["H100-SXM"]
    assert isinstance(answer, Sizing)
    assert isinstance(answer.effort, Service)
    made = plan(inference(peak_over_mean=50.0), snapshot(offer(gpus=2.0, available=None)), POLICIES)
    assert made.best is not None
    assert made.best.parts[0].nodes == -(-answer.effort.replicas * answer.min_gpus // 2)
