"""Scores: what the error, the bias and the coverage of a prediction are."""

from __future__ import annotations

import pytest

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Band
from orchestrator.domain.workload import Model
from orchestrator.sizing.accuracy import Answer, Judged, Prediction, Quantity, judge, quantile, score, scores
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.sizing.parameters import Parameters, bundled
from orchestrator.testing.builders import accelerator

DEVICE = accelerator(name="X", generation="new")
MODEL = Model(name="m", parameters=7e9, active_parameters=7e9)


def judged(ratio: float, **fields: object) -> Judged:
    """A row that was predicted as `ratio` of the truth, with a band of 20 %."""
    row: dict[str, object] = {
        **{"run_id": "a", "family": "f", "group": "g", "accelerator": "X", "generation": "new"},
        **{"quantity": Quantity.TPOT, "true": 2.0, "predicted": Band(1.6 * ratio, 2.0 * ratio, 2.4 * ratio)},
    }
    return Judged(**(row | fields))  # type: ignore[arg-type]


def training(name: str) -> TrainingRun:
    """A run that observed something."""
    return TrainingRun(
        id=name,
        family="f",
        group="g",
        benchmark=True,
        model=MODEL,
        accelerator="X",
        generation="new",
        peak16_tflops=100.0,
        flops=4.2e10,
        mfu=0.4,
    )


def serving(name: str) -> InferenceRun:
    """A point that observed everything."""
    return InferenceRun(
        id=name,
        family="f",
        group="g",
        engine="e",
        mode="conc",
        model=MODEL,
        accelerator="X",
        generation="new",
        devices=1,
        weights=Precision.BF16,
        kv=Precision.BF16,
        prompt_tokens=10,
        output_tokens=10,
        ttft_s=1.0,
        tpot_s=0.1,
        output_tokens_per_s=50.0,
        latency_s=2.0,
    )


def test_the_error_is_relative_to_what_was_observed() -> None:
    assert judged(1.1).error == pytest.approx(0.1)
    assert judged(0.5).error == pytest.approx(-0.5)


def test_a_band_covers_with_its_ends() -> None:
    assert judged(1.0, predicted=Band(2.0, 2.5, 3.0)).covered
    assert judged(1.0, predicted=Band(1.0, 1.5, 2.0)).covered
    assert not judged(1.0, predicted=Band(2.1, 2.5, 3.0)).covered


def test_a_score_is_of_medians_and_shares() -> None:
    found = score([judged(ratio) for ratio in (0.5, 0.9, 1.1, 1.2, 1.4)])
    assert (found.n, found.groups) == (5, 1)
    assert found.median_error == pytest.approx(0.2)
    assert found.p90_error == pytest.approx(0.46)  # between 0.4 and 0.5
    assert found.bias == pytest.approx(0.1)
    assert found.near == pytest.approx(0.6)
    assert found.covered == pytest.approx(0.6)


def test_scores_go_by_quantity_and_then_by_generation() -> None:
    rows = [judged(1.0), judged(1.0, generation="old"), judged(1.0, quantity=Quantity.TRAINING_TIME)]
    assert [(each.quantity, each.generation, each.n) for each in scores(rows)] == [
        (Quantity.TRAINING_TIME, "", 1),
        (Quantity.TRAINING_TIME, "new", 1),
        (Quantity.TPOT, "", 2),
        (Quantity.TPOT, "new", 1),
        (Quantity.TPOT, "old", 1),
    ]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (0.9, 3.7), (1.0, 4.0)])
def test_a_quantile_lies_between_neighbours(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(value)
    assert quantile([7.0], share) == 7.0


def test_every_run_is_judged_or_refused() -> None:
    answers: dict[str, Answer] = {
        "good": (Prediction(quantity=Quantity.TRAINING_TIME, true=1.0, predicted=Band(1.0, 1.0, 1.0)),),
        "refused": Reason("sizing", ReasonCode.NO_FIT, "too large"),
        "silent": (),
        "endless": (Prediction(quantity=Quantity.TRAINING_TIME, true=1.0, predicted=Band(1.0, float("inf"), 1.0)),),
    }

    def predict(run: TrainingRun, device: Accelerator, parameters: Parameters) -> Answer:
        assert device is DEVICE
        return answers[run.id]

    found = judge(map(training, answers), {"X": DEVICE}, bundled(), training=predict, inference=never)
    assert [row.run_id for row in found.judged] == ["good"]
    assert [position for position, _ in found.refused] == [1, 2, 3]
    assert found.refused[0][1] == "too large"
    assert "cannot be compared" in found.refused[2][1]


def test_what_is_observed_and_not_predicted_is_counted() -> None:
    def predict(run: InferenceRun, device: Accelerator, parameters: Parameters) -> Answer:
        return (Prediction(quantity=Quantity.TTFT_LOAD, true=1.0, predicted=Band(1.0, 1.0, 1.0)),)

    found = judge([serving("a"), serving("b")], {"X": DEVICE}, bundled(), training=never, inference=predict)
    assert dict(found.left) == {"TPOT": 2, "output tokens per second": 2, "request latency": 2}


def never(run: object, device: Accelerator, parameters: Parameters) -> Answer:
    """A predictor that is not asked."""
    raise AssertionError(run)
