"""Where a device cannot do as the job asks, the answer is a reason or says what stands in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.workload import Method, Stack, Workload
from orchestrator.sizing.fallbacks import beyond_context, other_stack, refusal, unused_precision, widened_cache
from orchestrator.sizing.size import size
from orchestrator.testing import builders

DEVICES = {device.name: device for device in load()}
SERVING = builders.inference()
KINDS = [SERVING, builders.batch_inference()]


def origins(job: Workload, device: str) -> str:
    """Everything that the sizing says it assumed."""
    answer = size(job, [DEVICES[device]])[device]
    assert not isinstance(answer, Reason), answer
    return " | ".join(note.origin for note in answer.assumptions)


@pytest.mark.parametrize("job", KINDS)
@pytest.mark.parametrize(
    ("stack", "device"),
    [
        (Stack.TENSORRT_LLM, "MI300X"),
        (Stack.TENSORRT_LLM, "TPU-v5e"),
        (Stack.TENSORRT_LLM, "Gaudi3"),
        (Stack.TENSORRT_LLM, "P100"),
        (Stack.SGLANG, "Inferentia2"),
        (Stack.LLAMA_CPP, "TPU-v5e"),
        (Stack.LLAMA_CPP, "Trainium2"),
    ],
)
def test_a_stack_that_does_not_run_on_the_device_is_refused(job: Workload, stack: Stack, device: str) -> None:
    refused = refusal(replace(job, stack=stack), DEVICES[device])
    assert refused is not None
    assert refused.code is ReasonCode.STACK
    assert refused.detail.startswith(f"{stack} does not run on {device}")


@pytest.mark.parametrize("stack", Stack)
def test_every_stack_runs_on_a_datacentre_gpu(stack: Stack) -> None:
    for device in ("H100-SXM", "A100-80GB", "L40S", "B200"):
        assert refusal(replace(SERVING, stack=stack), DEVICES[device]) is None
        assert other_stack(replace(SERVING, stack=stack), DEVICES[device]) == ()


def test_the_usual_stack_is_never_refused_and_says_where_another_stands_in() -> None:
    for device in DEVICES.values():
        assert refusal(SERVING, device) is None
    (note,) = other_stack(SERVING, DEVICES["K80"])
    assert note.origin == "vllm does not run on kepler devices: other software stands in, taken to do as well"
    assert other_stack(SERVING, DEVICES["T4"]) == ()
    assert refusal(builders.training(), DEVICES["K80"]) is None


@pytest.mark.parametrize(
    ("precision", "device", "widened"),
    [
        (Precision.FP8, "A100-80GB", 1.0),
        (Precision.FP4, "H100-SXM", 0.5625),
        (Precision.FP8, "H100-SXM", None),
        (Precision.BF16, "A100-80GB", None),
        (Precision.BF16, "T4", None),  # as the weights, which say it
    ],
)
def test_a_cache_in_a_format_that_the_device_lacks_is_widened_and_told(
    precision: Precision, device: str, widened: float | None
) -> None:
    job = replace(SERVING, kv_precision=precision)
    assert [note.value for note in widened_cache(job, DEVICES[device])] == ([widened] if widened else [])
    assert ("the cache is widened as it is read" in origins(job, device)) == (widened is not None)


def test_a_16_bit_cache_is_held_in_the_16_bit_format_that_the_device_has() -> None:
    job = replace(SERVING, precision=Precision.INT8)  # the weights say nothing of the cache
    (note,) = widened_cache(job, DEVICES["T4"])
    assert note.origin == "bytes per number: T4 does not compute in bf16, fp16 stands in"


def test_what_does_not_run_and_what_stands_in_is_in_the_sizing() -> None:
    closed = replace(SERVING, stack=Stack.TENSORRT_LLM)
    answer = size(closed, [DEVICES["MI300X"]])["MI300X"]
    assert isinstance(answer, Reason)
    assert answer.code is ReasonCode.STACK
    assert "other software stands in" in origins(SERVING, "K80")
    assert "fp8 is not used" in origins(builders.fine_tune(method=Method.QLORA, precision=Precision.FP8), "H100-SXM")


@pytest.mark.parametrize("make", [builders.training, builders.fine_tune, builders.inference, builders.batch_inference])
def test_sequences_beyond_the_models_context_are_told(make: Callable[..., Workload]) -> None:
    job = make(model=builders.model(context_length=1000))
    (note,) = beyond_context(job)
    assert (note.name, note.value) == ("context_length", 1000.0)
    assert "sized as if the context of test-7b were extended" in origins(job, "H100-SXM")
    assert beyond_context(make(model=builders.model(context_length=4096))) == ()
    assert beyond_context(make()) == ()


def test_the_arithmetic_that_qlora_does_not_do_is_told() -> None:
    job = builders.fine_tune(method=Method.QLORA, precision=Precision.FP8)
    (note,) = unused_precision(job)
    assert "fp8 is not used" in note.origin
    assert unused_precision(replace(job, precision=Precision.FP16)) == ()
    assert unused_precision(replace(job, method=Method.LORA)) == ()


@pytest.mark.parametrize(
    ("precision", "device"),
    [
        (Precision.FP8, "A100-80GB"),
        (Precision.FP8, "V100-32GB"),
        (Precision.FP4, "H100-SXM"),
        (Precision.INT8, "H100-SXM"),
        (Precision.INT4, "B200"),
    ],
)
def test_training_in_a_format_that_the_device_lacks_is_refused(precision: Precision, device: str) -> None:
    for job in (builders.training(precision=precision), builders.fine_tune(method=Method.FULL, precision=precision)):
        answer = size(job, [DEVICES[device]])[device]
        assert isinstance(answer, Reason)
        assert answer.code is ReasonCode.NO_PRECISION
        assert str(precision) in answer.detail


@pytest.mark.parametrize(
    ("job", "device", "said"),
    [
        (builders.training(), "T4", "T4 does not compute in bf16: fp16 stands in"),
        (builders.training(), "K80", "K80 does not compute in bf16: fp32 stands in"),
        (builders.fine_tune(method=Method.QLORA), "T4", "T4 does not compute in bf16: fp16 stands in"),
        (builders.inference(precision=Precision.FP8), "A100-80GB", "A100-80GB does not compute in fp8: bf16 stands in"),
        (builders.inference(precision=Precision.FP4), "H100-SXM", "H100-SXM does not compute in fp4: bf16 stands in"),
        (builders.batch_inference(precision=Precision.FP8), "T4", "T4 does not compute in fp8: fp16 stands in"),
    ],
)
def test_a_format_that_stands_in_is_said(job: Workload, device: str, said: str) -> None:
    assert said in origins(job, device)
