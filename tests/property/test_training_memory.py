"""What holds for the memory of every layout: nothing negative, more devices never hold more each, work scales it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import isclose

from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.workload import Method, Model
from orchestrator.sizing.parts import parameter_split
from orchestrator.sizing.recipes import Framework
from orchestrator.sizing.training_memory import MemoryModel

EXACT = 1e-9
powers = st.sampled_from([1, 2, 4, 8])


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Shapes that make about their stated total, dense or a mixture, given in full or by the total alone."""
    layers, heads = draw(st.integers(16, 128)), draw(st.sampled_from([8, 16, 32, 64]))
    hidden = heads * draw(st.sampled_from([64, 128]))
    vocabulary = draw(st.integers(1000, 260_000))
    dense = 12.0 * layers * hidden**2 + 2.0 * vocabulary * hidden
    experts = draw(st.sampled_from([None, 8, 64]))
    routed = 2 if experts else None
    extra = draw(st.floats(1.5, 20.0)) * dense if experts else 0.0
    total = dense + extra
    active = total - extra * (1.0 - 2.0 / experts) if experts else total
    if draw(st.booleans()):
        return Model(name="m", parameters=total, active_parameters=active)
    return Model(
        name="m",
        parameters=total,
        active_parameters=active,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads // draw(st.sampled_from([1, 4, 8])),
        vocabulary=vocabulary,
        gated=draw(st.sampled_from([None, True, False])),
        experts=experts,
        experts_per_token=routed,
    )


@st.composite
def memories(draw: st.DrawFn) -> MemoryModel:
    return MemoryModel(
        draw(models()),
        sequence_length=draw(st.integers(128, 131_072)),
        precision=draw(st.sampled_from([Precision.FP32, Precision.BF16, Precision.FP8])),
        method=draw(st.sampled_from(Method)),
        framework=draw(st.sampled_from([None, *Framework])),
        chunked_loss=draw(st.booleans()),
    )


@st.composite
def layouts(draw: st.DrawFn) -> Parallelism:
    pipeline, data = draw(powers), draw(st.sampled_from([1, 2, 8, 64, 512]))
    return Parallelism(
        tensor=draw(powers),
        pipeline=pipeline,
        data=data,
        context=draw(st.sampled_from([1, 2, 4])),
        expert=min(data, draw(powers)),
        micro_batch=draw(st.integers(1, 16)),
        micro_batches=draw(st.integers(1, 64)),
        interleave=draw(st.sampled_from([1, 2])) if pipeline > 1 else 1,
        sharding=draw(st.sampled_from(Sharding)),
        recompute=draw(st.sampled_from(Recompute)),
        sequence_parallel=draw(st.booleans()),
    )


def no_more(less: float, more: float) -> bool:
    return less <= more * (1.0 + EXACT)


@given(models())
def test_parts_are_never_negative_and_sum_to_the_model(model: Model) -> None:
    parts = parameter_split(model)
    assert min(parts.embedding, parts.attention, parts.feed_forward, parts.experts, parts.norms, parts.head) >= 0
    assert isclose(parts.total, model.parameters, rel_tol=1e-9)
    assert 0 <= parts.routed_share < 1


@given(memories(), layouts())
def test_no_term_is_negative_and_they_sum_to_the_total(memory: MemoryModel, layout: Parallelism) -> None:
    terms = memory.terms(layout)
    assert min(terms) >= 0
    assert isclose(terms.total, memory.total(layout), rel_tol=EXACT)


@given(memories(), layouts())
def test_asking_in_another_order_changes_nothing(memory: MemoryModel, layout: Parallelism) -> None:
    before = memory.total(layout)
    memory.terms(replace(layout, tensor=layout.tensor * 2, sharding=Sharding.NONE))
    assert memory.total(layout) == before


@given(memories(), layouts())
def test_more_tensor_parallel_devices_hold_no_more_each(memory: MemoryModel, layout: Parallelism) -> None:
    assert no_more(memory.total(replace(layout, tensor=layout.tensor * 2)), memory.total(layout))


