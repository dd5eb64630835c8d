"""Values of the domain refuse to be made of numbers that contradict each other, whoever makes them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.consistency import Contradicted
from orchestrator.domain.context import beyond_context, longest_sequence
from orchestrator.domain.errors import UserError
from orchestrator.domain.parallelism import Parallelism, Recompute
from orchestrator.domain.workload import LatencyTarget, Limits, Method, Model, Population, Stack
from orchestrator.testing import builders

NAN, INF = float("nan"), float("inf")
MIXTURE = Model(name="m", parameters=46.7e9, active_parameters=12.9e9, experts=8, experts_per_token=2)
SIZES = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "feed_forward", "context_length")


def fields(make: object, **facts: object) -> list[str]:
    with pytest.raises(Contradicted) as caught:
        make(**facts)  # type: ignore[operator]
    return [found.field for found in caught.value.contradictions]


@pytest.mark.parametrize("value", [0, -1, NAN, INF, 1.5])
@pytest.mark.parametrize("name", [*SIZES, "experts", "experts_per_token"])
def test_a_size_that_is_no_whole_number_from_one_on_is_refused(name: str, value: float) -> None:
    assert name in fields(builders.model, **{name: value})


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_parameters_are_finite_and_above_zero(value: float) -> None:
    assert fields(builders.model, parameters=value) == ["parameters"]
    assert fields(builders.model, active_parameters=value) == ["active_parameters"]


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"active_parameters": 8e9}, "active_parameters"),
        ({"heads": 30, "kv_heads": 30, "head_dim": None}, "heads"),
        ({"kv_heads": 64}, "kv_heads"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(facts: dict[str, object], field: str) -> None:
    assert fields(builders.model, **facts) == [field]


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"experts": None}, "experts_per_token"),
        ({"experts_per_token": None}, "experts"),
        ({"experts_per_token": 9}, "experts_per_token"),
        ({"active_parameters": 46.7e9}, "active_parameters"),
        ({"active_parameters": 1e9}, "active_parameters"),
    ],
)
def test_a_mixture_that_contradicts_itself_is_refused(facts: dict[str, object], field: str) -> None:
    assert fields(lambda **given: replace(MIXTURE, **given), **facts) == [field]


@pytest.mark.parametrize("name", ["tensor", "pipeline", "data", "context", "expert", "micro_batch", "interleave"])
def test_a_layout_counts_from_one(name: str) -> None:
    assert fields(Parallelism, **{name: 0}) == [f"parallelism.{name}"]
    assert fields(Parallelism, **{name: -2}) == [f"parallelism.{name}"]


def test_a_layout_has_no_more_devices_than_any_cluster() -> None:
    assert Parallelism(tensor=8, pipeline=125, data=1000).devices == 1_000_000
    assert fields(Parallelism, tensor=8, pipeline=125, data=1001) == ["parallelism.data"]


@pytest.mark.parametrize("make", [builders.training, builders.fine_tune])
@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"tokens": 0.0}, "tokens"),
        ({"tokens": NAN}, "tokens"),
        ({"tokens": INF}, "tokens"),
        ({"sequence_length": 0}, "sequence_length"),
        ({"micro_batch": -1}, "micro_batch"),
        ({"mfu": 1.1}, "mfu"),
        ({"mfu": 0.0}, "mfu"),
        ({"mfu": NAN}, "mfu"),
        ({"method": Method.FULL, "global_batch_tokens": NAN}, "global_batch_tokens"),
        ({"method": Method.FULL, "global_batch_tokens": 4095.0}, "global_batch_tokens"),
        ({"method": Method.FULL, "parallelism": Parallelism(tensor=5)}, "parallelism.tensor"),
        ({"method": Method.FULL, "parallelism": Parallelism(pipeline=33)}, "parallelism.pipeline"),
        ({"method": Method.FULL, "parallelism": Parallelism(expert=2, data=2)}, "parallelism.expert"),
    ],
)
def test_a_training_job_that_contradicts_itself_is_refused(make: object, facts: dict[str, object], field: str) -> None:
    if make is builders.training:
        facts = {name: value for name, value in facts.items() if name != "method"}
    assert fields(make, **facts) == [field]


@pytest.mark.parametrize(
    ("name", "value"),
    [("global_batch_tokens", 4e6), ("parallelism", Parallelism(data=2)), ("recompute", Recompute.FULL)],
)
def test_what_is_set_for_all_weights_is_refused_with_an_adapter(name: str, value: object) -> None:
    assert fields(builders.fine_tune, **{name: value}) == [name]
    assert getattr(builders.fine_tune(method=Method.FULL, **{name: value}), name) == value


@pytest.mark.parametrize("make", [builders.inference, builders.batch_inference])
@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens"),
        ({"output_tokens": 0}, "output_tokens"),
        ({"quantise": (Precision.BF16,)}, "quantise"),
        ({"quantise": (Precision.INT4, Precision.FP32)}, "quantise"),
        ({"precision": Precision.FP8, "stack": Stack.LLAMA_CPP}, "precision"),
        ({"kv_precision": Precision.FP8, "stack": Stack.LLAMA_CPP}, "kv_precision"),
    ],
)
def test_inference_that_contradicts_itself_is_refused(make: object, facts: dict[str, object], field: str) -> None:
    assert fields(make, **facts) == [field]


@pytest.mark.parametrize("peak", [0.0, 0.99, -3.0, NAN, INF])
def test_a_peak_is_at_least_the_mean(peak: float) -> None:
    assert fields(builders.inference, peak_over_mean=peak) == ["peak_over_mean"]


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF])
def test_amounts_are_finite_and_above_zero(value: float) -> None:
    assert fields(builders.inference, duration_s=value) == ["duration_s"]
    assert fields(builders.batch_inference, requests=value) == ["requests"]
    assert fields(Limits, budget_usd=value) == ["budget_usd"]
    assert fields(Limits, deadline_s=value) == ["deadline_s"]
    assert fields(LatencyTarget, per_token_s=value) == ["per_token_s"]


@pytest.mark.parametrize("value", [-1.0, NAN, INF])
def test_a_rate_is_finite_and_not_negative(value: float) -> None:
    assert fields(Population, place="Paris", requests_per_s=value) == ["requests_per_s"]


def test_all_contradictions_are_carried_and_it_is_a_users_error_and_a_value_error() -> None:
    with pytest.raises(Contradicted) as caught:
        builders.model(layers=0, heads=-1)
    error = caught.value
    assert isinstance(error, UserError)
    assert isinstance(error, ValueError)
    assert error.exit_code == 2
    assert str(error).startswith("model: layers: is 0 (it is a whole number, at least 1); heads: is -1")
    assert pickle.loads(pickle.dumps(error)).contradictions == error.contradictions


def test_sequences_beyond_the_context_are_found_and_not_refused_where_the_job_is_made() -> None:
    short = builders.model(context_length=2048)
    assert beyond_context(builders.training(sequence_length=10**6)) is None
    assert beyond_context(builders.training(model=short, sequence_length=2048)) is None
    found = beyond_context(builders.training(model=short))
    assert found is not None
    assert found.field == "sequence_length"
    serving = builders.inference(model=short, prompt_tokens=2000, output_tokens=49)
    assert longest_sequence(serving) == 2049
    found = beyond_context(serving)
    assert found is not None
    assert found.field == "prompt_tokens"


@pytest.mark.parametrize(
    ("precision", "bits"),
    [("fp32", 32), ("tf32", 32), ("bf16", 16), ("fp16", 16), ("fp8", 8), ("int8", 8), ("fp4", 4), ("int4", 4)],
)
def test_a_format_has_its_width(precision: str, bits: int) -> None:
    assert Precision(precision).bits == bits
