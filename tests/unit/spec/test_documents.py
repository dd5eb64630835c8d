from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from orchestrator.domain.errors import UserError
from orchestrator.domain.events import CancelAsked
from orchestrator.domain.offer import Billing
from orchestrator.domain.plan import Bound, Part, Placement, Plan, Term
from orchestrator.domain.sizing import Band, Service
from orchestrator.domain.snapshot import Gap, Snapshot
from orchestrator.spec import documents
from orchestrator.testing import builders

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_plan(snapshot: Snapshot) -> Plan:
    offer = snapshot.book[0]
    band = Band(1.0, 2.0, 3.0)
    effort = Service(replicas=2, requests_per_s_per_replica=1.5, ttft_s=band, tpot_s=band, watts_per_replica=9.0)
    placement = Placement(
        parts=(Part(offer, 2),),
        sizing=builders.sizing(effort=effort),
        hours=Band(1.0, 2.0, float("inf")),
        cost_usd=Band(1.0, float("nan"), float("inf")),
        terms=(Term("cost", "compute", 64.0),),
        objective_usd=64.0,
        buyable=True,
    )
    return Plan(
        workload=builders.inference(),
        snapshot_id=snapshot.id,
        made_at=snapshot.taken_at,
        ranked=(placement,),
        feasible=1,
        considered=1,
        refusals=(),
        policies=("cost",),
        bound=Bound(lower_usd=64.0, method="exhaustive"),
        gaps=(Gap("aws", "no credentials"),),
    )


def test_a_plan_with_endless_bands_is_strict_json_and_is_read_back() -> None:
    snapshot = builders.snapshot()
    plan = a_plan(snapshot)
    text = documents.dump_plan(plan, snapshot)
    json.loads(text, parse_constant=pytest.fail)
    again, _ = documents.load_plan(text)
    assert documents.dump_plan(again, snapshot) == text
    assert again.ranked[0].hours == Band(1.0, 2.0, float("inf"))
    assert isinstance(again.ranked[0].sizing.effort, Service)


def test_an_unknown_hazard_is_null_and_comes_back_unknown() -> None:
    snapshot = builders.snapshot(
        builders.offer(interruption_rate=None), builders.offer(zone="b", interruption_rate=0.25)
    )
    tree = json.loads(documents.dump_snapshot(snapshot))
    assert tree["snapshot"]["book"]["interruption_rate"] == [None, 0.25]
    again = documents.load_snapshot(documents.dump_snapshot(snapshot))
    assert [offer.interruption_rate for offer in again.book] == [None, 0.25]
    assert again.id == snapshot.id


def test_whole_numbers_in_facts_keep_the_snapshots_id() -> None:
    snapshot = builders.snapshot(accelerators=(builders.accelerator(memory_gib=80, tdp_w=700),))
    assert documents.load_snapshot(documents.dump_snapshot(snapshot)).id == snapshot.id


def test_a_plan_for_programs_holds_the_kind_and_the_computed_figures() -> None:
    fields = documents.plan_json(a_plan(builders.snapshot()))
    assert fields["workload"]["kind"] == "Inference"  # type: ignore[index]
    first = fields["ranked"][0]  # type: ignore[index]
    assert first["label"] == "2x acme us-east-1 h100.8x on-demand"
    assert (first["gpus"], first["usd_per_hour"]) == (16.0, 64.0)
    assert first["cost_usd"]["p90"] == "Infinity"
    json.dumps(fields, allow_nan=False)


def test_a_path_with_undecodable_bytes_survives() -> None:
    workload = builders.training(program=builders.program(workdir="/data/\udcff"))
    text = documents.dump_workload(workload)
    assert text.isascii()
    assert documents.load_workload(text) == workload


@dataclass(frozen=True)
class View:
    numbers: np.ndarray
    by_billing: dict[Billing, float]
    words: frozenset[str]
    anything: object


