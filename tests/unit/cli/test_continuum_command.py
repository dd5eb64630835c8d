"""`plan --continuum`: over a saved market, in this process."""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path

from orchestrator.domain.workload import Inference
from orchestrator.spec import documents, job
from orchestrator.testing.builders import offer, snapshot
from tests.unit.cli.conftest import Cli

JOB = """
kind: Inference
name: chat
model: Llama-2-7B
users:
  - {place: acme/us-east-1, rate: 8/s}
  - {place: Frankfurt, rate: 8/s}
limits: {latency: {first_token: FIRST}}
"""


def files(folder: Path, first: str) -> tuple[str, ...]:
    one = {"gpus": 1.0, "instance_type": "h100.1x", "usd_per_hour": 4.0, "available": 9}
    market = snapshot(offer(region="us-east-1", **one), offer(region="eu-central-1", **one))
    (folder / "market.json").write_text(documents.dump_snapshot(market))
    (folder / "job.yaml").write_text(JOB.replace("FIRST", first))
    return ("plan", str(folder / "job.yaml"), "--snapshot", str(folder / "market.json"), "--continuum")


def test_the_page_says_who_goes_where_and_what_a_lost_site_means(cli: Cli, tmp_path: Path) -> None:
    done = cli(*files(tmp_path, "1s"))
    assert done.code == 0
    for words in ("What the loss of a site means", "not served", "Frankfurt", "best single site", "above the optimum"):
        assert words in done.out


def test_the_document_has_the_plan_and_its_gap(cli: Cli, tmp_path: Path) -> None:
    done = cli(*files(tmp_path, "1s"), "--survive-site-loss", "--json")
    document = json.loads(done.out)
    assert document["gap"] >= 0.0
    assert {route["population"] for route in document["routes"]} == {"acme/us-east-1", "Frankfurt"}
    assert all(moved["kept"] for loss in document["losses"] for moved in loss["moved"])


def test_nobody_in_reach_is_exit_3_with_the_nearest_miss(cli: Cli, tmp_path: Path) -> None:
    done = cli(*files(tmp_path, "30ms"))
    assert done.code == 3
    assert "the nearest miss is H100-SXM in acme/" in done.out


def test_a_job_without_users_is_refused(cli: Cli, tmp_path: Path) -> None:
    called = files(tmp_path, "1s")
    (tmp_path / "job.yaml").write_text("kind: Training\nname: train\nmodel: Llama-2-7B\ntokens: 1B\n")
    done = cli(*called)
    assert done.code == 2
    assert "--continuum is for services" in done.err


def test_every_pool_becomes_a_job_that_can_be_planned_alone(cli: Cli, tmp_path: Path) -> None:
    called = files(tmp_path, "250ms")
    document = json.loads(cli(*called, "--write-jobs", str(tmp_path / "jobs"), "--json").out)
    written = sorted((tmp_path / "jobs").glob("*.yaml"))
    assert [path.name for path in written] == [f"chat-part-{n}.yaml" for n in range(1, len(document["pools"]) + 1)]
    served: dict[str, float] = {}
    for path, pool in zip(written, document["pools"], strict=True):
        workload = job.load(path)
        assert isinstance(workload, Inference)
        assert workload.limits.regions == (f"acme/{pool['offer']['region']}",)
        for users in workload.users:
            served[users.place] = served.get(users.place, 0.0) + users.requests_per_s
        planned = cli("plan", str(path), *called[2:4], "--json")
        assert planned.code == 0
        assert json.loads(planned.out)["ranked"][0]["parts"][0]["offer"]["region"] == pool["offer"]["region"]
    assert set(served) == {"acme/us-east-1", "Frankfurt"}
    assert all(isclose(rate, 8.0, rel_tol=1e-6) for rate in served.values())


def test_the_jobs_do_not_replace_the_one_they_come_from(cli: Cli, tmp_path: Path) -> None:
    called = files(tmp_path, "1s")
    (tmp_path / "chat-part-1.yaml").write_text((tmp_path / "job.yaml").read_text())
    done = cli("plan", str(tmp_path / "chat-part-1.yaml"), *called[2:], "--write-jobs", str(tmp_path))
    assert done.code == 2
    assert "name another folder" in done.err


def test_a_plain_plan_of_users_in_several_places_points_at_the_continuum(cli: Cli, tmp_path: Path) -> None:
    called = files(tmp_path, "1s")
    assert "2 places are all served from one site here; --continuum may use several" in " ".join(
        cli(*called[:-1]).out.split()
    )
