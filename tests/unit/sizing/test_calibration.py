"""Calibrations: how far a user's own history moves a number, and how wide the band is then."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.domain.sizing import Band
from orchestrator.sizing.accuracy import Judged, Quantity
from orchestrator.sizing.calibration import Kind, assumption, calibrated, factor_on_time
from orchestrator.sizing.learning import Calibration, Factor, apply, calibrate
from orchestrator.sizing.parameters import Parameter, bundled
from orchestrator.testing.builders import accelerator

HALF = 0.34  # of the released band, in the logarithm
HOPPER = accelerator(name="H100-SXM", generation="hopper")
AMPERE = accelerator(name="A100-80GB", generation="ampere")


def rows(
    ratios: Sequence[float],
    *,
    generation: str = "hopper",
    groups: Sequence[int] = (),
    quantity: Quantity = Quantity.TRAINING_TIME,
) -> list[Judged]:
    """Rows that took `ratios` of what was predicted, each a group of its own unless said otherwise."""
    return [
        Judged(
            run_id=str(number),
            family="f",
            group=str(groups[number] if groups else number),
            accelerator="x",
            generation=generation,
            quantity=quantity,
            true=ratio,
            predicted=Band(exp(-HALF), 1.0, exp(HALF)),
        )
        for number, ratio in enumerate(ratios)
    ]


def made(judged: Sequence[Judged]) -> Calibration:
    """The calibration of these rows."""
    return calibrate(judged, bundled(), name="lab", made_on="2026-03-01", sources=("runs.csv",))


def factor(judged: Sequence[Judged], generation: str = "hopper") -> Factor:
    """The factor for one generation."""
    [found] = [each for each in made(judged).factors if each.generation == generation]
    return found


def test_a_history_that_was_met_changes_nothing_but_the_band() -> None:
    found = factor(rows([1.0] * 12))
    assert found.factor == pytest.approx(1.0)
    assert found.spread < HALF


def test_more_runs_of_like_mind_move_a_number_further() -> None:
    factors = [factor(rows([1.3] * count)).factor for count in (3, 6, 12, 100)]
    assert factors == sorted(factors)
    assert 1.1 < factors[0] < 1.25
    assert factors[-1] == pytest.approx(1.3, rel=0.01)


def test_runs_of_one_group_count_as_one() -> None:
    assert factor(rows([1.3] * 10, groups=[0] * 10)).factor < factor(rows([1.3] * 3)).factor


def test_one_odd_run_does_not_swing_it() -> None:
    assert factor(rows([1.0, 1.0, 1.0, 1.0, 10.0])).factor == pytest.approx(1.0, abs=0.01)
    assert factor(rows([1.0, 1.0, 1.0, 1.0, 10.0])).spread < 3 * HALF


def test_of_few_groups_none_counts_for_more_than_the_band_allows() -> None:
    assert factor(rows([10.0] * 3, groups=[0, 0, 0])).factor < 1.5


def test_a_band_is_not_narrower_than_few_rows_support() -> None:
    assert factor(rows([1.0] * 3)).spread > HALF
    assert factor(rows([1.0] * 3)).spread > factor(rows([1.0] * 30)).spread


def test_a_band_widens_where_runs_differ() -> None:
    assert factor(rows([0.5, 0.7, 1.0, 1.4, 2.0] * 4)).spread > 1.5 * HALF


def test_the_band_covers_four_in_five_of_normal_runs() -> None:
    normal = [-1.65, -1.04, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.04, 1.65]  # its deciles' middles
    ratios = [1.2 * exp(0.5 * deviation) for deviation in normal * 5]
    found = factor(rows(ratios))
    covered = sum(abs(deviation * 0.5) <= found.spread for deviation in normal) / len(normal)
    assert found.factor == pytest.approx(1.2, rel=0.03)
    assert covered == pytest.approx(0.8)


def test_generations_without_rows_get_part_of_what_the_others_say() -> None:
    judged = rows([1.5] * 8) + rows([1.5] * 8, generation="ampere")
    everywhere = factor(judged, "all")
    assert 1.15 < everywhere.factor < factor(judged).factor
    assert everywhere.spread > factor(judged).spread
    assert 1.0 < factor(rows([1.5] * 8), "all").factor < everywhere.factor


def test_generations_that_differ_are_told_apart() -> None:
    judged = rows([1.5] * 6) + rows([0.8] * 6, generation="ampere")
    assert factor(judged).factor > 1.3
    assert factor(judged, "ampere").factor < 0.9


def test_too_few_rows_are_refused_and_counted() -> None:
    with pytest.raises(UserError, match="at least 3 of one kind are needed, there are 2 of training, 1 of tpot"):
        made(rows([1.0] * 2) + rows([1.0], quantity=Quantity.TPOT))
    with pytest.raises(UserError, match="there are none"):
        made([])


def test_kinds_with_too_few_rows_stay_as_released_and_are_named() -> None:
    found = made(rows([1.2] * 5) + rows([1.0] * 2, quantity=Quantity.TTFT_ONE))
    assert found.left == (("ttft", 2),)
    assert {each.kind for each in found.factors} == {Kind.TRAINING}
    assert found.rows == 7


def test_a_throughput_below_the_prediction_is_a_time_above_it() -> None:
    found = factor(rows([0.7] * 30, quantity=Quantity.THROUGHPUT))
    assert found.factor == pytest.approx(1 / 0.7, rel=0.03)
    assert found.after < 0.03 < found.before


def test_the_latency_of_requests_is_not_learned_twice() -> None:
    with pytest.raises(UserError, match="there are none"):
        made(rows([1.0] * 9, quantity=Quantity.LATENCY))


def test_parameters_carry_a_calibration_and_name_it() -> None:
    found = made(rows([1.3] * 20))
    parameters = apply(bundled(), found)
    assert factor_on_time(parameters, Kind.TRAINING, HOPPER) == pytest.approx(1.3, rel=0.03)
    assert 1.0 < factor_on_time(parameters, Kind.TRAINING, AMPERE) < 1.3
    assert factor_on_time(parameters, Kind.TPOT, HOPPER) == 1.0
    named = assumption(parameters, Kind.TRAINING, HOPPER)
    assert named is not None
    assert named.origin == "calibration 'lab' of 2026-03-01: 20 rows in 20 groups"
    assert assumption(parameters, Kind.TPOT, HOPPER) is None
    assert {name: parameters[name] for name in bundled()} == dict(bundled())


def test_a_calibrated_band_has_the_factor_and_the_spread() -> None:
    found = factor(rows([1.3] * 20))
    parameters = apply(bundled(), made(rows([1.3] * 20)))
    band = calibrated(Band(1.0, 2.0, 4.0), parameters, Kind.TRAINING, HOPPER)
    assert band.p50 == pytest.approx(2.0 * found.factor)
    assert band.p90 / band.p50 == pytest.approx(exp(found.spread))
    assert band.p50 / band.p10 == pytest.approx(exp(found.spread))
    untouched = Band(1.0, 2.0, 4.0)
    assert calibrated(untouched, parameters, Kind.TPOT, HOPPER) is untouched


def test_a_throughput_is_divided_by_its_factor() -> None:
    parameters = apply(bundled(), made(rows([0.7] * 30, quantity=Quantity.THROUGHPUT)))
    assert calibrated(Band(90.0, 100.0, 110.0), parameters, Kind.THROUGHPUT, HOPPER).p50 == pytest.approx(
        70.0, rel=0.03
    )


def test_a_calibration_of_another_release_says_so() -> None:
    moved = bundled().replaced([Parameter(name="new", value=1.0, low=0.0, high=2.0, unit="", origin="here")])
    named = assumption(apply(moved, made(rows([1.3] * 20))), Kind.TRAINING, HOPPER)
    assert named is not None
    assert "made for another release" in named.origin