@given(memories(), layouts(), st.sampled_from(Sharding))
def test_more_data_parallel_devices_hold_no_more_each(
    memory: MemoryModel, layout: Parallelism, sharding: Sharding
) -> None:
    layout = replace(layout, sharding=sharding)
    assert no_more(memory.total(replace(layout, data=layout.data * 2)), memory.total(layout))


@given(memories(), layouts())
def test_more_stages_hold_no_more_each(memory: MemoryModel, layout: Parallelism) -> None:
    """But for an interleaved schedule, and for PyTorch's ZeRO-3, which keeps a stage gathered once there are stages."""
    layout = replace(layout, interleave=1)
    assume(layout.pipeline > 1 or layout.sharding is not Sharding.ZERO_3)
    assert no_more(memory.total(replace(layout, pipeline=layout.pipeline * 2)), memory.total(layout))


@given(memories(), layouts())
def test_each_stage_of_zero_holds_no_more_states_than_the_one_before(memory: MemoryModel, layout: Parallelism) -> None:
    layout = replace(layout, data=max(layout.data, 8), pipeline=1)  # the fullest stage need not be the same one
    framework = memory.terms(replace(layout, sharding=Sharding.ZERO_2)).weights
    assume(framework <= memory.terms(replace(layout, sharding=Sharding.ZERO_1)).weights)  # FSDP's ZeRO-2 keeps a copy
    states = [memory.terms(replace(layout, sharding=sharding)).states for sharding in Sharding]
    assert all(no_more(after, before) for before, after in pairwise(states))


@given(memories(), layouts())
def test_recomputing_more_never_takes_more(memory: MemoryModel, layout: Parallelism) -> None:
    assume(memory.parts.shape.layers >= layout.pipeline)
    none, selective, full = (memory.total(replace(layout, recompute=mode)) for mode in Recompute)
    assert no_more(selective, none)
    assert no_more(full, selective)


@given(memories(), layouts())
def test_twice_the_micro_batch_is_twice_the_activations(memory: MemoryModel, layout: Parallelism) -> None:
    layout = replace(layout, pipeline=1, interleave=1)
    once, twice = (memory.terms(replace(layout, micro_batch=count)) for count in (3, 6))
    assert isclose(twice.activations, 2 * once.activations, rel_tol=EXACT)
    assert twice[:3] == once[:3]
    assert twice.buffers == once.buffers


@given(models(), powers, powers, st.sampled_from([1, 2, 8]))
def test_the_devices_of_one_copy_hold_the_models_weights(model: Model, tensor: int, expert: int, data: int) -> None:
    """Under ZeRO-3 all devices hold one copy; without, each of data / expert groups holds its experts' copy."""
    memory = MemoryModel(model, sequence_length=128, framework=Framework.ZERO)
    expert = min(expert, data)
    layout = Parallelism(tensor=tensor, data=data, expert=expert)
    held = memory.terms(replace(layout, sharding=Sharding.ZERO_3)).weights * layout.devices
    assert isclose(held, 2.0 * model.parameters, rel_tol=1e-6)
    whole = memory.terms(replace(layout, sharding=Sharding.NONE)).weights * layout.devices
    parts = memory.parts
    copies = (parts.total - parts.experts) * data + parts.experts * data / expert
    assert isclose(whole, 2.0 * copies, rel_tol=1e-6)


@given(memories(), layouts(), st.floats(0.0, 1e12))
def test_the_largest_micro_batch_is_the_last_that_fits(memory: MemoryModel, layout: Parallelism, room: float) -> None:
    most = memory.largest_micro_batch(layout, room)
    if most:
        assert no_more(memory.total(replace(layout, micro_batch=most)), room)
    assert memory.total(replace(layout, micro_batch=most + 1)) * (1.0 + EXACT) >= room
