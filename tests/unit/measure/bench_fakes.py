"""A bench without a framework: every step moves a clock by what it is told to take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat

from orchestrator.domain.accelerator import Precision
from orchestrator.measure.bench import OutOfMemory, Seen
from orchestrator.measure.decoders import Decoder
from orchestrator.testing.clock import EPOCH, FakeClock

H200 = Seen(
    framework="Fake 1.0",
    backend="cuda",
    name="NVIDIA H200",
    memory_gib=139.8,
    free_gib=139.0,
    precisions=(Precision.BF16, Precision.FP16, Precision.FP32),
)
CPU = Seen(
    framework="Fake 1.0",
    backend="cpu",
    name="Some CPU",
    memory_gib=64.0,
    free_gib=60.0,
    precisions=(Precision.FP32,),
    threads=4,
)


@dataclass
class FakeJob:
    """Each step takes the next of `seconds`."""

    clock: FakeClock
    seconds: Iterator[float]
    peak: int | None = None
    open: list[FakeJob] = field(default_factory=list)
    full: bool = False

    def __post_init__(self) -> None:
        self.open.append(self)

    def step(self) -> None:
        if self.full:
            raise OutOfMemory("the device is full")
        self.clock.advance(next(self.seconds))

    prefill = step
    decode = step

    def peak_bytes(self) -> int | None:
        return self.peak

    def close(self) -> None:
        self.open.remove(self)


@dataclass
class FakeBench:
    """A device on which a step of a kind takes a fixed time, or what `seconds_of` says of the work."""

    clock: FakeClock
    described: Seen = H200
    product_s: float = 0.03
    copy_s: float = 0.01
    seconds_of: Callable[[Decoder, int], Iterator[float]] = lambda decoder, tokens: repeat(0.1)
    fits: Callable[[Decoder, int], bool] = lambda decoder, tokens: True
    fills_up: Callable[[Decoder, int], bool] = lambda decoder, tokens: False
    peak: int | None = None
    asked: list[tuple[str, str, int]] = field(default_factory=list)  # kind, model, tokens
    open: list[FakeJob] = field(default_factory=list)

    def seen(self) -> Seen:
        return self.described

    def product(self, precision: Precision, size: int, times: int) -> FakeJob:
        return self._job(repeat(self.product_s))

    def copy(self, size_bytes: int, times: int) -> FakeJob:
        return self._job(repeat(self.copy_s))

    def training(self, decoder: Decoder, precision: Precision, *, sequence: int, batch: int) -> FakeJob:
        return self._of("training", decoder, sequence * batch)

    def serving(self, decoder: Decoder, precision: Precision, *, prompt: int, output: int, batch: int) -> FakeJob:
        return self._of("serving", decoder, prompt * batch)

    def _of(self, kind: str, decoder: Decoder, tokens: int) -> FakeJob:
        self.asked.append((kind, decoder.name, tokens))
        if not self.fits(decoder, tokens):
            raise OutOfMemory("the device is full")
        job = self._job(self.seconds_of(decoder, tokens))
        job.full = self.fills_up(decoder, tokens)
        job.peak = self.peak
        return job

    def _job(self, seconds: Iterator[float]) -> FakeJob:
        return FakeJob(self.clock, seconds, open=self.open)


def wavering(low: float, high: float) -> Iterator[float]:
    """Steps that take now `low`, now `high` seconds."""
    return chain.from_iterable(repeat((low, high)))


def timer_of(clock: FakeClock) -> Callable[[], float]:
    """Seconds of `clock` since the beginning."""

    def read() -> float:
        return (clock.now() - EPOCH).total_seconds()

    return read