def test_any_frozen_value_becomes_plain_data() -> None:
    view = View(np.array([1.0, np.nan]), {Billing.SPOT: np.float64(2.5)}, frozenset({"b", "a"}), (NOW, None))
    assert documents.to_jsonable([view]) == [
        {
            "numbers": [1.0, "NaN"],
            "by_billing": {"spot": 2.5},
            "words": ["a", "b"],
            "anything": ["2026-01-02T03:04:05+00:00", None],
        }
    ]


def test_a_value_without_a_json_form_is_a_bug_and_says_so() -> None:
    with pytest.raises(TypeError, match="no codec"):
        documents.to_jsonable(object())
    with pytest.raises(ValueError, match="without a time zone"):
        documents.dump_event(CancelAsked(run_id="r", at=NOW.replace(tzinfo=None)))


def refusal(tree: object, load: str = "load_plan") -> str:
    with pytest.raises(UserError) as caught:
        getattr(documents, load)(tree if isinstance(tree, str) else json.dumps(tree))
    return str(caught.value)


def test_a_damaged_plan_file_names_the_place_and_the_remedy() -> None:
    snapshot = builders.snapshot()
    tree = json.loads(documents.dump_plan(a_plan(snapshot), snapshot))
    assert "it is not JSON" in refusal("{")
    assert "it is not JSON" in refusal("[" * 100_000)
    assert "it names no format" in refusal({"plan": {}})
    assert "expected isoflop-plan/1" in refusal({"format": "isoflop-snapshot/1"})
    lacking = {key: value for key, value in tree["plan"].items() if key != "snapshot_id"}
    assert "snapshot_id is missing" in refusal({**tree, "plan": lacking})
    assert "extra is not known to this version" in refusal({**tree, "plan": {**tree["plan"], "extra": 1}})
    tree["plan"]["ranked"][0]["parts"][0]["nodes"] = True
    assert "ranked[0].parts[0].nodes is not a whole number" in refusal(tree)


def test_a_plan_over_another_snapshot_is_refused() -> None:
    plan = a_plan(builders.snapshot())
    assert "isoflop plan -o FILE" in refusal(documents.dump_plan(plan, builders.snapshot(gaps=(Gap("x", "y"),))))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("billing", {"codes": [0], "vocab": ["free"]}, "has words other than on-demand"),
        ("region", {"codes": [1], "vocab": ["a"]}, "points past the vocabulary"),
        ("region", {"codes": [-1], "vocab": ["a"]}, "points past the vocabulary"),
        ("region", {"codes": [0], "vocab": ["b", "a"]}, "is not sorted"),
        ("region", {"codes": [0.0], "vocab": ["a"]}, "is not a list of numbers"),
        ("region", {"codes": [0], "vocab": ["\ud800"]}, "no text"),
        ("region", ["a"], "is not an object of vocab and codes"),
        ("gpus", [True], "is not a list of numbers"),
        ("gpus", ["1"], "is not a list of numbers"),
        ("gpus", [1.0, 2.0], "have one length"),
        ("available", [2**70], "too large"),
        ("observed_at", [None], "is not a list of numbers"),
        ("novel", [1], "not a column of an offer book"),
    ],
)
def test_a_damaged_column_of_a_snapshot_is_named(column: str, value: object, said: str) -> None:
    tree = json.loads(documents.dump_snapshot(builders.snapshot()))
    tree["snapshot"]["book"][column] = value
    assert said in refusal(tree, "load_snapshot")


def test_a_plan_file_serves_as_a_snapshot_file() -> None:
    snapshot = builders.snapshot()
    assert documents.load_snapshot(documents.dump_plan(a_plan(snapshot), snapshot)).id == snapshot.id


def test_a_field_that_older_files_lack_takes_its_default() -> None:
    tree = json.loads(documents.dump_workload(builders.training()))
    del tree["micro_batch"]
    assert documents.load_workload(json.dumps(tree)) == replace(builders.training(), micro_batch=1)
