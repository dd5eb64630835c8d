"""What holds for every sizing: terms add up, bands are ordered, and more work never takes less."""

from __future__ import annotations

from dataclasses import replace
from math import isclose, isfinite

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.domain.sizing import Band, FiniteWork, Service, Sizing
from orchestrator.domain.workload import (
    BatchInference,
    FineTune,
    Inference,
    LatencyTarget,
    Limits,
    Method,
    Model,
    Population,
    Stack,
    Training,
    Workload,
)
from orchestrator.sizing.size import size

DEVICES = load()

sizes = st.floats(6.0, 12.3).map(lambda exponent: 10.0**exponent)  # every order of magnitude alike
precisions = st.sampled_from(Precision)
few = st.sampled_from(DEVICES)


@st.composite
def models(draw: st.DrawFn) -> Model:
    parameters = draw(sizes)
    shape = draw(st.booleans())
    heads = draw(st.integers(1, 128))
    hidden = heads * draw(st.integers(16, 160)) if shape else draw(st.none() | st.integers(64, 20_000))
    return Model(
        name="m",
        parameters=parameters,
        active_parameters=parameters * draw(st.floats(0.02, 1.0)),
        layers=draw(st.integers(1, 200)) if shape or draw(st.booleans()) else None,
        hidden=hidden,
        heads=heads if shape else None,
        kv_heads=draw(st.integers(1, heads)) if shape else None,
        vocabulary=draw(st.integers(1000, 300_000)) if shape else None,
    )


@st.composite
def trainings(draw: st.DrawFn) -> Training | FineTune:
    facts = {
        "name": "t",
        "model": draw(models()),
        "tokens": draw(st.floats(1.0, 1e14)),
        "precision": draw(precisions),
        "sequence_length": draw(st.integers(1, 200_000)),
        "micro_batch": draw(st.integers(1, 16)),
        "mfu": draw(st.none() | st.floats(0.01, 1.0)),
    }
    if draw(st.booleans()):
        least = facts["sequence_length"] * facts["micro_batch"]
        batch = draw(st.none() | st.floats(1.0, 1e4).map(lambda passes: passes * least))
        return Training(**facts, global_batch_tokens=batch, recompute=draw(st.none() | st.sampled_from(Recompute)))
    return FineTune(**facts, method=draw(st.sampled_from(Method)), lora_rank=draw(st.integers(1, 512)))


@st.composite
def servings(draw: st.DrawFn) -> Inference | BatchInference:
    facts = {
        "name": "s",
        "model": draw(models()),
        "prompt_tokens": draw(st.integers(1, 200_000)),
        "output_tokens": draw(st.integers(1, 20_000)),
        "precision": draw(precisions),
        "kv_precision": draw(precisions),
        "stack": draw(st.sampled_from(Stack)),
    }
    stack = facts["stack"]
    if facts["precision"] in stack.lacks or facts["kv_precision"] in stack.lacks_for_cache:
        facts["stack"] = Stack.VLLM
    narrower = [each for each in Precision if each.bits < facts["precision"].bits and each not in facts["stack"].lacks]
    facts["quantise"] = tuple(draw(st.lists(st.sampled_from(narrower), max_size=2))) if narrower else ()
    if draw(st.booleans()):
        return BatchInference(**facts, requests=draw(st.floats(1.0, 1e12)))
    limit = st.none() | st.floats(1e-3, 1e3)
    latency = LatencyTarget(first_token_s=draw(limit), per_token_s=draw(limit), total_s=draw(limit))
    users = (Population("Paris", draw(st.floats(0.0, 1e6))),)
    ratio = draw(st.just(1.0) | st.floats(1.0, 100.0))
    return Inference(**facts, users=users, limits=Limits(latency=latency), peak_over_mean=ratio)


workloads = st.one_of(trainings(), servings())


def bands(answer: Sizing) -> tuple[Band, ...]:
    effort = answer.effort
    if isinstance(effort, FiniteWork):
        return (effort.gpu_hours, effort.energy_kwh)
    assert effort.ttft_p95_s is not None
    assert effort.e2e_s is not None
    return (effort.ttft_s, effort.tpot_s, effort.ttft_p95_s, effort.e2e_s)


@given(workloads)
@settings(max_examples=60, deadline=None)
def test_terms_add_up_fit_and_are_finite_and_bands_are_ordered(job: Workload) -> None:
    answers = size(job, DEVICES)
    assert set(answers) == {device.name for device in DEVICES}
    for answer in answers.values():
        if not isinstance(answer, Sizing):
            assert answer.detail
            continue
        assert all(isfinite(term.gib) and term.gib >= 0 for term in answer.memory)
        per_gpu = sum(term.gib for term in answer.memory) / answer.min_gpus
        assert abs(per_gpu - answer.memory_per_gpu_gib) <= 1e-9 * per_gpu
        assert per_gpu <= answer.capacity_per_gpu_gib * (1 + 1e-9)
        assert answer.min_gpus >= 1
        assert 0 < answer.mfu.value <= 1
        assert all(isfinite(assumption.value) and assumption.origin for assumption in answer.assumptions)
        assert isfinite(answer.flops)
        for band in bands(answer):
            assert 0 <= band.p10 <= band.p50 <= band.p90
            assert isfinite(band.p90)


