"""Fit: the fewest devices that hold a training job, and what it holds on them."""

from __future__ import annotations

from math import ceil, inf
from typing import Final, NamedTuple

from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.sizing.training_memory import MemoryModel, Terms

MOST_DEVICES: Final = 16_384  # of one job: the largest published training runs
TENSOR_PARALLEL: Final = (1, 2, 4, 8)  # devices of one node that split a sequence's activations
FAR: Final = 1 << 16  # data-parallel devices over which a share of the state is as good as nothing


class Fit(NamedTuple):
    """The least number of devices that hold a job, and how many of them split each layer."""

    devices: int
    tensor: int


class _Line(NamedTuple):
    """Bytes on each of n devices at one tensor split: fixed + shared/n, and `alone` without data parallelism."""

    tensor: int
    fixed: float
    shared: float
    alone: float


class Fits:
    """How many devices a job needs, by the room on each: fully sharded (ZeRO-3) with full recompute, the least memory.

    Bytes on one of n devices are a constant and a share of the state (Rajbhandari et al. 2020), so that two values of
    the memory model say all.
    """

    __slots__ = ("_lines", "_micro_batch", "memory")

    def __init__(self, memory: MemoryModel, *, micro_batch: int) -> None:
        self.memory = memory
        self._micro_batch = micro_batch
        self._lines: dict[int, _Line] = {}  # wide splits are rarely asked about

    def _line(self, tensor: int) -> _Line:
        if tensor not in self._lines:
            self._lines[tensor] = self._drawn(tensor)
        return self._lines[tensor]

    def _drawn(self, tensor: int) -> _Line:
        alone = self.memory.total(self.layout(Fit(tensor, tensor)))
        two = self.memory.total(self.layout(Fit(tensor * 2, tensor)))
        far = self.memory.total(self.layout(Fit(tensor * FAR, tensor)))
        # two = fixed + share/2 and far = fixed + share/FAR, with shared counted per device of both kinds
        share = (two - far) / (0.5 - 1.0 / FAR)
        return _Line(tensor, far - share / FAR, share * tensor, alone)

    def layout(self, fit: Fit) -> Parallelism:
        """The layout that is meant: one that takes the least memory, not the fastest."""
        return Parallelism(
            tensor=fit.tensor,
            data=max(1, fit.devices // fit.tensor),
            micro_batch=self._micro_batch,
            sharding=Sharding.ZERO_3,
            recompute=Recompute.FULL,
        )

    def least(self, room: float) -> Fit | None:
        """The fewest devices with `room` bytes each that hold the job; None where MOST_DEVICES do not."""
        best: Fit | None = None
        for tensor in TENSOR_PARALLEL:
            if best is not None and tensor >= best.devices:
                break  # a wider split takes at least its own width
            line = self._line(tensor)
            if line.alone <= room:
                devices = line.tensor
            elif line.fixed < room and line.shared <= (room - line.fixed) * MOST_DEVICES:
                devices = line.tensor * max(2, ceil(line.shared / (room - line.fixed) / line.tensor - 1e-9))
            else:
                continue
            if devices <= MOST_DEVICES and (best is None or devices < best.devices):
                best = Fit(devices, line.tensor)
        return best

    def terms(self, fit: Fit) -> Terms:
        """Bytes by term on one device."""
        return self.memory.terms(self.layout(fit))

    def smallest(self) -> tuple[float, float]:
        """Bytes that every device holds at the widest split, and the state that is shared out: for a refusal."""
        lines = [self._line(tensor) for tensor in TENSOR_PARALLEL]
        line = min(lines, key=lambda each: each.fixed if each.fixed > 0 else inf)
        return line.fixed, line.shared
