"""Slurm's JSON of five versions reads alike, in recorded outputs and in every way that one thing may be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kit.documents import Malformed
from providers.slurm import documents
from providers.slurm.records import Node, QueuedJob

SAMPLES = Path(__file__).parents[5] / "shared" / "data" / "slurm"
VERSIONS = ("22.05", "23.11", "24.11", "25.11", "26.05")


def sample(version: str, key: str, *names: str) -> Any:
    for name in names:
        path = SAMPLES / version / f"{name}.json"
        if path.is_file() and path.stat().st_size:
            found = json.loads(path.read_text())
            if key in found:
                return found
    pytest.skip(f"no {key} of Slurm {version} in {SAMPLES}")


@pytest.mark.parametrize("version", VERSIONS)
def test_nodes_of_every_version_are_read_with_what_is_free(version: str) -> None:
    found = {
        each.name: each for each in documents.nodes(sample(version, "nodes", "scontrolshownodesjson", "sinfojson"))
    }
    assert set(found) == {"a100-0", "a100-1", "h100-0", "l4-0"}
    node = found["a100-0"]
    assert (dict(node.gpus), dict(node.used)) == ({"a100": 8}, {"a100": 2})
    assert (node.cpus, node.cpus_used, node.memory_mb, node.memory_used_mb) == (64, 1, 512000, 1000)
    assert (node.partitions, node.features, node.usable) == (("a100", "spot"), ("a100", "nvlink", "zone-a"), True)
    assert node.version.startswith(version)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_partitions_of_every_version_are_read_with_their_limits(version: str) -> None:
    body = sample(version, "partitions", "scontrolshowpartitionsjson")
    found = {each.name: each for each in documents.partitions(body)}
    assert set(found) == {"a100", "h100", "l4", "spot"}
    assert (found["a100"].max_s, found["a100"].max_nodes, found["a100"].tier) == (604800.0, None, 10)
    assert (found["spot"].grace_s, found["spot"].tier) == (5.0, 1)
    assert {name for name, each in found.items() if each.preemptible} == {"spot"}
    assert all(each.up for each in found.values())
    assert documents.tells_preemption(body) is (version == "26.05")


def test_the_partitions_of_slurmrestd_22_05_are_read_as_well() -> None:
    body = {
        "partitions": [
            {"name": "top", "state": "UP", "max_time_limit": None, "maximum_nodes_per_job": -1, "priority_tier": 9},
            {
                "name": "spot",
                "state": "DOWN",
                "max_time_limit": 240,
                "maximum_nodes_per_job": 2,
                "priority_tier": 1,
                "preemption_mode": ["requeue"],
                "preemption_grace_time": 5,
            },
            {"name": "low", "state": "UP", "priority_tier": 1, "preemption_mode": ["disabled"], "flags": ["root_only"]},
        ]
    }
    top, spot, low = documents.partitions(body)
    assert (top.max_s, top.max_nodes, top.up, top.preemptible) == (None, None, True, False)
    assert (spot.max_s, spot.max_nodes, spot.up, spot.preemptible, spot.grace_s) == (14400.0, 2, False, True, 5.0)
    assert (low.up, low.preemptible) == (False, False)
    assert documents.tells_preemption(body)


@pytest.mark.parametrize("version", VERSIONS)
def test_jobs_of_every_version_that_have_not_ended_are_read(version: str) -> None:
    body = sample(version, "jobs", "squeuejson")
    found = {job.id: job for job in documents.jobs(body, "gpuuser")}
    assert {job.state for job in found.values()} == {"RUNNING", "PENDING"}
    running = [job for job in found.values() if job.state == "RUNNING"]
    assert {job.nodes for job in running} >= {("a100-0",), ("h100-0",)}
    assert all(job.ends_at is not None and job.preempted_at is None for job in running)
    assert "Dependency" in {job.reason for job in found.values() if job.state == "PENDING"}
    ended = len(body["jobs"]) - len(found)
    assert ended == sum(str(documents.words(job["job_state"])[0]) in documents.ENDED for job in body["jobs"])
    assert not documents.jobs(body, "somebody-else")


def test_a_job_whose_user_has_no_name_may_be_ours_and_is_not_hidden() -> None:
    body = {"jobs": [{"job_id": 7, "job_state": "RUNNING", "user_name": ""}, {"job_id": 8, "user_name": "you"}]}
    assert [job.id for job in documents.jobs(body, "me")] == ["7"]


# One thing, written as the versions write it.

NUMBERS: tuple[Callable[[int], object], ...] = (
    lambda value: value,
    float,
    lambda value: {"set": True, "infinite": False, "number": value},
)
NONE = (None, "", {"set": False, "infinite": False, "number": 0}, documents.NO_VAL)
NO_LIMIT = (documents.INFINITE, -1, {"set": False, "infinite": True, "number": 0})
LISTS: tuple[Callable[[tuple[str, ...]], object], ...] = (list, ",".join, ", ".join)
WORDS = st.lists(st.text("abcdefg-", min_size=1, max_size=6), max_size=3).map(tuple)
COUNTS = st.integers(0, 10**6)


@given(st.integers(0, 2**31), st.sampled_from(NUMBERS))
def test_a_number_is_read_in_every_form(value: int, write: Callable[[int], object]) -> None:
    assert documents.number(write(value)) == value


@pytest.mark.parametrize("value", NONE)
def test_no_number_is_none(value: object) -> None:
    assert documents.number(value) is None


@pytest.mark.parametrize("value", NO_LIMIT)
def test_no_limit_is_infinite(value: object) -> None:
    assert documents.number(value) == inf


@given(st.data())
def test_a_node_is_the_same_however_it_is_written(draw: st.DataObject) -> None:
    gpus, cpus, partitions, features = (draw.draw(each) for each in (st.integers(0, 16), COUNTS, WORDS, WORDS))
    write, spell = draw.draw(st.sampled_from(NUMBERS)), draw.draw(st.sampled_from(LISTS))
    used, kept_mb = draw.draw(st.integers(0, gpus)), draw.draw(st.sampled_from((None, 0, 2000)))
    drained = draw.draw(st.booleans())
    state: dict[str, object] = {"state": ["MIXED", *(["DRAIN"] if drained else [])]}
    if draw.draw(st.booleans()):
        state = {"state": "mixed", "state_flags": ["DRAIN"] if drained else []}
    in_use: dict[str, object] = {"gres_used": f"gpu:a100:{used}(IDX:0-{used})", "tres_used": None}
    if draw.draw(st.booleans()):
        in_use = {"tres_used": f"cpu=1,gres/gpu={used},gres/gpu:a100={used}"}
    body = {
        "nodes": [
            {
                "name": "n0",
                "partitions": spell(partitions),
                "gres": f"gpu:a100:{gpus}(S:0-1)",
                draw.draw(st.sampled_from(("cpus", "effective_cpus"))): write(cpus),
                "alloc_cpus": write(1),
                "real_memory": write(64000),
                "specialized_memory": kept_mb,
                "alloc_memory": write(5),
                "active_features": spell(features),
                draw.draw(st.sampled_from(("version", "slurmd_version"))): "24.11.5",
                **in_use,
                **state,
            }
        ]
    }
    assert documents.nodes(body) == [
        Node(
            name="n0",
            partitions=partitions,
            gpus={"a100": gpus},
            used={"a100": used},
            cpus=cpus,
            cpus_used=1,
            memory_mb=64000 - (kept_mb or 0),
            memory_used_mb=5,
            features=features,
            usable=not drained,
            version="24.11.5",
        )
    ]


@given(
    st.sampled_from(("RUNNING", "PENDING", "SUSPENDED", "CANCELLED", "TIMEOUT")),
    st.sampled_from((None, "COMPLETING", "CONFIGURING")),
    st.sampled_from(NUMBERS),
    st.booleans(),
)
def test_a_job_is_the_same_however_it_is_written(
    base: str, flag: str | None, write: Callable[[int], object], listed: bool
) -> None:
    word = flag or base
    state: object = [base, *([flag] if flag else [])] if listed else word
    body = {
        "jobs": [
            {
                "job_id": 7,
                "name": "isoflop-a-b",
                "user_name": "me",
                "job_state": state,
                "state_reason": "None",
                "nodes": "n[08-10]",
                "end_time": write(1795904851),
                "preempt_time": write(0),
                "restart_cnt": write(2),
                "comment": "isoflop:abc",
            }
        ]
    }
    wanted = QueuedJob(
        id="7",
        name="isoflop-a-b",
        state=word,
        reason="",
        nodes=("n08", "n09", "n10"),
        ends_at=datetime.fromtimestamp(1795904851, UTC),
        preempted_at=None,
        restarts=2,
        comment="isoflop:abc",
    )
    assert documents.jobs(body, "me") == ([] if word in documents.ENDED else [wanted])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("job_id", "job_state", "nodes", "end_time", "state", "partitions", "gres", "cpus", "maximums", "priority")


@given(JSON, st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_nothing_but_malformed_comes_of_what_is_not_slurms(anything: object, fields: dict[str, object]) -> None:
    node = {"name": "n0", "user_name": "me", **fields}
    for body in (
        anything,
        {"nodes": anything, "jobs": anything, "partitions": anything},
        *({k: [node]} for k in KINDS),
    ):
        for read in (documents.nodes, documents.partitions, documents.tells_preemption, _mine):
            try:
                read(body)
            except Malformed:
                continue


KINDS = ("nodes", "jobs", "partitions")


def _mine(body: object) -> object:
    return documents.jobs(body, "me")


ODD = {"user_name": "me", "job_state": ["RUNNING"], "job_id": -1}


@pytest.mark.parametrize(
    "body", [None, [], {}, {"jobs": None}, {"jobs": {}}, {"jobs": [{"user_name": "me"}]}, {"jobs": [ODD]}]
)
def test_a_listing_that_is_none_is_never_an_empty_one(body: object) -> None:
    with pytest.raises(Malformed):
        documents.jobs(body, "me")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errors": []}, ""),
        ({"errors": [{"error_code": 2000, "error": "Invalid partition name specified"}]}, "Invalid partition name"),
        ({"errors": [{"error": "a", "description": "b"}, {"errno": -1}]}, "a: b; an error without a text"),
        ("Authentication failure", ""),
        (None, ""),
    ],
)
def test_what_went_wrong_is_told_in_slurms_words(body: object, said: str) -> None:
    assert documents.complaints(body).startswith(said)
    assert bool(documents.complaints(body)) is bool(said)
