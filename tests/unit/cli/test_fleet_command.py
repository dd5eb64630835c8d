"""`isoflop plan` of several jobs, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.runtime import workers
from orchestrator.spec import documents
from orchestrator.testing.builders import network, offer, snapshot
from tests.unit.cli.conftest import Cli

JOB = """\
kind: Training
name: {name}
model: {{parameters: 7B}}
tokens: 2B
{more}
"""


@pytest.fixture
def market(tmp_path: Path) -> Path:
    offers = (offer(available=2), offer(region="eu-central-1", usd_per_hour=20.0, available=1))
    path = tmp_path / "market.json"
    path.write_text(documents.dump_snapshot(snapshot(*offers, network=network())))
    return path


def job(folder: Path, name: str, more: str = "", file: str = "") -> Path:
    path = folder / f"{file or name}.yaml"
    path.write_text(JOB.format(name=name, more=more))
    return path


def test_several_jobs_get_one_plan_that_can_be_saved_and_planned_again(cli: Cli, tmp_path: Path, market: Path) -> None:
    files = [job(tmp_path, name, "run: {command: [true]}") for name in ("a", "b", "c")]
    ran = cli("plan", *files, "--snapshot", market, "-o", tmp_path / "fleet.json")
    assert ran.code == 0
    assert "Plan for 3 jobs" in ran.out
    assert f"isoflop submit {files[0]}" in ran.out
    again = cli("plan", *files, "--snapshot", market, "--current", tmp_path / "fleet.json", "--json")
    assert again.code == 0
    told = json.loads(again.out)
    assert [move["moved"] for move in told["moves"]] == [False, False, False]
    assert told["gap"] < 1e-3


def test_the_order_of_the_files_changes_nothing(cli: Cli, tmp_path: Path, market: Path) -> None:
    files = [job(tmp_path, name) for name in ("a", "b", "c")]
    one = cli("plan", *files, "--snapshot", market, "--json")
    other = cli("plan", *reversed(files), "--snapshot", market, "--json")
    assert one.out == other.out


def test_a_job_without_a_place_makes_exit_code_3_and_is_told_why(cli: Cli, tmp_path: Path, market: Path) -> None:
    files = [job(tmp_path, name) for name in ("a", "b", "c", "d")]
    ran = cli("plan", *files, "--snapshot", market, "--time-limit", "5s")
    assert ran.code == 3
    assert "1 of 4 jobs have no place" in ran.err
    assert "come free after" in ran.out
    assert "one more node of" in ran.out


def test_what_does_not_go_together_is_an_error_of_its_file(cli: Cli, tmp_path: Path, market: Path) -> None:
    a, twin = job(tmp_path, "a"), job(tmp_path, "a", file="twin")
    ran = cli("plan", a, twin, "--snapshot", market)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {twin}: name: ")
    lost = job(tmp_path, "b", "after: [aa]")
    ran = cli("plan", a, lost, "--snapshot", market)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {lost}: after: no job is called 'aa'")
    one, other = job(tmp_path, "x", "after: [y]"), job(tmp_path, "y", "after: [x]")
    ran = cli("plan", one, other, "--snapshot", market)
    assert ran.code == 2
    assert "jobs wait for each other" in ran.err


def test_options_of_one_job_are_refused_for_several(cli: Cli, tmp_path: Path, market: Path) -> None:
    ran = cli("plan", job(tmp_path, "a"), job(tmp_path, "b"), "--snapshot", market, "--frontier")
    assert ran.code == 2
    assert "--frontier" in ran.err


def test_a_file_that_is_no_fleet_plan_is_named(cli: Cli, tmp_path: Path, market: Path) -> None:
    ran = cli("plan", job(tmp_path, "a"), "--snapshot", market, "--current", market)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {market}: this is no fleet plan")


def test_quotas_of_the_settings_are_kept(
    cli: Cli, tmp_path: Path, market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[quotas]]\nprovider = "acme"\nregion = "us-*"\ngpus = 8\n')
    monkeypatch.setenv("ISOFLOP_CONFIG", str(config))
    ran = cli("plan", *(job(tmp_path, name) for name in ("a", "b", "c")), "--snapshot", market)
    assert ran.code == 3
    assert "of the quota acme us-*: 8 GPUs saves" in ran.out


WRONG = {
    'provider = "aws"': "needs either gpus or nodes",
    "gpus = 8": "needs at least one of",
    'provider = "aws"\ngpus = -1': "a number of 0 or more",
    'provider = "aws"\nnodes = 1.5': "a whole number",
    'provider = "aws"\nnodes = 1\nregoin = "x"': "unknown setting regoin",
    'provider = "aws"\nnodes = 1\nbilling = "spoot"': "billing is one of",
    "provider = 3\nnodes = 1": "is a text",
}


@pytest.mark.parametrize("table", WRONG)
def test_a_wrong_quota_is_named(
    table: str, cli: Cli, tmp_path: Path, market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[[quotas]]\n{table}\n")
    monkeypatch.setenv("ISOFLOP_CONFIG", str(config))
    ran = cli("plan", job(tmp_path, "a"), job(tmp_path, "b"), "--snapshot", market)
    assert ran.code == 2
    assert f"{config}: quotas[0]" in ran.err
    assert WRONG[table] in ran.err


def test_applying_a_fleet_plan_says_how_its_jobs_are_handed_in(cli: Cli, tmp_path: Path, market: Path) -> None:
    files = [job(tmp_path, name, "run: {command: [true]}") for name in ("a", "b")]
    assert cli("plan", *files, "--snapshot", market, "-o", tmp_path / "fleet.json").code == 0
    ran = cli("apply", tmp_path / "fleet.json")
    assert ran.code == 2
    assert "the plan of several jobs" in ran.err
    assert "isoflop submit" in ran.err


def test_workers_are_of_several_jobs(cli: Cli, tmp_path: Path, market: Path) -> None:
    ran = cli("plan", job(tmp_path, "a"), "--snapshot", market, "--workers", "2")
    assert ran.code == 2
    assert "--workers is of several jobs" in ran.err


def test_more_than_one_worker_without_ray_names_the_extra(
    cli: Cli, tmp_path: Path, market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LIBRARY", "no_such_library")
    files = [job(tmp_path, name) for name in ("a", "b")]
    ran = cli("plan", *files, "--snapshot", market, "--workers", "2")
    assert ran.code == 2
    assert "pip install 'isoflop[run]'" in ran.err
    assert cli("plan", *files, "--snapshot", market, "--workers", "1").code == 0
