"""`isoflop network`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

TABLE = "a,b,rtt_ms,gbit_s\naws/us-east-1,aws/eu-central-1,91.5,4.5\nParis,Rome,x,\nParis,nowhere/x,10,\n"
JOB = """\
kind: Inference
name: serve
model: {parameters: 7B}
users: [{place: aws/us-east-1, rate: 1/s}]
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "ours.csv"
    path.write_text(TABLE)
    return path


def test_an_import_says_what_it_took_and_what_it_left(table: Path, cli: Cli) -> None:
    ran = cli("network", "import", table, "--as-of", "2026-05-01")
    assert ran.code == 0
    assert "imported 2 links" in ran.out
    assert "as ours (layout isoflop)" in ran.out
    assert "1 end in places that nobody knows, of no use to plans: nowhere/x" in ran.out
    assert "the round trip 'x' is no number" in ran.out
    told = json.loads(cli("network", "import", table, "--json").out)
    assert told["faults"] == [{"line": 3, "message": "the round trip 'x' is no number"}]
    assert told["links"] == 2


def test_a_path_shows_what_plans_count_and_whence(table: Path, cli: Cli) -> None:
    path = ("network", "show", "aws/us-east-1", "aws/eu-central-1", "--offline")
    before = cli(*path)
    assert "great-circle estimate, 8 of 10 are" in before.out
    assert "nobody measured it" in before.out
    cli("network", "import", table, "--as-of", "2026-05-01")
    after = cli(*path)
    assert "91.5 ms (imported from ours.csv, measured 2026-05-01)" in after.out
    assert "4.5 Gbit/s (imported from ours.csv" in after.out
    assert "$0.020 per GiB" in after.out
    told = json.loads(cli(*path, "--json").out)
    assert (told["rtt_ms"], told["estimate"], told["links"][0]["gbit_s"]) == (91.5, None, 4.5)


def test_the_plan_of_a_service_says_how_it_knows_the_round_trip_and_its_snapshot_keeps_that(
    table: Path, tmp_path: Path, cli: Cli
) -> None:
    job, saved = tmp_path / "job.yaml", tmp_path / "plan.json"
    job.write_text(JOB)
    assert "great-circle estimate" in cli("plan", job, "--offline").out
    cli("network", "import", table)
    told = json.loads(cli("plan", job, "--offline", "--json", "--top", "1000", "-o", saved).out)
    origins = {
        placement["rtt_origin"]
        for placement in told["ranked"]
        if placement["parts"][0]["offer"]["provider"] == "aws"
        and placement["parts"][0]["offer"]["region"] == "eu-central-1"
    }
    assert len(origins) == 1
    assert origins.pop().startswith("imported from ours.csv on ")
    cli("network", "forget", "ours")
    shown = cli("network", "show", "aws/us-east-1", "aws/eu-central-1", "--snapshot", saved)
    assert "imported from ours.csv on " in shown.out


def test_imports_are_listed_and_forgotten(table: Path, cli: Cli) -> None:
    assert "estimated from the distance" in cli("network", "show", "--offline").out
    cli("network", "import", table, "--name", "mine")
    assert "mine" in cli("network", "show", "--offline").out
    assert json.loads(cli("network", "show", "--offline", "--json").out)["imports"][0]["links"] == 2
    assert cli("network", "forget", "mine").code == 0
    again = cli("network", "forget", "mine")
    assert again.code == 2
    assert "no links are imported as 'mine' (imported: nothing)" in again.err


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("Paris",), "name two places"),
        (("Pariss", "Rome"), "the place 'Pariss' is unknown; did you mean Paris"),
        (("Paris", "91,0"), "unknown"),
    ],
)
def test_bad_places_are_refused_in_words(args: tuple[str, ...], complaint: str, cli: Cli) -> None:
    ran = cli("network", "show", "--offline", *args)
    assert ran.code == 2
    assert complaint in ran.err
