"""Documents are read back exactly: every field, every byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import UserError
from orchestrator.domain.events import Event
from orchestrator.domain.lease import Endpoint
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.domain.parallelism import Parallelism, Recompute
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import (
    BatchInference,
    DataSet,
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
from orchestrator.spec import documents

WHOLE_SECONDS = st.integers(86400, 7_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
MOMENTS = st.builds(lambda at, us: at.replace(microsecond=us), WHOLE_SECONDS, st.integers(0, 999_999))
WORDS = st.sampled_from(["", "a", "b", "NaN", "null", "é", '"\\\n', "\0", "1.5"])
FINITE = st.sampled_from([0.0, -0.0, 0.1, 1e-320, 1.7e308, 3, 2**40]) | st.floats(allow_nan=False, allow_infinity=False)
ABOVE_ZERO = FINITE.map(abs).filter(bool)
WHOLE = st.integers(1, 2**40)
DEGREES = ("tensor", "pipeline", "context", "expert", "micro_batches", "interleave")
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    float: FINITE | st.sampled_from([float("inf"), float("-inf")]),
    int: st.integers(-(2**60), 2**60),
    str: WORDS,
    bool: st.booleans(),
    NoneType: st.none(),
    datetime: MOMENTS,
}


@cache
def of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a domain type, from its annotations."""
    if kind is OfferBook:
        return BOOKS
    if kind in SCALARS:
        return SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if kind in SOUND:
        return SOUND[kind]()
    if is_dataclass(kind):
        return built(kind)
    return generic(get_origin(kind), get_args(kind))


