"""Steps of training and passes of serving, whatever the model, the devices and the layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import isfinite
from random import Random

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.sizing import FiniteWork, Sizing, Step
from orchestrator.domain.workload import Model, Stack, Training
from orchestrator.sizing import arithmetic, memory
from orchestrator.sizing.engine import Mount
from orchestrator.sizing.layouts import EXPERT, MICRO_BATCH, MOST_CHUNKS, PIPELINE, TENSOR, step_tokens, stepper, wired
from orchestrator.sizing.parameters import bundled
from orchestrator.sizing.shape import shape_of
from orchestrator.sizing.size import size
from orchestrator.sizing.steptime import Cluster
from orchestrator.sizing.throughput import Engine
from orchestrator.sizing.training import Task, reference_tflops, task_of

DEVICES = load()
TRAINERS = [device for device in DEVICES if arithmetic.training_arithmetic(device, Precision.BF16) and device.link]
SERVERS = [device for device in DEVICES if device.memory_bandwidth_gb_s > 0]
CLUSTERS = st.builds(Cluster, node_devices=st.sampled_from([4.0, 8.0, 16.0]), fabric_gb_per_s=st.floats(1.0, 400.0))


@st.composite
def models(draw: st.DrawFn) -> Model:
    heads, layers = draw(st.sampled_from([8, 12, 32, 64])), draw(st.integers(2, 100))
    hidden = heads * 128
    one, rest = layers * 8 * hidden**2, layers * 4 * hidden**2 + 32_000 * hidden
    shape = {"layers": layers, "hidden": hidden, "heads": heads, "kv_heads": draw(st.sampled_from([4, 8]))}
    experts = draw(st.sampled_from([1, 4, 8, 64]))
    chosen = draw(st.sampled_from([1, 2])) if experts > 1 else 1
    said = {"experts": experts, "experts_per_token": chosen} if experts > 1 else {}
    return Model(
        name="m",
        parameters=rest + experts * one,
        active_parameters=rest + chosen * one,
        vocabulary=32_000,
        **shape,
        **said,
    )


jobs = st.builds(
    lambda model, length, sequences, recompute: Training(
        name="t",
        model=model,
        tokens=1e12,
        sequence_length=length,
        global_batch_tokens=float(length * sequences),
        recompute=recompute,
    ),
    models(),
    st.sampled_from([512, 2048, 8192]),
    st.integers(1, 4096),
    st.none() | st.sampled_from(Recompute),
)


def grid(job: Training, gpus: int, most_tensor: float) -> list[Parallelism]:
    """Every layout of the numbers that are searched which the job can be cut into."""
    model = job.model
    assert model.heads
    assert model.layers
    sequences = round((job.global_batch_tokens or 0.0) / job.sequence_length)
    kept = [job.recompute] if job.recompute else [Recompute.SELECTIVE, Recompute.FULL]
    found = []
    for tensor, pipeline, expert in product(TENSOR, PIPELINE, EXPERT if model.experts else (1,)):
        data, rest = divmod(gpus, tensor * pipeline)
        if rest or model.heads % tensor or pipeline > model.layers or tensor > most_tensor or data % expert:
            continue
        if data > sequences or (model.experts and model.experts % expert):
            continue
        shardings = (Sharding.ZERO_1, Sharding.ZERO_3) if pipeline == 1 else (Sharding.ZERO_1,)
        found += [
            Parallelism(
                tensor=tensor,
                pipeline=pipeline,
                data=data,
                expert=expert,
                micro_batch=micro_batch,
                micro_batches=round(sequences / data / micro_batch),
                interleave=min(MOST_CHUNKS, model.layers // pipeline) if pipeline > 1 else 1,
                sharding=sharding,
                recompute=recompute,
            )
            for micro_batch, sharding, recompute in product(MICRO_BATCH, shardings, kept)
            if round(sequences / data / micro_batch) >= 1
        ]
    return found


def stepped(task: Task, device: Accelerator, layout: Parallelism) -> Step:
    chosen = task.choose(device, task.asked)
    assert chosen is not None
    stepping = stepper(task.work, task.cluster, task.parameters)
    return stepping.step(device, chosen, layout, reference_tflops(device, chosen))


def fits(task: Task, device: Accelerator, layout: Parallelism) -> bool:
    chosen = task.choose(device, task.asked)
    assert chosen is not None
    room = memory.capacity_bytes(device) - memory.overhead_bytes(device)
    return sum(task.fit_of(chosen.precision).memory.terms(layout)) <= room


@given(jobs, st.sampled_from(TRAINERS), st.integers(0, 12), CLUSTERS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_layout_that_is_found_fits_and_none_of_fifty_others_that_fit_is_faster(
    job: Training, device: Accelerator, exponent: int, cluster: Cluster, random: Random
) -> None:
    gpus = 2**exponent
    answer = size(job, [device], gpus=gpus, cluster=cluster, layouts=True)[device.name]
    assume(isinstance(answer, Sizing))
    assert isinstance(answer, Sizing)
    assert isinstance(answer.effort, FiniteWork)
    found = answer.effort.step
    task = task_of(job, bundled(), gpus=gpus, cluster=cluster)
    best = found.seconds / step_tokens(found.parallelism, 1.0) if found else None
    if found is not None:
        assert fits(task, device, found.parallelism)
        again = stepped(task, device, found.parallelism)
        assert again.seconds == pytest.approx(found.seconds)
        assert dict(again.parts) == pytest.approx(dict(found.parts))
    others = grid(job, gpus, wired(device, cluster).node_devices)
    assert found is None or found.parallelism in others
    event(f"{'found' if found else 'none'} among {'many' if len(others) > 50 else 'few' if others else 'no'} layouts")
    for other in random.sample(others, min(50, len(others))):
        if not fits(task, device, other):
            continue
        assert best is not None, other
        seconds = stepped(task, device, other).seconds / step_tokens(other, 1.0)
        assert best <= seconds * (1 + 1e-9), other


@given(jobs, st.integers(0, 12), CLUSTERS, st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_a_layout_is_found_whatever_other_devices_it_is_searched_with(
    job: Training, exponent: int, cluster: Cluster, random: Random
) -> None:
    shuffled = random.sample(TRAINERS, 20)
    together = size(job, shuffled, gpus=2**exponent, cluster=cluster, layouts=True)
    for device in shuffled[:5]:
        alone = size(job, [device], gpus=2**exponent, cluster=cluster, layouts=True)
        assert together[device.name] == alone[device.name]


@given(jobs, st.sampled_from(TRAINERS), st.integers(0, 12), CLUSTERS, st.data())
@settings(max_examples=150, deadline=None)
def test_the_parts_of_a_step_are_not_negative_and_sum_to_it(
    job: Training, device: Accelerator, exponent: int, cluster: Cluster, data: st.DataObject
) -> None:
    task = task_of(job, bundled(), gpus=None, cluster=cluster)
    layouts = grid(job, 2**exponent, 64.0)
    assume(layouts)
    layout = data.draw(st.sampled_from(layouts))
    step = stepped(task, device, layout)
    assert all(isfinite(seconds) and seconds >= 0 for _, seconds in step.parts), step.parts
    assert sum(seconds for _, seconds in step.parts) == pytest.approx(step.seconds)
    assert 0 < step.mfu <= 1
    full = stepped(task, device, replace(layout, recompute=Recompute.FULL))
    assert full.seconds >= step.seconds


@given(jobs, st.sampled_from(TRAINERS), st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_more_devices_never_take_fewer_device_hours(job: Training, device: Accelerator, least: int, more: int) -> None:
    few, many = (size(job, [device], gpus=2**n)[device.name] for n in (least, least + more))
    assume(isinstance(few, Sizing))
    assert isinstance(few, Sizing)
    assert isinstance(many, Sizing)
    assert isinstance(few.effort, FiniteWork)
    assert isinstance(many.effort, FiniteWork)
    slack = 1 - 1e-9
    assert many.effort.gpu_hours.p50 >= few.effort.gpu_hours.p50 * slack
    assert few.effort.gpu_hours_on(2.0 ** (least + more)).p50 >= few.effort.gpu_hours.p50 * slack
    # And each does take less time: nobody adds devices to be slower.
    assert many.effort.gpu_hours.p50 / 2**more < few.effort.gpu_hours.p50


@st.composite
def mounts(draw: st.DrawFn) -> Callable[[int, int], Engine]:
    """Engines of one model on one device, by the tokens of prompt and answer."""
    device, model, asked = draw(st.sampled_from(SERVERS)), draw(models()), draw(st.sampled_from(Precision))
    chosen = arithmetic.serving_arithmetic(device, asked)
    assume(chosen is not None)
    assert chosen is not None
    stack, devices, stages = draw(st.sampled_from(Stack)), draw(st.sampled_from([1, 2, 8])), draw(st.integers(1, 8))
    shape, _ = shape_of(model)

    def engine(prompt: int, answer: int) -> Engine:
        mount = Mount(
            model,
            shape,
            device,
            peak_tflops=chosen.peak_tflops,
            peak16_tflops=device.peak(Precision.BF16) or device.peak(Precision.FP16) or chosen.peak_tflops,
            used=chosen.precision,
            weight_bytes=2 * model.parameters,
            kv_bytes_per_token=memory.kv_bytes_per_token(shape, Precision.BF16),
            stack=stack,
            prompt_tokens=float(prompt),
            output_tokens=float(answer),
            parameters=bundled(),
        )
        return mount.on(devices, stages)

    return engine


@given(mounts(), st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 10_000), st.integers(1, 512))
@settings(max_examples=200, deadline=None)
def test_longer_prompts_keep_the_first_token_and_every_other_waiting_for_longer(
    engine: Callable[[int, int], Engine], prompt: int, more: int, answer: int, batch: int
) -> None:
    short, long = engine(prompt, answer), engine(prompt + more, answer)
    assert long.prefill_s > short.prefill_s
    assert long.ttft_s(batch, 0.7) > short.ttft_s(batch, 0.7)
    assert long.ttft_p95_s(batch, 0.7) > short.ttft_p95_s(batch, 0.7)
    assert long.closed_ttft_s(batch) > short.closed_ttft_s(batch)
    assert long.tpot_s(batch) > short.tpot_s(batch)
    assert long.requests_per_s(batch) < short.requests_per_s(batch)


@given(mounts(), st.integers(1, 100_000), st.integers(1, 10_000), st.integers(1, 2000), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_larger_batches_are_slower_for_each_and_never_answer_fewer(
    engine: Callable[[int, int], Engine], prompt: int, answer: int, batch: int, more: int
) -> None:
    one = engine(prompt, answer)
    assert one.step_s(batch + more) >= one.step_s(batch)
    assert one.tpot_s(batch + more) > one.tpot_s(batch)
    assert one.ttft_p95_s(batch + more, 0.7) >= one.ttft_p95_s(batch, 0.7)
    assert one.requests_per_s(batch + more) >= one.requests_per_s(batch) * (1 - 1e-9)
    assert 0 < one.touched_bytes(batch) <= one.weight_bytes * (1 + 1e-12)
    assert one.touched_bytes(batch) <= one.touched_bytes(batch + more) * (1 + 1e-12)
