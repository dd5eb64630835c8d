"""Bench: what measuring asks of a framework, and the values the two speak in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import IsoflopError
from orchestrator.measure.decoders import Decoder


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
    precisions: tuple[Precision, ...]  # that it multiplies in, the one for rows first
    threads: int = 0  # of the CPU; 0 for other devices
    load: float = 0.0  # of the CPU before anything is measured: processes that want to run, per thread


class Job(Protocol):
    """Something to do again and again."""

    def step(self) -> None:
        """Do it once; on return the device has finished. Raises: OutOfMemory."""
        ...

    def peak_bytes(self) -> int | None:
        """The most memory allocated on the device since the job was made; None where the framework does not tell."""
        ...

    def close(self) -> None:
        """Give the memory back; never raises."""
        ...


class Serving(Protocol):
    """A model that answers `batch` requests at once."""

    def prefill(self) -> None:
        """Read every prompt into an empty KV cache and choose the first tokens; done on return. Raises: OutOfMemory."""
        ...

    def decode(self) -> None:
        """One more token of every answer, and after the last one the second again; done on return.

        Raises: OutOfMemory.
        """
        ...

    def close(self) -> None:
        """Give the memory back; never raises."""
        ...


class Bench(Protocol):
    """One device under one framework."""

    def seen(self) -> Seen:
        """What is here."""
        ...

    def product(self, precision: Precision, size: int, times: int) -> Job:
        """`times` products of two square matrices of `size` rows, one after the other. Raises: OutOfMemory."""
        ...

    def copy(self, size_bytes: int, times: int) -> Job:
        """`times` copies of `size_bytes` from one place of the device's memory to another. Raises: OutOfMemory."""
        ...

    def training(self, decoder: Decoder, precision: Precision, *, sequence: int, batch: int) -> Job:
        """One optimizer step (forward, backward, AdamW) on one batch of sequences; weights and states in FP32.

        Raises: OutOfMemory.
        """
        ...

    def serving(self, decoder: Decoder, precision: Precision, *, prompt: int, output: int, batch: int) -> Serving:
        """Answers of `output` tokens to prompts of `prompt` tokens, with a KV cache. Raises: OutOfMemory."""
        ...
