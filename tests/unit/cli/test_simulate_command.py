"""`isoflop simulate`: works without any file, gives the same twice, and says what is wrong with the files it gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

QUICK = {
    "jobs": ("--each", "1", "--days", "4", "--alone"),
    "spot": ("--work", "4h", "--deadline", "6h", "--jobs", "2", "--days", "2"),
    "requests": ("--count", "500", "--days", "0.1", "--alone"),
    "queue": ("--jobs", "100", "--alone"),
    "carbon": (
        "--days",
        "40",
    ),
}


@pytest.mark.parametrize("name", QUICK)
def test_every_simulation_runs_without_a_file_and_gives_the_same_twice(name: str, cli: Cli) -> None:
    first, second = (cli("simulate", name, *QUICK[name], "--json") for _ in range(2))
    assert first.code == 0, first.err
    assert first.out == second.out
    document = json.loads(first.out)
    assert document["simulation"] == name
    assert document["rows"][0]["name"] == "isoflop"


def test_the_bill_of_a_simulation_adds_up_and_holds_its_events(tmp_path: Path, job_file: Path, cli: Cli) -> None:
    bill = tmp_path / "bill.json"
    ran = cli("simulate", "jobs", job_file, *QUICK["jobs"], "--bill", bill, "--json")
    assert ran.code == 0, ran.err
    saved = json.loads(bill.read_text())
    usd = json.loads(ran.out)["rows"][0]["usd"]
    assert sum(line["usd"] for line in saved["bill"]["lines"]) == pytest.approx(usd)
    assert {event["kind"] for event in saved["events"]} >= {"submitted", "planned", "purchased", "lease-gone"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("jobs", "--arrivals", "a.csv", "job.yaml"), "either"),
        (("jobs", "--arrivals", "none.csv"), "none.csv"),
        (("jobs", "--spot-trace", "none"), "no folder"),
        (("jobs", "--policy", "deadline"), "NAME.SETTING=N"),
        (("jobs", "--prices", "none.csv"), "none.csv"),
        (("spot", "--work", "9h", "--deadline", "9h"), "do not fit"),
        (("spot", "--work", "soon"), "--work"),
        (("requests", "none.yaml"), "none.yaml"),
        (("requests", "--requests", "none.csv"), "none.csv"),
        (("queue", "--trace", "none.csv"), "none.csv"),
        (("queue", "--gpus", "1"), "never fits"),
        (("carbon", "--grid", "coal"), "nuclear"),
        (("carbon", "--days", "5"), "too few"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_2(args: tuple[str, ...], said: str, cli: Cli) -> None:
    ran = cli("simulate", *args)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_job_that_is_no_service_cannot_be_served(job_file: Path, cli: Cli) -> None:
    ran = cli("simulate", "requests", job_file)
    assert ran.code == 2
    assert "no service" in ran.err