def built(kind: Any, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(
        kind, **{item.name: of(hints[item.name]) for item in fields(kind) if item.name not in parts}, **parts
    )


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Of any size and shape that holds together."""
    parameters, kv_heads, heads = draw(ABOVE_ZERO), draw(st.none() | WHOLE), draw(st.none() | WHOLE)
    experts = draw(st.none() | WHOLE)
    facts = built(
        Model,
        parameters=st.just(parameters),
        active_parameters=st.just(parameters if experts else parameters * draw(st.sampled_from([0.5, 1.0]))),
        heads=st.just(heads * (kv_heads or 1) if heads else None),
        kv_heads=st.just(kv_heads),
        head_dim=WHOLE,
        experts=st.just(experts),
        experts_per_token=st.just(experts),
        **dict.fromkeys(("layers", "hidden", "vocabulary", "feed_forward", "context_length"), st.none() | WHOLE),
    )
    return draw(facts)


@st.composite
def gradients(draw: st.DrawFn, kind: type[Training | FineTune]) -> Training | FineTune:
    layout = draw(
        st.none()
        | built(Parallelism, **dict.fromkeys(DEGREES, st.just(1)), data=st.integers(1, 10**6), micro_batch=WHOLE)
    )
    length, micro_batch = draw(WHOLE), draw(WHOLE)
    batch = None if layout else draw(st.none() | st.floats(float(length * micro_batch), 1e300))
    method = Method.FULL if layout or batch else draw(of(Method))
    return draw(
        built(
            kind,
            tokens=ABOVE_ZERO,
            sequence_length=st.just(length),
            micro_batch=st.just(micro_batch),
            mfu=st.none() | st.floats(0, 1, exclude_min=True),
            global_batch_tokens=st.just(batch),
            parallelism=st.just(layout),
            recompute=of(Recompute | None) if method is Method.FULL else st.none(),
            **({"method": st.just(method), "lora_rank": WHOLE} if kind is FineTune else {}),
        )
    )


@st.composite
def answers(draw: st.DrawFn, kind: type[Inference | BatchInference]) -> Inference | BatchInference:
    wide, stack = draw(of(Precision)), draw(of(Stack))
    narrow = [each for each in Precision if each.bits < wide.bits and each not in stack.lacks]
    own = {"duration_s": ABOVE_ZERO, "peak_over_mean": st.floats(1, 1e9)} if kind is Inference else {}
    return draw(
        built(
            kind,
            prompt_tokens=WHOLE,
            output_tokens=WHOLE,
            precision=st.just(Precision.BF16 if wide in stack.lacks else wide),
            kv_precision=st.sampled_from([each for each in Precision if each not in stack.lacks_for_cache]),
            stack=st.just(stack),
            quantise=st.lists(st.sampled_from(narrow), max_size=2).map(tuple) if narrow else st.just(()),
            **(own or {"requests": ABOVE_ZERO}),
        )
    )


LIMIT = st.none() | ABOVE_ZERO
SOUND: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {  # what numbers at random contradict, or what holds its like
    Model: models,
    Endpoint: lambda: built(Endpoint, jump=st.none() | built(Endpoint, jump=st.none())),
    Parallelism: lambda: built(Parallelism, **dict.fromkeys((*DEGREES, "data", "micro_batch"), st.integers(1, 9))),
    Training: lambda: gradients(Training),
    FineTune: lambda: gradients(FineTune),
    Inference: lambda: answers(Inference),
    BatchInference: lambda: answers(BatchInference),
    DataSet: lambda: st.one_of(
        built(DataSet, location=location, size_gib=FINITE.map(abs), result_gib=FINITE.map(abs), stays=stays)
        for location, stays in ((st.just(""), st.just(False)), (st.text(min_size=1), st.booleans()))
    ),
    Population: lambda: built(Population, requests_per_s=FINITE.map(abs)),
    LatencyTarget: lambda: built(LatencyTarget, first_token_s=LIMIT, per_token_s=LIMIT, total_s=LIMIT),
    Limits: lambda: built(Limits, budget_usd=LIMIT, deadline_s=LIMIT),
}


def generic(origin: Any, parts: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin in (Union, UnionType):
        # a setting, which may be text too, is finite: the job file refuses everything else
        return st.one_of([FINITE if part is float and str in parts else of(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is frozenset:
        return st.frozensets(of(parts[0]), max_size=2)
    assert origin is tuple, origin
    if parts[-1] is Ellipsis:
        return st.lists(of(parts[0]), max_size=2).map(tuple)
    return st.tuples(*map(of, parts))


def books() -> st.SearchStrategy[OfferBook]:
    hints = get_type_hints(Offer)
    finite = FINITE.map(abs)
    hazards = st.none() | finite
    overrides = {
        "observed_at": WHOLE_SECONDS,
        "available": st.none() | st.integers(0, 2**40),
        "interruption_rate": hazards,
        "quota_nodes": st.none() | st.integers(0, 2**40),
        "obtainability": st.none() | st.floats(0, 1),
        "max_lease_s": st.none() | finite,
    }
    parts = {name: overrides.get(name, finite if hint is float else of(hint)) for name, hint in hints.items()}
    return st.lists(st.builds(Offer, **parts), max_size=4).map(OfferBook.of)


BOOKS = books()


def same_books(a: OfferBook, b: OfferBook) -> bool:
    def same(name: str) -> bool:
        left, right = getattr(a, name), getattr(b, name)
        if left is None or right is None:
            return left is right
        if isinstance(left, Words):
            return (
                left.vocab == right.vocab
                and left.codes.dtype == right.codes.dtype
                and bool((left.codes == right.codes).all())
            )
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")

    return all(same(item.name) for item in fields(OfferBook))


def same_snapshots(a: Snapshot, b: Snapshot) -> bool:
    rest = [item.name for item in fields(Snapshot) if item.name != "book"]
    return a.id == b.id and same_books(a.book, b.book) and all(getattr(a, n) == getattr(b, n) for n in rest)


@given(of(Workload))
@settings(deadline=None, max_examples=40)
def test_a_workload_is_read_back_as_it_was_written(workload: Workload) -> None:
    text = documents.dump_workload(workload)
    again = documents.load_workload(text)
    assert again == workload
    assert type(again) is type(workload)
    assert documents.dump_workload(again) == text


@given(of(Event))
@settings(deadline=None, max_examples=60)
def test_an_event_is_read_back_as_it_was_written(event: Event) -> None:
    text = documents.dump_event(event)
    again = documents.load_event(text)
    assert again == event
    assert documents.dump_event(again) == text


@given(of(Snapshot))
@settings(deadline=None, max_examples=40)
def test_a_snapshot_is_read_back_with_the_same_id_and_bytes(snapshot: Snapshot) -> None:
    text = documents.dump_snapshot(snapshot)
    again = documents.load_snapshot(text)
    assert same_snapshots(again, snapshot)
    assert documents.dump_snapshot(again) == text


@given(of(Plan), of(Snapshot))
@settings(deadline=None, max_examples=25)
def test_a_plan_file_holds_the_plan_and_its_snapshot_exactly(plan: Plan, snapshot: Snapshot) -> None:
    object.__setattr__(plan, "snapshot_id", snapshot.id)
    text = documents.dump_plan(plan, snapshot)
    plan_again, snapshot_again = documents.load_plan(text)
    assert plan_again == plan
    assert same_snapshots(snapshot_again, snapshot)
    assert documents.dump_plan(plan_again, snapshot_again) == text
    assert same_snapshots(documents.load_snapshot(text), snapshot)
    json.dumps(documents.plan_json(plan), allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(of(Event), st.data())
@settings(deadline=None, max_examples=60)
def test_an_event_with_any_part_replaced_is_read_or_refused_and_never_crashes(
    event: Event, data: st.DataObject
) -> None:
    tree = json.loads(documents.dump_event(event))
    node = tree
    while True:
        steps = list(node) if isinstance(node, dict) else list(range(len(node)))
        step = data.draw(st.sampled_from(steps))
        if not isinstance(node[step], dict | list) or not node[step] or data.draw(st.booleans()):
            node[step] = data.draw(JSON)
            break
        node = node[step]
    with suppress(UserError):  # refused in words; any other error fails the test
        documents.load_event(json.dumps(tree))


@given(st.text(max_size=40) | JSON.map(json.dumps))
@settings(deadline=None, max_examples=40)
def test_any_other_text_is_refused_as_a_users_error(text: str) -> None:
    for load in (documents.load_plan, documents.load_snapshot, documents.load_workload, documents.load_event):
        with pytest.raises(UserError):
            load(text)
