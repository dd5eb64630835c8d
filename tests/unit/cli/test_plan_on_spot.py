"""`plan --on-spot`: over a saved market, in this process."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.domain.offer import Billing
from orchestrator.spec import documents
from orchestrator.testing.builders import offer, snapshot
from tests.unit.cli.conftest import Cli

JOB = "kind: Training\nname: train\nmodel: Llama-2-7B\ntokens: 2B\n"
DEADLINE = "limits: {deadline: 3d}\n"


def called(folder: Path, job: str = JOB + DEADLINE, *, spot: bool = True) -> tuple[str, ...]:
    offers = [offer()]
    if spot:
        offers.append(offer(billing=Billing.SPOT, usd_per_hour=10.0))
    (folder / "market.json").write_text(documents.dump_snapshot(snapshot(*offers)))
    (folder / "job.yaml").write_text(job)
    return ("plan", str(folder / "job.yaml"), "--snapshot", str(folder / "market.json"), "--on-spot")


def test_the_page_says_what_it_is_expected_to_cost_and_what_to_do(cli: Cli, tmp_path: Path) -> None:
    done = cli(*called(tmp_path))
    assert done.code == 0
    for words in ("expected", "on demand only", "acme us-east-1 h100.8x spot", "What to do without a machine", "wait"):
        assert words in done.out


def test_the_document_has_the_cost_the_regions_and_the_table(cli: Cli, tmp_path: Path) -> None:
    document = json.loads(cli(*called(tmp_path), "--json").out)
    assert document["expected"]["usd"] < document["expected"]["on_demand_usd"]
    assert document["regions"][0]["offer"]["instance_type"] == "h100.8x"
    table = document["table"]
    assert [len(row) for row in table["without"]] == [len(table["spare_h"])] * len(table["work_h"])


def test_a_job_without_a_deadline_is_exit_2(cli: Cli, tmp_path: Path) -> None:
    done = cli(*called(tmp_path, JOB))
    assert done.code == 2
    assert "--on-spot needs a deadline" in done.err


def test_a_market_without_spot_is_exit_3(cli: Cli, tmp_path: Path) -> None:
    done = cli(*called(tmp_path, spot=False))
    assert done.code == 3
    assert "no spot offer is feasible" in done.err


def test_a_job_that_fits_nowhere_shows_its_refusals(cli: Cli, tmp_path: Path) -> None:
    done = cli(*called(tmp_path, JOB + "limits: {deadline: 2min}\n"))
    assert done.code == 3
    assert "No feasible placement" in done.out


def test_it_is_one_answer_at_a_time_and_of_one_job(cli: Cli, tmp_path: Path) -> None:
    words = called(tmp_path)
    assert "ask for one" in cli(*words, "--frontier").err
    assert "are of one job" in cli(*words, str(tmp_path / "job.yaml")).err