@given(workloads, st.permutations(DEVICES))
@settings(max_examples=100, deadline=None)
def test_the_order_and_the_company_of_devices_do_not_change_a_sizing(
    job: Workload, shuffled: list[Accelerator]
) -> None:
    together = size(job, DEVICES)
    assert size(job, shuffled) == together
    assert size(job, shuffled[:1]) == {shuffled[0].name: together[shuffled[0].name]}


@given(trainings(), st.floats(1.0, 10.0))
@settings(max_examples=60, deadline=None)
def test_work_grows_in_step_with_tokens_and_the_devices_that_hold_it_do_not(
    job: Training | FineTune, more: float
) -> None:
    less, most = size(job, DEVICES), size(replace(job, tokens=job.tokens * more), DEVICES)
    for name, small in less.items():
        large = most[name]
        assert isinstance(large, Sizing) == isinstance(small, Sizing)
        if isinstance(small, Sizing) and isinstance(large, Sizing):
            assert isclose(large.flops, small.flops * more, rel_tol=1e-9)
            assert large.min_gpus == small.min_gpus
            assert isinstance(small.effort, FiniteWork)
            assert isinstance(large.effort, FiniteWork)
            assert isclose(large.effort.gpu_hours.p50, small.effort.gpu_hours.p50 * more, rel_tol=1e-9)


@given(workloads, st.floats(1.0, 10.0), few)
@settings(max_examples=200, deadline=None)
def test_a_bigger_model_never_fits_fewer_devices(job: Workload, more: float, device: Accelerator) -> None:
    model = job.model
    bigger = replace(model, parameters=model.parameters * more, active_parameters=model.active_parameters * more)
    free = replace(job, limits=Limits())  # latency may refuse the small one on its fewer, slower devices
    small, large = (size(each, [device])[device.name] for each in (free, replace(free, model=bigger)))
    if isinstance(large, Sizing):
        assert isinstance(small, Sizing)
        assert large.min_gpus >= small.min_gpus


@given(servings(), st.floats(1.0, 100.0), few)
@settings(max_examples=100, deadline=None)
def test_replicas_carry_the_load_and_more_load_never_takes_fewer(
    job: Inference | BatchInference, more: float, device: Accelerator
) -> None:
    if not isinstance(job, Inference):
        return
    rate = job.requests_per_s
    busier = replace(job, users=(Population("Paris", rate * more),))
    for each, load_ in ((job, rate), (busier, rate * more)):
        answer = size(each, [device])[device.name]
        if isinstance(answer, Sizing):
            assert isinstance(answer.effort, Service)
            peak = load_ * job.peak_over_mean
            assert answer.effort.replicas * answer.effort.requests_per_s_per_replica >= peak * (1 - 1e-6)
            assert 1 <= answer.effort.mean_replicas <= answer.effort.replicas
    small, large = (size(each, [device])[device.name] for each in (job, busier))
    assert isinstance(small, Sizing) == isinstance(large, Sizing)
    if isinstance(small, Sizing) and isinstance(large, Sizing):
        assert isinstance(small.effort, Service)
        assert isinstance(large.effort, Service)
        assert large.effort.replicas * large.min_gpus >= small.effort.replicas * small.min_gpus


@given(servings(), few)
@settings(max_examples=150, deadline=None)
def test_no_service_is_planned_beyond_its_latency_limits(job: Inference | BatchInference, device: Accelerator) -> None:
    answer = size(job, [device])[device.name]
    if not isinstance(answer, Sizing) or not isinstance(answer.effort, Service):
        return
    limits, service = job.limits.latency, answer.effort
    assert service.ttft_p95_s is not None
    if limits.first_token_s is not None:
        assert service.ttft_p95_s.p90 <= limits.first_token_s
    if limits.per_token_s is not None:
        assert service.tpot_s.p90 <= limits.per_token_s
    if limits.total_s is not None:
        assert service.ttft_p95_s.p90 + job.output_tokens * service.tpot_s.p90 <= limits.total_s * (1 + 1e-9)


@given(servings(), few, st.booleans(), st.floats(1.0, 3.0))
@settings(max_examples=100, deadline=None)
def test_a_limit_that_a_lone_request_keeps_is_kept_under_any_load(
    job: Inference | BatchInference, device: Accelerator, first: bool, slack: float
) -> None:
    assume(isinstance(job, Inference))
    assert isinstance(job, Inference)

    def served(rate: float, latency: LatencyTarget) -> Service | None:
        asked = replace(job, users=(Population("Paris", rate),), limits=Limits(latency=latency), quantise=())
        answer = size(asked, [device])[device.name]
        return answer.effort if isinstance(answer, Sizing) and isinstance(answer.effort, Service) else None

    lone = served(1e-9, LatencyTarget())
    assume(lone is not None)
    assert lone is not None
    assert lone.ttft_p95_s is not None
    limit = (lone.ttft_p95_s if first else lone.tpot_s).p90 * slack * (1 + 1e-9)
    busy = served(1e4, LatencyTarget(first_token_s=limit) if first else LatencyTarget(per_token_s=limit))
    assert busy is not None
    assert busy.ttft_p95_s is not None
    assert (busy.ttft_p95_s if first else busy.tpot_s).p90 <= limit
