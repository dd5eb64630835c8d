"""`isoflop plan` of a batch that one offer cannot do in time, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.domain.workload import BatchInference
from orchestrator.spec import documents, job
from orchestrator.testing.builders import network, offer, snapshot
from tests.unit.cli.conftest import Cli

BATCH = """\
kind: BatchInference
name: answers
model: {parameters: 7B}
requests: 1000001
limits: {deadline: 2h, budget: $900}
data: {location: acme/us-east-1, size: 100GiB}
run: {command: [true], workdir: .}
"""


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    path = tmp_path / "batch.yaml"
    path.write_text(BATCH)
    return path


def market(folder: Path, available: int) -> Path:
    offers = (offer(available=available), offer(region="eu-central-1", usd_per_hour=40.0, available=available))
    path = folder / "market.json"
    path.write_text(documents.dump_snapshot(snapshot(*offers, network=network())))
    return path


def test_a_batch_in_parts_is_shown_and_written_as_jobs(cli: Cli, tmp_path: Path, batch: Path) -> None:
    whole = json.loads(cli("plan", batch, "--snapshot", market(tmp_path, 99), "--json").out)["ranked"][0]
    few = market(tmp_path, whole["parts"][0]["nodes"] * 2 // 3)
    ran = cli("plan", batch, "--snapshot", few, "--write-jobs", tmp_path / "jobs", "-o", tmp_path / "plan.json")
    assert ran.code == 0, ran.err
    assert "in 2 parts: " in ran.out
    assert "(1 of 0 feasible and 1 in parts)" in ran.out
    assert "The control plane does not buy placements in parts." in ran.out
    written = [job.load(path) for path in sorted((tmp_path / "jobs").iterdir())]
    parts = [one for one in written if isinstance(one, BatchInference)]
    assert [one.name for one in parts] == ["answers-part-1", "answers-part-2"]
    assert sum(one.requests for one in parts) == 1000001
    assert sum(one.data.size_gib for one in parts) == pytest.approx(100.0, rel=1e-5)
    assert sum(one.limits.budget_usd or 0.0 for one in parts) == pytest.approx(900.0, abs=0.01)
    assert {one.limits.regions for one in parts} == {("acme/us-east-1",), ("acme/eu-central-1",)}
    assert {one.program.workdir for one in parts if one.program} == {str(tmp_path)}
    # A part planned by itself is where the whole has it, and the saved plan can be explained.
    again = cli("plan", tmp_path / "jobs" / "answers-part-1.json", "--snapshot", few, "--json")
    assert (
        json.loads(again.out)["ranked"][0]["label"]
        in json.loads(cli("explain", tmp_path / "plan.json", "--json").out)["headline"]
    )


def test_nothing_is_written_where_one_offer_does_it(cli: Cli, tmp_path: Path, batch: Path) -> None:
    ran = cli("plan", batch, "--snapshot", market(tmp_path, 99), "--write-jobs", tmp_path / "jobs")
    assert ran.code == 0, ran.err
    assert "no job files written" in ran.err
    assert not (tmp_path / "jobs").exists()
