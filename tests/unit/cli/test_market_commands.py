"""`offers`, `catalog`, `schema`, `init`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.spec import job
from orchestrator.spec.templates import KINDS
from tests.unit.cli.conftest import Cli

HEADER = (
    "provider,region,zone,instance_type,gpu,gpu_count,gpu_mem_gib,vcpu,mem_gib,on_demand,spot,currency,"
    "interrupt_idx,od_source,od_as_of,spot_source\n"
)
GOOD = "acme,us-9,us-9a,x1.big,T4,4.0,16.0,48.0,192.0,5.0,0.5,USD,0.0,acme/list,2025-11-30,acme/spot-2025-06\n"
BAD = "acme,us-9,us-9b,x1.big,T4,four,16.0,48.0,192.0,5.0,0.5,USD,0.0,acme/list,2025-11-30,acme/spot-2025-06\n"


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "acme.csv"
    path.write_text(HEADER + GOOD + BAD)
    return path


def test_offers_lists_the_bundled_market_cheapest_gpu_first(cli: Cli) -> None:
    told = json.loads(cli("offers", "--limit", "0", "--json").out)
    prices = [each["usd_per_gpu_hour"] for each in told["offers"]]
    assert len(prices) == told["matching"] == told["market"] > 100
    assert prices == sorted(prices)
    assert all(each["source"] and each["price_age_s"] is not None for each in told["offers"])


def test_offers_filters_and_says_how_many_match(cli: Cli) -> None:
    ran = cli("offers", "--gpu", "H100", "--billing", "spot", "--max-gpu-price", "$100", "--limit", "2")
    assert ran.code == 0
    rows = [line for line in ran.out.splitlines() if " spot " in line]
    assert len(rows) == 2
    assert all("H100" in row for row in rows)
    assert "2 of " in ran.out
    assert "--limit 0 shows all" in ran.out


def test_offers_of_an_older_edition_are_marked_as_old(cli: Cli) -> None:
    ran = cli("offers", "--edition", "a16z-2023-04-07", "--gpu", "A100")
    assert ran.code == 0
    assert "OLD" in ran.out
    told = json.loads(cli("offers", "--edition", "a16z-2023-04-07", "--json").out)
    assert all(each["price_old"] for each in told["offers"])


def test_offers_that_match_nothing_suggest_what_was_meant(cli: Cli) -> None:
    ran = cli("offers", "--gpu", "H1OO", "--provider", "awz")
    assert ran.code == 0
    assert "did you mean" in ran.out
    assert "no provider is called 'awz'" in ran.out


@pytest.mark.parametrize(
    "asked",
    [("--billing", "free"), ("--max-price", "-1"), ("--sort", "luck"), ("--edition", "1999"), ("--limit", "-3")],
)
def test_offers_refuses_what_it_does_not_know(asked: tuple[str, ...], cli: Cli) -> None:
    ran = cli("offers", *asked)
    assert ran.code == 2
    assert asked[0] in ran.err or asked[1] in ran.err


def test_an_import_is_listed_planned_over_and_forgotten(cli: Cli, csv_file: Path) -> None:
    ran = cli("catalog", "import", csv_file)
    assert ran.code == 0
    assert "imported 2 offers" in ran.out
    assert f"{csv_file}:3" in ran.out  # the bad row, with its line
    assert json.loads(cli("offers", "--provider", "acme", "--json").out)["matching"] == 2
    assert [each["name"] for each in json.loads(cli("catalog", "list", "--json").out)] == ["acme"]
    assert cli("catalog", "forget", "acme").code == 0
    assert json.loads(cli("offers", "--provider", "acme", "--json").out)["matching"] == 0
    again = cli("catalog", "forget", "acme")
    assert again.code == 2
    assert "nothing is imported as 'acme'" in again.err


def test_an_import_that_refuses_bad_rows_imports_nothing(cli: Cli, csv_file: Path) -> None:
    ran = cli("catalog", "import", csv_file, "--on-bad", "refuse")
    assert ran.code == 2
    assert f"{csv_file}:3" in ran.err
    assert json.loads(cli("catalog", "list", "--json").out) == []


def test_an_import_in_json_has_every_bad_row(cli: Cli, csv_file: Path) -> None:
    told = json.loads(cli("catalog", "import", csv_file, "--name", "mine", "--json").out)
    assert (told["name"], told["good"], told["bad_rows"]) == ("mine", 1, 1)
    assert [bad["line"] for bad in told["bad"]] == [3]


def test_a_file_to_import_that_is_missing_is_named(cli: Cli, tmp_path: Path) -> None:
    ran = cli("catalog", "import", tmp_path / "none.csv")
    assert ran.code == 2
    assert "none.csv" in ran.err


def test_a_damaged_import_is_named_with_its_remedy(
    cli: Cli, csv_file: Path, job_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISOFLOP_HOME", str(tmp_path / "home"))
    cli("catalog", "import", csv_file)
    kept = tmp_path / "home" / "catalog" / "acme.offers"
    kept.write_bytes(kept.read_bytes()[:-3])
    ran = cli("plan", job_file, "--offline")
    assert ran.code == 2
    assert str(kept) in ran.err
    assert "isoflop catalog import" in ran.err


def test_schema_is_json_schema(cli: Cli, tmp_path: Path) -> None:
    schema = json.loads(cli("schema").out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert cli("schema", "-o", tmp_path / "s.json").out == ""
    assert json.loads((tmp_path / "s.json").read_text()) == schema


@pytest.mark.parametrize("kind", KINDS)
def test_init_writes_a_job_that_can_be_read_and_sized(kind: str, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    ran = cli("init", kind.lower(), "-o", path)
    assert ran.code == 0
    assert kind == job.load(path).KIND
    assert cli("size", path, "--accelerator", "H100-SXM").code == 0


def test_init_does_not_overwrite_unless_told_to(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("mine")
    ran = cli("init", "training", "-o", path)
    assert ran.code == 2
    assert path.read_text() == "mine"
    assert cli("init", "training", "-o", path, "--force").code == 0
    assert path.read_text() != "mine"


def test_init_of_an_unknown_kind_names_the_nearest(cli: Cli) -> None:
    ran = cli("init", "trainin")
    assert ran.code == 2
    assert "Training" in ran.err


def test_init_prints_the_template_or_its_json(cli: Cli) -> None:
    text = cli("init", "batch-inference").out
    assert json.loads(cli("init", "BatchInference", "--json").out) == {"kind": "BatchInference", "template": text}
