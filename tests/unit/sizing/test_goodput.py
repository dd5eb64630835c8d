"""Failures, checkpoints and goodput, against what was published."""

from __future__ import annotations

from math import exp, inf

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.sizing import goodput
from orchestrator.sizing.parameters import Parameter, bundled

HOUR_S = 3600.0


def with_rate(per_1000_node_days: float) -> Parameter:
    row = bundled().row("failure.per_1000_node_days")
    return Parameter(name=row.name, value=per_1000_node_days, low=0.0, high=99.0, unit=row.unit, origin="test")


def test_llama_3_on_16384_devices_fails_every_three_hours_and_keeps_nine_tenths_of_its_time() -> None:
    between = goodput.mtbf_s(16_384)
    assert between / HOUR_S == pytest.approx(3.09, abs=0.005)
    share = goodput.goodput(goodput.daly_interval_s(10.0, between), 10.0, 720.0, between)
    assert share == pytest.approx(0.898, abs=0.0005)  # published: above 0.90


def test_checkpointing_llama_3_by_default_gives_what_was_published() -> None:
    answer = goodput.checkpointing(parameters=405e9, devices=16_384)
    assert answer.mtbf_h == pytest.approx(3.09, abs=0.005)
    assert answer.goodput == pytest.approx(0.898, abs=0.001)
    assert answer.write_s == pytest.approx(10.0, abs=0.1)
    assert answer.gib == pytest.approx(405e9 * 14 / 2**30)
    assert answer.gb_per_s < 2000  # the storage sustained 2 TB/s


@pytest.mark.parametrize(("devices", "hours"), [(1024, 28.8), (16_384, 1.80), (131_072, 0.23)])
def test_metas_projections_follow_from_their_failure_rate(devices: int, hours: float) -> None:
    table = bundled().replaced([with_rate(6.5)])
    assert goodput.mtbf_s(devices, table=table) / HOUR_S == pytest.approx(hours, abs=0.05 if devices == 1024 else 0.006)


def test_a_measured_job_of_1024_devices_failed_more_often_than_hardware_alone_explains() -> None:
    # 7.9 h were measured (user errors count as well), the hardware rate of the same cluster gives 28.8 h.
    table = bundled().replaced([with_rate(6.5)])
    assert goodput.mtbf_s(1024, table=table) / HOUR_S > 7.9


def test_opt_175b_restarted_a_hundred_times_in_two_months() -> None:
    table = bundled().replaced([with_rate(14.0)])
    restarts = 60 * 24 * HOUR_S / goodput.mtbf_s(992, table=table)
    assert restarts == pytest.approx(105, rel=0.01)


def test_bloom_wrote_checkpoints_of_two_and_a_third_terabytes() -> None:
    assert goodput.checkpoint_bytes(176e9, 13.05) == pytest.approx(2.3e12, rel=0.005)
    assert goodput.checkpoint_bytes(176e9, goodput.weights_bytes()) == pytest.approx(352e9)


def test_bloom_failed_once_or_twice_a_week() -> None:
    weeks = goodput.mtbf_s(384) / (7 * 24 * HOUR_S)
    assert 0.5 < weeks < 1.0


def test_an_adapters_checkpoint_is_the_adapters_alone() -> None:
    adapter = goodput.checkpointing(parameters=40e6, devices=8)
    assert adapter.gib == pytest.approx(40e6 * 14 / 2**30)


def test_a_single_device_job_fails_less_often_than_a_whole_node() -> None:
    assert goodput.mtbf_s(1) > goodput.mtbf_s(8) > goodput.mtbf_s(9)


def test_bigger_nodes_fail_more_often_but_less_than_in_proportion() -> None:
    eight, rack = goodput.mtbf_s(72, 8), goodput.mtbf_s(72, 72)
    assert eight < rack < 9 * eight


def test_without_failures_goodput_is_work_over_work_and_checkpoints() -> None:
    assert goodput.goodput(90.0, 10.0, 720.0, inf) == pytest.approx(0.9)
    assert goodput.goodput(90.0, 10.0, 0.0, 1e12) == pytest.approx(0.9, rel=1e-6)


def test_with_free_checkpoints_all_the_time_only_the_restart_is_lost() -> None:
    assert goodput.goodput(0.0, 0.0, 100.0, 1000.0) == pytest.approx(exp(-0.1))
    assert goodput.goodput(1e-6, 0.0, 100.0, 1000.0) == pytest.approx(exp(-0.1), rel=1e-6)


def test_a_job_that_fails_faster_than_it_restarts_never_ends_and_never_divides_by_zero() -> None:
    assert goodput.goodput(10.0, 10.0, 1e6, 1.0) == goodput.LEAST_GOODPUT
    assert goodput.goodput(1e9, 10.0, 1.0, 1.0) == goodput.LEAST_GOODPUT


def test_dalys_interval_falls_back_to_the_mtbf_where_a_checkpoint_takes_twice_that() -> None:
    assert goodput.daly_interval_s(2000.0, 1000.0) == 1000.0
    assert goodput.daly_interval_s(1999.999, 1000.0) == pytest.approx(2000.0 * (1 + 1 / 3 + 1 / 9) - 2000.0, rel=1e-4)


def test_dalys_interval_nears_youngs_for_quick_checkpoints() -> None:
    assert goodput.daly_interval_s(0.01, 1e6) == pytest.approx((2 * 0.01 * 1e6) ** 0.5, rel=1e-3)


def test_slow_storage_stretches_the_interval_and_costs_goodput() -> None:
    fast = goodput.checkpointing(parameters=405e9, devices=16_384, storage_gb_per_s=2000.0)
    slow = goodput.checkpointing(parameters=405e9, devices=16_384, storage_gb_per_s=2.0)
    assert slow.interval_s == pytest.approx(405e9 * 14 / 2e9)  # no second write before the first has ended
    assert slow.goodput < 0.6 < fast.goodput
    assert slow.gb_per_s == pytest.approx(fast.gb_per_s)  # what it takes does not depend on what there is


def test_synchronous_checkpoints_stop_the_devices_for_the_whole_write() -> None:
    waits = goodput.checkpointing(parameters=405e9, devices=16_384, storage_gb_per_s=100.0, asynchronous=False)
    goes_on = goodput.checkpointing(parameters=405e9, devices=16_384, storage_gb_per_s=100.0)
    assert waits.write_s == pytest.approx(10.0 + 405e9 * 14 / 100e9)
    assert goes_on.write_s < 11.0
    assert waits.goodput < goes_on.goodput


def test_the_storage_bandwidth_writes_a_checkpoint_in_its_share_of_the_interval() -> None:
    answer = goodput.checkpointing(parameters=176e9, devices=384)
    share = answer.gib * 2**30 / (answer.gb_per_s * 1e9) / answer.interval_s
    assert share == pytest.approx(bundled()["checkpoint.write_share"])
    assert goodput.storage_gb_per_s_for(1e12, 1000.0, 0.0) == inf


def test_storage_without_bandwidth_is_refused() -> None:
    with pytest.raises(UserError, match="above 0"):
        goodput.checkpointing(parameters=1e9, devices=8, storage_gb_per_s=0.0)


def test_the_assumptions_say_where_they_come_from() -> None:
    assert [each.name for each in goodput.assumptions()] == [
        "failure.per_1000_node_days",
        "failure.restart_s",
        "checkpoint.bytes_per_parameter",
        "checkpoint.pause_s",
    ]
    assert all(each.origin for each in goodput.assumptions())
