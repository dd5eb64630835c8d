"""Bench: what the measuring asks of a framework, and the values the two speak in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import IsoflopError
from orchestrator.domain.workload import Model


class OutOfMemory(IsoflopError):
    """The device has no room for what was asked of it: ask for less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The device at hand, as the framework describes it."""

    framework: str  # with its version: "PyTorch 2.13.0"
    backend: str  # cuda | rocm | mps | cpu
    name: str  # as the driver or the kernel calls it: "NVIDIA H200", "AMD EPYC"
    memory_gib: float  # of the whole device
    free_gib: float  # that a job may take now
    precisions: tuple[Precision, ...]  # of weights and arithmetic, the fastest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The Llama-style decoder that is measured: a model with its whole shape, and whether its embeddings are tied."""

    model: Model
    tied: bool


class Job(Protocol):
    """Something to do again and again. Every method may raise OutOfMemory."""

    def step(self) -> None:
        """Do it once; on return the device has finished."""
        ...

    def peak_bytes(self) -> int | None:
        """The most memory allocated on the device since the job was made; None where the framework does not tell."""
        ...

    def close(self) -> None:
        """Give the memory back; never raises."""
        ...


class Bench(Protocol):
    """One device under one framework. Every method may raise OutOfMemory."""

    def seen(self) -> Seen:
        """What is here."""
        ...

    def product(self, precision: Precision, size: int, times: int) -> Job:
        """`times` products of two square matrices of `size` rows, one after the other."""
        ...

    def copy(self, size_bytes: int, times: int) -> Job:
        """`times` copies of `size_bytes` from one place of the device's memory to another."""
        ...

    def training(self, decoder: Decoder, precision: Precision, *, sequence: int, batch: int) -> Job:
        """One optimizer step (forward, backward, AdamW) on a batch of sequences; FP32 master weights."""
        ...

    def prefill(self, decoder: Decoder, precision: Precision, *, prompt: int, batch: int) -> Job:
        """Reading `batch` prompts into an empty KV cache, up to and with the choice of the first token."""
        ...

    def decode(self, decoder: Decoder, precision: Precision, *, prompt: int, output: int, batch: int) -> Job:
        """One token for each of `batch` sequences, from a context of `prompt` tokens to prompt + output, then again."""
        ...


Precisions = Sequence[Precision]
