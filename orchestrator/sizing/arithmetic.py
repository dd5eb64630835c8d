"""Arithmetic: which number format a device computes in when it is asked for one, and how wide numbers are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Assumption

_FP32, _TF32, _FP16, _BF16 = Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16
_FP8, _INT8, _FP4, _INT4 = Precision.FP8, Precision.INT8, Precision.FP4, Precision.INT4

BYTES: Final[Mapping[Precision, float]] = {
    _FP32: 4.0,
    _TF32: 4.0,  # TF32 is a way to multiply; its numbers lie in memory as FP32
    _FP16: 2.0,
    _BF16: 2.0,
    _FP8: 1.0,
    _INT8: 1.0,
    _FP4: 0.5625,  # four bits and a 16-bit scale for every block of 32 (or 8-bit for 16: NVFP4)
    _INT4: 0.5625,
}

# What stands in for a format that the device lacks, best first. 16-bit formats stand in for each other because they
# take the same memory; narrower weights are widened as they are read, so they keep their size in memory.
_SERVING: Final[Mapping[Precision, tuple[Precision, ...]]] = {
    _FP32: (_FP32,),
    _TF32: (_TF32, _FP32),
    _FP16: (_FP16, _BF16, _FP32),
    _BF16: (_BF16, _FP16, _FP32),
    _FP8: (_FP8, _BF16, _FP16, _FP32),
    _INT8: (_INT8, _BF16, _FP16, _FP32),
    _FP4: (_FP4, _BF16, _FP16, _FP32),
    _INT4: (_INT4, _BF16, _FP16, _FP32),
}

# Training all weights in FP8 or FP4 is a property of the hardware's scaled matrix units: nothing stands in for them,
# and integers have no gradients.
_TRAINING: Final[Mapping[Precision, tuple[Precision, ...]]] = {
    **_SERVING,
    _FP8: (_FP8,),
    _FP4: (_FP4,),
    _INT8: (),
    _INT4: (),
}


class Arithmetic(NamedTuple):
    """How a device does the work: its format, its dense peak, and what to say if it is not the format asked for."""

    precision: Precision
    peak_tflops: float
    assumptions: tuple[Assumption, ...]


def training_arithmetic(device: Accelerator, asked: Precision) -> Arithmetic | None:
    """How `device` trains every weight in `asked`, or None where it cannot."""
    return _choose(device, asked, _TRAINING[asked])


def serving_arithmetic(device: Accelerator, asked: Precision) -> Arithmetic | None:
    """How `device` computes with frozen weights of `asked`, or None where it cannot."""
    return _choose(device, asked, _SERVING[asked])


def weight_bytes(asked: Precision, used: Precision) -> float:
    """Bytes of one frozen weight: as asked, but four where 16-bit weights have to be computed in FP32."""
    return 4.0 if used is _FP32 and asked in (_FP16, _BF16) else BYTES[asked]


def lacks(device: Accelerator, asked: Precision) -> str:
    """Why `device` cannot compute in `asked`, as a sentence."""
    if asked in (_INT8, _INT4):
        return f"{asked} has no gradients: train all weights in bf16, fp16, fp32 or fp8, or fine-tune with qlora"
    known = ", ".join(precision for precision, tflops in device.peak_tflops if tflops > 0) or "nothing we know of"
    return f"{device.name} does not compute in {asked}; it computes in {known}"


def _choose(device: Accelerator, asked: Precision, chain: tuple[Precision, ...]) -> Arithmetic | None:
    for precision in chain:
        peak = device.peak(precision)
        if peak is None or not peak > 0:
            continue
        if precision is asked:
            return Arithmetic(precision, peak, ())
        origin = f"{device.name} does not compute in {asked}: {precision} stands in, at its own peak in TFLOP/s"
        return Arithmetic(precision, peak, (Assumption("arithmetic", peak, origin),))
    return None
