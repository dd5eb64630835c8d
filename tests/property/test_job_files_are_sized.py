"""Any job that the forms accept is sized on every accelerator, in numbers that are finite and make sense."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import Path

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import SpecError
from orchestrator.domain.parallelism import Recompute, Sharding
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import FiniteWork, Service, Sizing
from orchestrator.domain.workload import Method, Stack, Workload
from orchestrator.sizing.size import size
from orchestrator.spec.job import parse
from orchestrator.spec.models import known_models

DEVICES = load()
NAMES = [model.name for model in known_models()]
POWERS = st.integers(0, 4).map(lambda exponent: 2**exponent)
COUNTS = st.floats(0.0, 13.0).map(lambda exponent: 10.0**exponent)
LENGTHS = st.integers(1, 200_000)
WORDS = {kind: st.sampled_from([each.value for each in kind]) for kind in (Precision, Recompute, Sharding, Stack)}


@st.composite
def models(draw: st.DrawFn) -> object:
    """A name, a name with a longer context, or numbers of any sense."""
    way = draw(st.sampled_from(["name", "extended", "numbers", "shape", "mixture"]))
    if way == "name":
        return draw(st.sampled_from(NAMES))
    if way == "extended":
        return {"name": draw(st.sampled_from(NAMES)), "context_length": 2_000_000}
    if way == "numbers":
        return {"parameters": draw(st.floats(6.0, 12.5).map(lambda exponent: 10.0**exponent))}
    heads, layers = draw(st.integers(1, 16)) * 8, draw(st.integers(1, 120))
    hidden = heads * draw(st.sampled_from([64, 96, 128]))
    shape: dict[str, object] = {
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": draw(POWERS.map(lambda n: min(n, 8))),
    }
    total = layers * 12 * hidden**2
    if way == "shape":
        return {**shape, "parameters": total, "vocabulary": draw(st.integers(1, 300_000)), "gated": draw(st.booleans())}
    experts = draw(st.integers(2, 256))
    chosen = draw(st.integers(1, experts))
    shape |= {"feed_forward": hidden * 4, "experts": experts, "experts_per_token": chosen}
    one, rest = layers * 8 * hidden**2, layers * 4 * hidden**2
    return {**shape, "parameters": rest + experts * one, "active_parameters": rest + chosen * one}


def some(draw: st.DrawFn, optional: dict[str, st.SearchStrategy[object]]) -> dict[str, object]:
    """Each of the optional fields, or not."""
    return {name: draw(values) for name, values in optional.items() if draw(st.booleans())}


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from(["Training", "FineTune", "Inference", "BatchInference"]))
    job: dict[str, object] = {"kind": kind, "name": "a", "model": draw(models())}
    if kind in {"Training", "FineTune"}:
        job["tokens"] = draw(COUNTS)
        job |= some(draw, {"precision": WORDS[Precision], "sequence_length": POWERS.map(lambda n: 512 * n)})
        job |= some(draw, {"micro_batch": st.integers(1, 8), "mfu": st.floats(0.01, 1.0)})
        method = draw(st.sampled_from([each.value for each in Method]))
        job |= {"method": method} if kind == "FineTune" else {}
        if kind == "Training" or method == "full":
            job |= some(
                draw, {"recompute": WORDS[Recompute], "global_batch": POWERS.map(lambda n: {"sequences": 256 * n})}
            )
            layout = dict.fromkeys(("tensor", "pipeline", "data", "context", "expert", "interleave"), POWERS)
            job |= some(
                draw, {"parallelism": st.fixed_dictionaries({}, optional=layout | {"sharding": WORDS[Sharding]})}
            )
        return job
    job |= some(draw, {"prompt_tokens": LENGTHS, "output_tokens": LENGTHS})
    job |= some(draw, {"precision": WORDS[Precision], "kv_precision": WORDS[Precision], "stack": WORDS[Stack]})
    job |= some(draw, {"quantise": st.lists(WORDS[Precision], max_size=2)})
    if kind == "BatchInference":
        return job | {"requests": draw(COUNTS)}
    job |= some(draw, {"peak_over_mean": st.floats(1.0, 1000.0), "duration": st.sampled_from(["1s", "30d", "10w"])})
    limits = some(
        draw, {name: st.sampled_from(["1ms", "50ms", "2s", "10min"]) for name in ("first_token", "per_token", "total")}
    )
    rate = draw(st.sampled_from(["1/d", "20/s", "100k/s"]))
    return job | {"users": [{"place": "Paris", "rate": rate}], "limits": {"latency": limits}}


def numbers(value: object) -> list[float]:
    """Every number of a value, however deep."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [float(value)]
    if is_dataclass(value):
        return [number for item in fields(value) for number in numbers(getattr(value, item.name))]
    return [number for item in value for number in numbers(item)] if isinstance(value, tuple) else []


def check(answer: Sizing) -> None:
    assert all(map(isfinite, numbers(answer)))
    assert answer.flops > 0
    assert answer.min_gpus >= 1
    assert 0 < answer.memory_per_gpu_gib <= answer.capacity_per_gpu_gib * (1 + 1e-9)
    assert all(term.gib >= 0 for term in answer.memory)
    assert 0 < answer.mfu.value <= 1
    effort = answer.effort
    bands = [effort.gpu_hours] if isinstance(effort, FiniteWork) else [effort.ttft_s, effort.tpot_s]
    for band in bands:
        assert 0 < band.p10 <= band.p50 <= band.p90
    if isinstance(effort, FiniteWork):
        assert effort.gpus >= 1
        assert effort.energy_kwh.p10 >= 0  # 0 where the vendor publishes no power
        if effort.step is not None:
            assert effort.step.seconds > 0
            assert 0 < effort.step.mfu <= 1
    else:
        assert isinstance(effort, Service)
        assert effort.replicas >= 1
        assert effort.requests_per_s_per_replica > 0


def accepted(job: dict[str, object]) -> Workload | None:
    """The job; None where it is refused, which says the place and is never another error."""
    try:
        return parse(json.dumps(job), file="job.json", base=Path())
    except SpecError as error:
        refused = str(error)
    assert refused.startswith("job.json:1:")
    return None


@given(jobs())
@settings(max_examples=60, deadline=None)
def test_what_the_forms_accept_is_sized_everywhere_in_finite_numbers(job: dict[str, object]) -> None:
    workload = accepted(job)
    event(f"{job['kind']} {'refused' if workload is None else 'accepted'}")
    assume(workload is not None)
    assert workload is not None
    answers = size(workload, DEVICES)
    assert set(answers) == {device.name for device in DEVICES}
    for answer in answers.values():
        if isinstance(answer, Reason):
            assert answer.detail
        else:
            check(answer)
