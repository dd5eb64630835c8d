"""The fewest devices that hold a job, against trying every count in turn."""

from __future__ import annotations

import pytest

from orchestrator.sizing.fit import MOST_DEVICES, TENSOR_PARALLEL, Fit, Fits
from orchestrator.sizing.training_memory import MemoryModel
from tests.unit.sizing.given import LLAMA_7B, MIXTRAL

GIB = float(1 << 30)


def fits(sequence_length: int = 4096, micro_batch: int = 1, model: object = LLAMA_7B) -> Fits:
    assert model in (LLAMA_7B, MIXTRAL)
    known = LLAMA_7B if model is LLAMA_7B else MIXTRAL
    return Fits(MemoryModel(known, sequence_length=sequence_length), micro_batch=micro_batch)


def tried(job: Fits, room: float, most: int) -> int | None:
    """The least count that holds the job by asking the memory model itself, multiples of every split."""
    for devices in range(1, most + 1):
        for tensor in TENSOR_PARALLEL:
            if devices % tensor == 0 and job.memory.total(job.layout(Fit(devices, tensor))) <= room:
                return devices
    return None


@pytest.mark.parametrize("model", [LLAMA_7B, MIXTRAL])
@pytest.mark.parametrize("sequence_length", [512, 4096, 65_536])
@pytest.mark.parametrize("room_gib", [6.0, 11.0, 15.0, 22.0, 37.0, 73.0, 130.0, 1000.0])
def test_the_least_devices_are_those_that_trying_every_count_finds(
    model: object, sequence_length: int, room_gib: float
) -> None:
    job = fits(sequence_length, model=model)
    found = job.least(room_gib * GIB)
    wanted = tried(job, room_gib * GIB, 200)
    if wanted is None:
        assert found is None or found.devices > 200
    else:
        assert found is not None
        assert found.devices == wanted
        assert sum(job.terms(found)) <= room_gib * GIB * (1 + 1e-9)


def test_layers_are_split_only_where_that_takes_fewer_devices() -> None:
    roomy, tight = fits(4096).least(73 * GIB), fits(65_536).least(37 * GIB)
    assert roomy is not None
    assert tight is not None
    assert roomy.tensor == 1
    assert tight.tensor > 1


def test_larger_micro_batches_never_take_fewer_devices() -> None:
    counts = []
    for micro_batch in (1, 4, 16, 64):
        found = fits(4096, micro_batch).least(37 * GIB)
        assert found is not None
        counts.append(found.devices)
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_no_job_gets_more_devices_than_the_largest_published_runs_had() -> None:
    job = fits(512)
    fixed, state = job.smallest()
    assert job.least(fixed + state / MOST_DEVICES * 0.99) is None
    found = job.least(fixed + state / MOST_DEVICES * 1.01)
    assert found is not None
    assert found.devices <= MOST_DEVICES
    assert found.devices > 0.9 * MOST_DEVICES


def test_a_device_that_holds_the_job_to_the_byte_holds_it_alone() -> None:
    job = fits()
    total = job.memory.total(job.layout(Fit(1, 1)))
    assert job.least(total) == Fit(1, 1)
    short = job.least(total * (1 - 1e-6))
    assert short is not None
    assert short.devices == 2
