"""A user's own factors move every number that they are of exactly once, and are named beside it."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest

from orchestrator.domain.parallelism import Parallelism
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import Workload
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.parameters import Parameters, bundled, with_calibration
from tests.unit.sizing.given import BATCH, BIG, OLD, SERVING, TRAINING, finite, said, served, sized, table

LAID_OUT = replace(TRAINING, parallelism=Parallelism(tensor=8, data=2, micro_batches=64))
# A load far below what one replica answers, so that a calibrated rate changes neither replicas nor batch.
LONE = replace(SERVING, users=(replace(SERVING.users[0], requests_per_s=0.001),))


def learned(kind: Kind, factor: float, generation: str = "ampere", spread: float = 0.1) -> Parameters:
    return table({f"calibration.{kind}.{generation}": factor, f"calibration.{kind}.{generation}.spread": spread})


def names(answer: Sizing) -> set[str]:
    return {name for name in said(answer) if name.startswith("calibration.")}


@pytest.mark.parametrize("factor", [0.5, 1.3])
@pytest.mark.parametrize(("job", "kind"), [(TRAINING, Kind.TRAINING), (LAID_OUT, Kind.STEP)])
def test_hours_of_training_are_multiplied_once(job: Workload, kind: Kind, factor: float) -> None:
    before, after = sized(job), sized(job, parameters=learned(kind, factor))
    assert finite(after).gpu_hours.p50 == pytest.approx(finite(before).gpu_hours.p50 * factor)
    assert finite(after).energy_kwh.p50 == pytest.approx(finite(before).energy_kwh.p50 * factor)
    assert after.mfu.value == pytest.approx(before.mfu.value / factor)
    hours = finite(after).gpu_hours
    assert (hours.p10 / hours.p50, hours.p90 / hours.p50) == pytest.approx((exp(-0.1), exp(0.1)))
    assert names(after) == {f"calibration.{kind}.ampere"}
    assert names(before) == set()


def test_the_factor_of_one_kind_leaves_the_others_alone() -> None:
    assert finite(sized(TRAINING, parameters=learned(Kind.STEP, 2.0))).gpu_hours == finite(sized(TRAINING)).gpu_hours
    assert (
        finite(sized(LAID_OUT, parameters=learned(Kind.TRAINING, 2.0))).gpu_hours == finite(sized(LAID_OUT)).gpu_hours
    )


def test_hours_of_a_batch_are_divided_by_its_rate_once() -> None:
    before, after = sized(BATCH), sized(BATCH, parameters=learned(Kind.THROUGHPUT, 1.25))
    # The factor is on time: a rate is divided by it.
    assert finite(after).gpu_hours.p50 == pytest.approx(finite(before).gpu_hours.p50 * 1.25)
    assert after.mfu.value == pytest.approx(before.mfu.value / 1.25)
    assert names(after) == {"calibration.throughput.ampere"}


def test_latencies_of_a_service_are_multiplied_each_by_its_own() -> None:
    before = served(sized(LONE))
    first = served(sized(LONE, parameters=learned(Kind.TTFT, 2.0)))
    assert first.ttft_s.p50 == pytest.approx(before.ttft_s.p50 * 2)
    assert first.tpot_s == before.tpot_s
    each = served(sized(LONE, parameters=learned(Kind.TPOT, 2.0)))
    assert each.tpot_s.p50 == pytest.approx(before.tpot_s.p50 * 2)
    assert each.ttft_s == before.ttft_s
    assert names(sized(LONE, parameters=learned(Kind.TPOT, 2.0))) == {"calibration.tpot.ampere"}


def test_the_rate_of_a_replica_is_divided_once() -> None:
    before, after = sized(LONE), sized(LONE, parameters=learned(Kind.THROUGHPUT, 2.0))
    assert served(after).requests_per_s_per_replica == pytest.approx(served(before).requests_per_s_per_replica / 2)
    assert served(after).most_tokens_per_s == pytest.approx(served(before).most_tokens_per_s / 2)
    # Half the rate is twice the load of the same requests, which a lone one hardly feels.
    assert served(after).ttft_s.p50 == pytest.approx(served(before).ttft_s.p50, rel=1e-3)


def test_generations_without_a_factor_of_their_own_take_that_of_all_but_cpus() -> None:
    everyone = learned(Kind.TRAINING, 2.0, "all")
    assert finite(sized(TRAINING, parameters=everyone)).gpu_hours.p50 == pytest.approx(
        2 * finite(sized(TRAINING)).gpu_hours.p50
    )
    cpu = replace(OLD, generation="cpu", link="")
    assert finite(sized(TRAINING, cpu, everyone)).gpu_hours == finite(sized(TRAINING, cpu)).gpu_hours
    assert names(sized(TRAINING, cpu, everyone)) == set()


def test_a_snapshot_keeps_a_calibration_and_the_numbers_come_back_from_it() -> None:
    own = learned(Kind.TRAINING, 1.5)
    kept = own.calibration()
    assert {row.name for row in kept} == {"calibration.training.ampere", "calibration.training.ampere.spread"}
    assert sized(TRAINING, parameters=with_calibration(kept)) == sized(TRAINING, parameters=own)
    assert with_calibration(()) is bundled()
    assert bundled().calibration() == ()
    assert sized(TRAINING, BIG, with_calibration(())) == sized(TRAINING)
