"""The planning model's terms, one at a time, by hand."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.utilisation import Circumstances, Growth, PlanningModel, family, growth
from orchestrator.sizing.work import TrainingWork, work_of
from tests.unit.sizing.given import LLAMA_7B, MIXTRAL, PLAIN_TRAINING, table

WORK = TrainingWork(
    parameters=1e10,
    active_parameters=1e10,
    layers=10.0,
    hidden=1000.0,
    attention_width=1000.0,
    sequence_length=1000.0,
    precision=Precision.BF16,
)
PEAK, BANDWIDTH = 400.0, 2000.0  # 200 FLOP per byte, where the balance says nothing
ALONE = Circumstances()


def share(
    work: TrainingWork = WORK,
    parameters: Parameters | None = None,
    around: Circumstances = ALONE,
    generation: str = "ampere",
    bandwidth: float = BANDWIDTH,
) -> float:
    model = PlanningModel(work, parameters or table(PLAIN_TRAINING))
    return model.utilisation(generation, PEAK, bandwidth, around)


def with_(**values: float) -> Parameters:
    return table(PLAIN_TRAINING, {f"planning.{name}": value for name, value in values.items()})


def test_with_every_term_at_zero_the_generations_share_is_left() -> None:
    assert share() == pytest.approx(0.5)


def test_size_counts_in_decades_from_ten_billion_active_parameters() -> None:
    larger = WORK._replace(parameters=1e12, active_parameters=1e12)
    assert share(larger, with_(size=0.1)) == pytest.approx(0.5 * exp(0.2))
    assert share(WORK, with_(size=0.1)) == pytest.approx(0.5)


def test_sparsity_counts_all_over_active_parameters() -> None:
    sparse = WORK._replace(parameters=1e10 * exp(1.0))
    assert share(sparse, with_(sparsity=-0.5)) == pytest.approx(0.5 * exp(-0.5))


def test_scale_counts_in_doublings_from_64_devices_and_not_at_all_where_nobody_knows() -> None:
    parameters = with_(scale=-0.01)
    assert share(parameters=parameters, around=Circumstances(gpus=1024)) == pytest.approx(0.5 * exp(-0.04))
    assert share(parameters=parameters) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("tokens_per_device", "doublings"), [(4096, 0), (8192, 1), (1024, -2), (512, -2), (32768, 3), (1e6, 3)]
)
def test_the_batch_counts_in_doublings_from_4096_tokens_a_device_between_a_quarter_and_eight_times(
    tokens_per_device: float, doublings: int
) -> None:
    work = WORK._replace(global_batch_tokens=tokens_per_device * 16)
    found = share(work, with_(batch=0.1), Circumstances(gpus=16))
    assert found == pytest.approx(0.5 * exp(0.1 * doublings))


def test_narrow_formats_add_to_each_other() -> None:
    parameters = with_(fp8=0.1, fp4=0.2)
    assert share(WORK._replace(precision=Precision.FP8), parameters) == pytest.approx(0.5 * exp(0.1))
    assert share(WORK._replace(precision=Precision.FP4), parameters) == pytest.approx(0.5 * exp(0.3))


def test_more_flop_per_byte_of_bandwidth_lowers_the_share() -> None:
    parameters = with_(balance=-0.5)
    assert share(parameters=parameters, bandwidth=1000.0) == pytest.approx(0.5 * 2.0**-0.5)
    assert share(parameters=parameters, bandwidth=0.0) == pytest.approx(0.5)  # not known


def test_the_balance_is_not_followed_below_what_published_runs_say() -> None:
    parameters = with_(balance=-0.5)
    assert share(parameters=parameters, bandwidth=1e5) == share(parameters=parameters, bandwidth=1e6)


def test_a_slow_fabric_and_a_real_run_each_take_their_share() -> None:
    parameters = with_(slow_fabric=-0.1, run=-0.3)
    slow, fast = Circumstances(fabric_gb_per_s=12.0), Circumstances(fabric_gb_per_s=12.5)
    assert share(parameters=parameters, around=slow) == pytest.approx(0.5 * exp(-0.4))
    assert share(parameters=parameters, around=fast) == pytest.approx(0.5 * exp(-0.3))
    assert share(parameters=parameters, around=fast._replace(benchmark=True)) == pytest.approx(0.5)


@pytest.mark.parametrize(("year", "steps"), [(2023.0, 0.0), (2025.0, 1.0), (2021.0, -1.0), (2010.0, -3.0)])
def test_software_gets_better_every_two_years_from_2017_on(year: float, steps: float) -> None:
    found = share(parameters=with_(year=0.1), around=Circumstances(year=year))
    assert found == pytest.approx(0.5 * exp(0.1 * steps))


def test_a_job_that_starts_now_has_the_software_of_the_named_year() -> None:
    assert share(parameters=with_(year=0.1, software_year=2027.0)) == pytest.approx(0.5 * exp(0.2))


def test_a_cpu_has_one_constant_and_nothing_else() -> None:
    small = WORK._replace(parameters=1e6, active_parameters=1e6)
    others = {"planning.size": 0.1, "planning.scale": -0.1, "planning.run": -0.3, "planning.balance": -0.5}
    known = table(PLAIN_TRAINING, others, {"planning.utilisation.cpu": 0.3})
    assert share(small, known, Circumstances(gpus=1024), "cpu", 100.0) == pytest.approx(0.3)
    assert growth(WORK._replace(global_batch_tokens=1e6), "cpu", known) == Growth(0.0, 0.0, (1.0, 1.0))


def test_unknown_generations_and_all_cdna_have_a_family() -> None:
    assert [family(name) for name in ("hopper", "cdna3", "cdna2", "abacus", "")] == [
        "hopper",
        "cdna",
        "cdna",
        "other",
        "other",
    ]


def test_a_token_takes_its_flops_and_its_attention_over_what_the_device_does() -> None:
    model = PlanningModel(WORK, table(PLAIN_TRAINING, {"attention.cost": 2.0}))
    attention = 12 * 10 * 1000 * 1000
    expected = (6e10 + 2 * attention) / (400e12 * 0.5)
    assert model.seconds_per_token("ampere", PEAK, BANDWIDTH, ALONE) == pytest.approx(expected)


def test_full_recompute_takes_a_third_more_and_selective_none() -> None:
    model = PlanningModel(WORK, table(PLAIN_TRAINING))
    plain, selective, full = (
        model.seconds_per_token("ampere", PEAK, BANDWIDTH, Circumstances(recompute=each))
        for each in (None, Recompute.SELECTIVE, Recompute.FULL)
    )
    assert selective == plain
    assert full == pytest.approx(plain * 4 / 3)


def test_attention_weighs_more_on_devices_whose_matrix_units_outran_it() -> None:
    parameters = table(PLAIN_TRAINING, {"planning.utilisation.hopper": 0.5, "attention.cost.bent": 3.0})
    model = PlanningModel(WORK, parameters)
    hopper, ampere = (model.seconds_per_token(each, PEAK, BANDWIDTH, ALONE) for each in ("hopper", "ampere"))
    assert (hopper - ampere) * 400e12 * 0.5 == pytest.approx(3 * 12 * 10 * 1000 * 1000)


@pytest.mark.parametrize("batch", [None, 4096.0 * 256])
def test_device_hours_follow_the_growth_that_is_said_of_them(batch: float | None) -> None:
    work = WORK._replace(global_batch_tokens=batch)
    parameters = with_(scale=-0.01, batch=0.07)
    model = PlanningModel(work, parameters)
    few, many = (model.seconds_per_token("ampere", PEAK, BANDWIDTH, Circumstances(gpus=n)) for n in (128.0, 512.0))
    found = growth(work, "ampere", parameters)
    assert many / few == pytest.approx(4.0 ** (found.exponent + found.batch))
    assert found.devices == ((32.0, 1024.0) if batch else (1.0, 1.0))
    assert log(many / few) == pytest.approx(0.02 + (0.14 if batch else 0.0))


class TestWork:
    def test_a_token_takes_6n_and_12_l_d_s(self) -> None:
        work = work_of(LLAMA_7B, sequence_length=2048.0, precision=Precision.BF16)
        assert work.matrix_flops == 6 * 6.74e9
        assert work.attention_flops == 12 * 32 * 4096 * 2048
        assert work.head_share == pytest.approx(32000 * 4096 / 6.74e9)
        assert (work.experts, work.experts_per_token) == (0.0, 0.0)

    def test_a_mixture_has_the_experts_it_says(self) -> None:
        work = work_of(MIXTRAL, sequence_length=1.0, precision=Precision.BF16)
        assert (work.experts, work.experts_per_token, work.narrow_experts) == (8.0, 2.0, False)

    @pytest.mark.parametrize(
        ("active", "chosen", "narrow"), [(12.9e9, 2.0, False), (5e9, 8.0, True), (46e9, 0.0, False)]
    )
    def test_of_a_mixture_that_does_not_say_experts_are_assumed_by_its_sparsity(
        self, active: float, chosen: float, narrow: bool
    ) -> None:
        bare = replace(MIXTRAL, active_parameters=active, experts=None, experts_per_token=None, feed_forward=None)
        work = work_of(bare, sequence_length=1.0, precision=Precision.BF16)
        assert (work.experts_per_token, work.narrow_experts) == (chosen, narrow)
