"""`plan --continuum -o DIR`: a plan for each pool, which `apply` takes together."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.spec import documents
from orchestrator.testing.builders import offer, snapshot
from tests.unit.cli.conftest import Cli

JOB = """
kind: Inference
name: chat
model: Llama-2-7B
users:
  - {place: acme/us-east-1, rate: 8/s}
  - {place: Frankfurt, rate: 8/s}
limits: {latency: {first_token: 200ms}}
run: {command: serve, port: 8000}
"""


def called(folder: Path, *, buyable: tuple[str, ...] = ("acme",)) -> tuple[str, ...]:
    one = {"gpus": 1.0, "instance_type": "h100.1x", "usd_per_hour": 4.0, "available": 9}
    market = snapshot(offer(region="us-east-1", **one), offer(region="eu-central-1", **one), buyable=buyable)
    (folder / "market.json").write_text(documents.dump_snapshot(market))
    (folder / "job.yaml").write_text(JOB)
    return ("plan", str(folder / "job.yaml"), "--snapshot", str(folder / "market.json"), "--continuum")


def test_every_pool_is_saved_as_a_plan_and_the_page_ends_with_the_command_that_runs_them(
    cli: Cli, tmp_path: Path
) -> None:
    pools = tmp_path / "pools"
    done = cli(*called(tmp_path), "-o", pools)
    assert done.code == 0, done.err
    saved = sorted(pools.iterdir())
    assert [path.name for path in saved] == ["chat-part-1.json", "chat-part-2.json"]
    assert done.out.splitlines()[-1].strip() == " ".join(["isoflop", "apply", *map(str, saved)])
    regions = set()
    for path in saved:
        plan, market = documents.load_plan(path.read_text())
        assert plan.best is not None
        assert plan.snapshot_id == market.id
        regions.add(plan.best.parts[0].offer.region)
        assert plan.workload.program is not None
        assert plan.workload.program.port == 8000
    assert regions == {"us-east-1", "eu-central-1"}
    assert "has the least objective" in cli("explain", saved[0]).out


def test_pools_of_an_earlier_plan_are_not_mixed_with_those_of_a_later_one(cli: Cli, tmp_path: Path) -> None:
    pools = tmp_path / "pools"
    pools.mkdir()
    (pools / "chat-part-3.json").write_text("{}")
    done = cli(*called(tmp_path), "-o", pools)
    assert done.code == 2
    assert "chat-part-3.json; remove them or name another folder" in done.err
    assert [path.name for path in pools.iterdir()] == ["chat-part-3.json"]


def test_a_file_is_no_folder_for_pools_and_list_prices_are_nothing_to_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli(*called(tmp_path), "-o", tmp_path / "file")
    assert (done.code, "is a folder" in done.err) == (2, True)
    done = cli(*called(tmp_path, buyable=()), "-o", tmp_path / "pools")
    assert (done.code, "plan with --buyable" in done.err) == (2, True)


def test_one_plan_that_no_longer_holds_keeps_all_from_being_run(cli: Cli, tmp_path: Path) -> None:
    pools = tmp_path / "pools"
    cli(*called(tmp_path), "-o", pools)
    done = cli("apply", *sorted(pools.iterdir()))
    assert done.code == 5  # nobody sells this market here
    assert done.err.count("no longer on the market") == 2
    assert "chat-part-1.json" in done.err
    assert "chat-part-2.json" in done.err


def test_services_are_listed_where_nothing_runs_and_a_name_that_nobody_has_is_an_error(cli: Cli) -> None:
    assert "No service runs" in cli("endpoints").out
    assert json.loads(cli("endpoints", "--json").out) == []
    assert cli("endpoints", "chat").code == 2
    assert cli("endpoints", "--path", "health").code == 2
