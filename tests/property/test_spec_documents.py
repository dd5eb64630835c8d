"""Documents are read back exactly: every field, every byte."""

from __future__ import annotations

import json
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

from orchestrator.domain.errors import UserError
from orchestrator.domain.events import Event
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.spec import documents

WHOLE_SECONDS = st.integers(86400, 7_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
MOMENTS = st.builds(lambda at, us: at.replace(microsecond=us), WHOLE_SECONDS, st.integers(0, 999_999))
WORDS = st.sampled_from(["", "a", "b", "NaN", "null", "é", '"\\\n', "\0", "1.5"])
FINITE = st.sampled_from([0.0, -0.0, 0.1, 1e-320, 1.7e308, 3, 2**40]) | st.floats(allow_nan=False, allow_infinity=False)
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
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{item.name: of(hints[item.name]) for item in fields(kind)})
    return generic(get_origin(kind), get_args(kind))


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
    }
    parts = {name: overrides.get(name, finite if hint is float else of(hint)) for name, hint in hints.items()}
    return st.lists(st.builds(Offer, **parts), max_size=4).map(OfferBook.of)


BOOKS = books()


def same_books(a: OfferBook, b: OfferBook) -> bool:
    def same(name: str) -> bool:
        left, right = getattr(a, name), getattr(b, name)
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
