"""What a model's numbers leave open is estimated and said; what a device lacks is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.workload import Model, Workload
from orchestrator.sizing.memory import capacity_bytes, kv_bytes_per_token, overhead_bytes
from orchestrator.sizing.shape import shape_of
from tests.unit.sizing.given import BATCH, BIG, LLAMA_7B, MIXTRAL, SERVING, SMALL, TRAINING, refused, said, sized


def test_a_bare_parameter_count_is_given_a_shape_and_every_guess_is_said() -> None:
    shape, guesses = shape_of(Model(name="?", parameters=175e9, active_parameters=175e9))
    assert shape.layers == pytest.approx(96, rel=0.02)  # GPT-3
    assert shape.hidden == pytest.approx(12288, rel=0.02)
    assert {guess.name for guess in guesses} == {"layers", "hidden", "kv_width", "vocabulary"}
    assert 12 * shape.layers * shape.hidden**2 == pytest.approx(175e9)


def test_a_full_shape_needs_no_guess() -> None:
    assert shape_of(LLAMA_7B)[1] == ()
    assert "layers" not in said(sized(TRAINING))


@pytest.mark.parametrize("given", [{"layers": 32}, {"hidden": 4096}])
def test_half_a_shape_fixes_the_other_half(given: dict[str, int]) -> None:
    shape, _ = shape_of(Model(name="?", parameters=6.5e9, active_parameters=6.5e9, **given))
    assert 12 * shape.layers * shape.hidden**2 == pytest.approx(6.5e9)


def test_a_token_of_kv_cache_is_two_vectors_in_every_layer() -> None:
    shape, _ = shape_of(LLAMA_7B)
    assert kv_bytes_per_token(shape, Precision.BF16) == 2 * 32 * 4096 * 2
    assert kv_bytes_per_token(shape, Precision.FP8) == 2 * 32 * 4096
    grouped, _ = shape_of(MIXTRAL)
    assert kv_bytes_per_token(grouped, Precision.BF16) == 2 * 32 * 1024 * 2


def test_a_device_keeps_5_per_cent_for_fragments_and_3_gb_or_5_per_cent_for_its_runtime() -> None:
    assert capacity_bytes(BIG) == pytest.approx(0.95 * 80 * 2**30)
    assert overhead_bytes(BIG) == 3e9
    assert overhead_bytes(SMALL) == pytest.approx(0.05 * 4 * 2**30)


@pytest.mark.parametrize("job", [TRAINING, SERVING, BATCH])
def test_a_device_without_arithmetic_or_memory_is_refused(job: Workload) -> None:
    assert refused(job, replace(BIG, peak_tflops=())).code is ReasonCode.NO_PRECISION
    assert refused(job, replace(BIG, memory_gib=0.0)).code is ReasonCode.NO_FIT
