"""What PBS prints, read from outputs written by hand after published ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kit.documents import Malformed
from providers.slurm import pbs_records
from tests.unit.providers.slurm import pbs_samples
from tests.unit.providers.slurm.pbs_samples import QUEUES


def test_a_queue_of_high_priority_makes_the_others_spot() -> None:
    said = json.loads(QUEUES)
    said["Queue"]["gpu"]["Priority"] = 150
    found, _ = pbs_records.queues(pbs_records.loads(json.dumps(said)), count="ngpus")
    assert {each.partition.name for each in found if each.partition.preemptible} == {"debug", "fat", "cpu"}


def test_a_job_is_read_with_its_machines_its_end_and_our_lease() -> None:
    found = pbs_records.jobs(pbs_records.loads(pbs_samples.jobs(pbs_samples.job("7.pbs01", lease="isoflop:abcd"))))
    (job,) = found
    assert (job.id, job.name, job.state, job.reason, job.restarts) == ("7.pbs01", "x", "RUNNING", "", 0)
    assert job.nodes == ("gpu01", "gpu02")
    assert job.ends_at == datetime(2026, 11, 22, 15, 0, 5, tzinfo=UTC)
    assert job.comment == "isoflop:abcd"


@pytest.mark.parametrize(
    ("changes", "state", "reason", "restarts"),
    [
        ({"state": "R", "substate": 41}, "CONFIGURING", "", 0),
        ({"state": "E"}, "COMPLETING", "", 0),
        ({"state": "S"}, "SUSPENDED", "", 0),
        ({"state": "R", "runs": 2}, "RUNNING", "", 1),
        ({"state": "Q", "placed": "", "runs": 0}, "PENDING", "", 0),
        ({"state": "Q", "placed": "", "runs": 1, "comment": "Not Running: x"}, "PENDING", "Not Running: x", 1),
        ({"state": "H", "placed": "", "runs": 0}, "PENDING", "held", 0),
    ],
)
def test_states_of_pbs_are_those_that_a_lease_is_read_from(
    changes: dict[str, object], state: str, reason: str, restarts: int
) -> None:
    (job,) = pbs_records.jobs(pbs_records.loads(pbs_samples.jobs(pbs_samples.job("7.pbs01", **changes))))
    assert (job.state, job.reason, job.restarts) == (state, reason, restarts)


@pytest.mark.parametrize("state", ["F", "M", "X"])
def test_jobs_that_have_ended_are_none(state: str) -> None:
    assert not pbs_records.jobs(pbs_records.loads(pbs_samples.jobs(pbs_samples.job("7.pbs01", state=state))))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("02:00:00", 7200.0),
        ("36:00", 2160.0),
        ("90", 90.0),
        (90, 90.0),
        ("1:00:00:00", 86400.0),
        ("", None),
        ("x", None),
    ],
)
def test_durations_are_read_in_every_form(value: object, found: float | None) -> None:
    assert pbs_records.seconds(value) == found


VALUES = st.text(max_size=30)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_json_that_is_json_is_read_as_it_is(values: dict[str, str]) -> None:
    found = pbs_records.loads(json.dumps({"Variable_List": values}))
    assert {name: found.within("Variable_List").text(name) for name in values} == values


@given(st.sampled_from(("005", ".5", "5.", "-00", "inf", "nan5", "00.1", "1e", "7", "-2.5", "true")), VALUES)
def test_numbers_that_are_none_are_texts_and_spoil_nothing_beside_them(bare: str, beside: str) -> None:
    found = pbs_records.loads('{"A":' + json.dumps(beside) + ',\n"B":' + bare + ',"C":"x"}')
    assert (found.text("A"), found.text("C")) == (beside, "x")
    assert str(found.raw("B")) in {bare, "True"}


@pytest.mark.parametrize(
    ("written", "meant"), [(r"it\'s", r"it\'s"), (r"a\,b", r"a\,b"), (r"a\\,b", r"a\,b"), (r"C:\\x\q", r"C:\x\q")]
)
def test_backslashes_that_escape_nothing_are_backslashes(written: str, meant: str) -> None:
    assert pbs_records.loads('{"A":"' + written + '","B":005}').text("A") == meant


@given(st.text(max_size=60))
def test_nothing_but_malformed_comes_of_what_is_not_of_pbs(text: str) -> None:
    for body in (text, '{"Jobs":{"1.x":{"job_state":' + json.dumps(text) + "}}}", '{"nodes":{"n":' + text + "}}"):
        try:
            found = pbs_records.loads(body)
            pbs_records.jobs(found)
            pbs_records.hosts(found, count="ngpus", kind="gpu_model")
        except Malformed:
            continue


@given(st.integers(0, 40))
def test_a_comment_survives_as_the_value_of_a_variable(length: int) -> None:
    text = "isoflop:" + "QUJD" * length + ("", "QQ==", "QUI=")[length % 3]
    assert "=" not in pbs_records.packed(text)
    assert pbs_records.unpacked(pbs_records.packed(text)) == text
