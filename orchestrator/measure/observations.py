"""Observations: timed cases as the runs that sizing is judged by, and what else they tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.parallelism import Recompute
from orchestrator.measure.cases import ServingCase, TrainingCase
from orchestrator.measure.repeats import UNSTEADY, Repeats
from orchestrator.sizing.observed import InferenceRun, TrainingRun

FAMILY = "isoflop-measured"
ENGINE = "pytorch"
MOST_MFU = 1.0  # of 6·N alone
GIB = float(1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and when the runs were made."""

    accelerator: Accelerator
    peak16_tflops: float
    now: datetime

    def name(self, kind: str, number: int) -> str:
        """An id that no other session gives: "M-H200-20261122T041500-T1"."""
        return f"M-{self.accelerator.name}-{self.now:%Y%m%dT%H%M%S}-{kind}{number}"


def training_run(case: TrainingCase, steps: Repeats, place: Place, number: int) -> TrainingRun:
    """The median step of `case` on one device. MFU counts attention in full, as the field quotes it."""
    decoder = case.decoder
    tokens_per_s = case.tokens / steps.median_s
    return TrainingRun(
        id=place.name("T", number),
        family=FAMILY,
        group=f"bench|{FAMILY}|{decoder.name}|{place.accelerator.name}",
        benchmark=True,
        model=decoder.model(),
        accelerator=place.accelerator.name,
        generation=place.accelerator.generation,
        peak16_tflops=place.peak16_tflops,
        gpus=1,
        precision=case.precision,
        sequence_length=case.sequence,
        global_batch_tokens=float(case.tokens),
        tensor=1,
        pipeline=1,
        data=1,
        micro_batch=case.batch,
        recompute=Recompute.NONE,
        year=place.now.year,
        flops=6.0 * decoder.parameters,
        mfu=tokens_per_s * decoder.training_flops(case.sequence) / (place.peak16_tflops * 1e12),
        tokens_per_s_per_gpu=tokens_per_s,
    )


def serving_run(case: ServingCase, prefill: Repeats, decode: Repeats, place: Place, number: int) -> InferenceRun:
    """One request's TTFT and TPOT, or of a batch that starts and ends together TPOT and throughput.

    The throughput is batch·answer / (prefill + (answer - 1)·decode): the first token comes with the prefill.
    """
    decoder, alone = case.decoder, case.batch == 1
    whole_s = prefill.median_s + (case.output - 1) * decode.median_s
    mode = "single" if alone else "static"
    width = case.precision
    return InferenceRun(
        id=place.name("I", number),
        family=FAMILY,
        group=f"{decoder.name}|{place.accelerator.name}|{mode}",
        engine=ENGINE,
        mode=mode,
        model=decoder.model(),
        accelerator=place.accelerator.name,
        generation=place.accelerator.generation,
        devices=1,
        weights=width,
        kv=width,
        concurrency=float(case.batch),
        prompt_tokens=case.prompt,
        output_tokens=case.output,
        year=place.now.year,
        ttft_s=prefill.median_s if alone else None,
        tpot_s=decode.median_s,
        output_tokens_per_s=None if alone else case.batch * case.output / whole_s,
    )


def doubt(case: TrainingCase | ServingCase, what: str, repeats: Repeats) -> str:
    """Why repeats that are not steady make no row."""
    return (
        f"{case.label}: no row, because the slowest of its {what} took {repeats.spread:.1f} times as long as the"
        f" quickest (10 % left out at either end; up to {UNSTEADY:g} is believed): other load on the machine, or heat"
    )


def impossible(run: TrainingRun) -> str:
    """Why a run that beats the peak makes no row; empty where it does not."""
    reached = (run.tokens_per_s_per_gpu or 0.0) * run.flops / 1e12
    if reached <= run.peak16_tflops * MOST_MFU:
        return ""
    return (
        f"training {run.model.name}: no row, because {reached:.4g} TFLOP/s are more than the peak of"
        f" {run.peak16_tflops:.4g}: other load while a product was measured, or another device than it says"
    )


def memory_note(case: TrainingCase, peak_bytes: int) -> str:
    """The most that PyTorch allocated beside what sizing predicts."""
    predicted = case.memory_bytes
    return (
        f"{case.label}: {peak_bytes / GIB:,.2f} GiB allocated at the most, {predicted / GIB:,.2f} predicted"
        f" ({predicted / peak_bytes - 1.0:+.0%})"
    )
