"""Accelerators: what one device can hold, move and compute."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Precision(StrEnum):
    """Number formats of weights and arithmetic."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Of one number in memory, scales aside; TF32 is a way to multiply numbers that lie in memory as FP32."""
        return 32 if self is Precision.TF32 else int(self.lstrip("bfpint"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device as it is sold.

    Peaks are *dense* (never with structured sparsity) tera-operations per second by precision. `memory_gib` is what the
    vendor calls GB and means GiB. `link_gb_s` is the bidirectional device-to-device bandwidth.
    """

    name: str  # canonical, the key offers refer to: "H100-SXM", "A100-80GB", "T4"
    vendor: str
    memory_gib: float
    memory_bandwidth_gb_s: float
    peak_tflops: tuple[tuple[Precision, float], ...]
    tdp_w: float
    link: str = ""
    link_gb_s: float = 0.0
    generation: str = ""  # microarchitecture, lower case: "hopper", "ampere", "cdna3", "cpu"
    year: int = 0
    source: str = ""
    as_of: str = ""  # ISO date of the source

    def peak(self, precision: Precision) -> float | None:
        """Dense peak in TFLOP/s at `precision`, or None where the device does not run it."""
        for known, tflops in self.peak_tflops:
            if known is precision:
                return tflops
        return None

    @property
    def peak16_tflops(self) -> float | None:
        """Dense peak at 16 bits, BF16 before FP16, or None where the device has neither."""
        return self.peak(Precision.BF16) or self.peak(Precision.FP16)

    @property
    def in_racks(self) -> bool:
        """Whether it is sold in racks of 72 behind one switch, as GB200 and GB300 are, and not in nodes of eight."""
        return self.name.startswith("GB")
