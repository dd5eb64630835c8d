"""Cases: what is worth measuring on a device, and what each case takes of its memory and time before it is tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final, TypeAlias

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.measure.bench import Seen
from orchestrator.measure.decoders import LADDER, Decoder
from orchestrator.sizing.recipes import Framework
from orchestrator.sizing.training_memory import MemoryModel

CPU = "cpu"
WIDTH: Final = {Precision.FP32: 4.0, Precision.FP16: 2.0, Precision.BF16: 2.0}  # bytes of one number

MEMORY_SHARE: Final = 0.85  # of what is free; the rest is for the allocator's fragments and the framework itself

# First guesses, corrected by what the session sees: shares of the measured product and copy that real passes reach, and
# the host's time for one layer of one pass.
PRODUCT_SHARE: Final = 0.5
COPY_SHARE: Final = 0.5
STATE_TRAFFIC_BYTES: Final = 28.0  # per parameter: AdamW reads and writes weight and two moments and reads the gradient
HOST_LAYER_S: Final = 1.5e-4

# (tokens of a sequence, sequences of a batch); (tokens of a prompt, tokens of an answer, requests at once)
TRAINING_GPU: Final = ((2048, 1), (2048, 4), (2048, 16), (8192, 1), (8192, 4))
TRAINING_CPU: Final = ((128, 1), (256, 1), (256, 4), (512, 2), (1024, 1))
SERVING_GPU: Final = ((512, 64, 1), (2048, 64, 1), (512, 64, 8), (2048, 64, 8), (2048, 64, 32), (512, 64, 64))
SERVING_CPU: Final = ((64, 16, 1), (256, 16, 1), (64, 16, 4), (256, 16, 4), (64, 16, 16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the two small measurements saw of the device."""

    flop_per_s: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCase:
    """One optimizer step of `batch` sequences."""

    decoder: Decoder
    precision: Precision
    sequence: int
    batch: int

    @property
    def label(self) -> str:
        """The case in words."""
        return f"training {self.decoder.name}, {self.batch} x {self.sequence:,} tokens, {self.precision}"

    @property
    def tokens(self) -> int:
        """Of one step."""
        return self.sequence * self.batch

    @property
    def memory_bytes(self) -> float:
        """What sizing says that the step allocates at the most: PyTorch's states, nothing sharded or recomputed."""
        model = MemoryModel(
            self.decoder.model(),
            sequence_length=self.sequence,
            precision=self.precision,
            framework=Framework.FSDP,
        )
        return model.total(
            Parallelism(micro_batch=self.batch, sharding=Sharding.NONE, recompute=Recompute.NONE),
        )

    def seconds(self, rates: Rates) -> float:
        """A guess at one step: its FLOPs, and the optimizer's pass over its state."""
        product = self.tokens * self.decoder.training_flops(self.sequence) / (rates.flop_per_s * PRODUCT_SHARE)
        state = STATE_TRAFFIC_BYTES * self.decoder.parameters / (rates.bytes_per_s * COPY_SHARE)
        return product + state + 3.0 * HOST_LAYER_S * self.decoder.layers


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCase:
    """`batch` answers of `output` tokens to prompts of `prompt` tokens."""

    decoder: Decoder
    precision: Precision
    prompt: int
    output: int
    batch: int

    @property
    def label(self) -> str:
        """The case in words."""
        return f"serving {self.decoder.name}, {self.batch} x {self.prompt:,} tokens in, {self.precision}"

    @property
    def tokens(self) -> int:
        """Of all prompts."""
        return self.prompt * self.batch

    @property
    def memory_bytes(self) -> float:
        """An upper estimate of the most memory that it allocates."""
        shape, width = self.decoder, WIDTH[self.precision]
        cache = self.batch * (self.prompt + self.output) * shape.kv_bytes(width)
        passing = self.tokens * (6.0 * shape.hidden + 3.0 * shape.feed_forward) * width
        return shape.parameters * width + cache + passing

    def seconds(self, rates: Rates) -> float:
        """A guess at one prefill and a quarter of the decoding: about what a case takes per repeat."""
        shape, width = self.decoder, WIDTH[self.precision]
        host = HOST_LAYER_S * shape.layers
        prefill = 2.0 * shape.parameters * self.tokens / (rates.flop_per_s * PRODUCT_SHARE) + host
        step = shape.parameters * width / (rates.bytes_per_s * COPY_SHARE) + host
        return prefill + step * self.output / 4.0


Case: TypeAlias = TrainingCase | ServingCase


def cases(seen: Seen, rates: Rates) -> tuple[Case, ...]:
    """Every case that should fit the device's free memory: training and serving in turn, the quickest of each first.

    Of a second 16-bit format, only the smallest model is trained: on most devices both run at one speed. Training in
    FP32 is a case only where the device has no 16-bit format, because MFU is counted against 16-bit peaks.
    """
    cpu = seen.backend == CPU
    training, serving = (TRAINING_CPU, SERVING_CPU) if cpu else (TRAINING_GPU, SERVING_GPU)
    ladder = LADDER if cpu else LADDER[1:]  # a GPU would wait for its host at every step of the smallest
    first, *others = seen.precisions
    trained: list[Case] = [
        TrainingCase(decoder=decoder, precision=first, sequence=sequence, batch=batch)
        for decoder in ladder
        for sequence, batch in training
    ]
    trained += [
        TrainingCase(decoder=ladder[0], precision=precision, sequence=training[1][0], batch=training[1][1])
        for precision in others
        if precision is not Precision.FP32
    ]
    served: list[Case] = [
        ServingCase(decoder=decoder, precision=first, prompt=prompt, output=output, batch=batch)
        for decoder in ladder
        for prompt, output, batch in serving
    ]
    orders = (sorted(fitting(kind, seen), key=lambda case: case.seconds(rates)) for kind in (trained, served))
    return tuple(case for pair in zip_longest(*orders) for case in pair if case is not None)


def fitting(found: Iterable[Case], seen: Seen) -> list[Case]:
    """Those of `found` that the device's free memory should hold."""
    return [case for case in found if case.memory_bytes <= seen.free_gib * 2**30 * MEMORY_SHARE]


def halved(case: Case) -> Case | None:
    """The same case with half of the batch; None where one sequence was too much."""
    return replace(case, batch=case.batch // 2) if case.batch > 1 else None


def as_large(case: Case, failed: Case) -> bool:
    """Whether `case` is bound to fail where `failed` had no room: the same work and model on as many tokens or more."""
    return type(case) is type(failed) and case.decoder == failed.decoder and case.tokens >= failed.tokens
