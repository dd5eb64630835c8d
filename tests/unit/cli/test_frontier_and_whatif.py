"""`plan --frontier`, `plan --relax`, `explain --price` and the other what-ifs, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.domain.offer import Billing
from orchestrator.spec import documents
from orchestrator.testing.builders import network, offer, snapshot
from tests.unit.cli.conftest import Cli


@pytest.fixture
def market(tmp_path: Path) -> Path:
    offers = (
        offer(),
        offer(billing=Billing.SPOT, usd_per_hour=12.5, interruption_rate=0.05),
        offer(region="eu-central-1", usd_per_hour=30.0),
        offer(provider="zed", region="zed-1", usd_per_hour=20.0, available=None),
    )
    path = tmp_path / "market.json"
    path.write_text(documents.dump_snapshot(snapshot(*offers, network=network())))
    return path


@pytest.fixture
def saved(cli: Cli, job_file: Path, market: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    assert cli("plan", job_file, "--snapshot", market, "-o", path).code == 0
    return path


def test_the_frontier_names_its_extremes_and_says_so_in_json(cli: Cli, job_file: Path, market: Path) -> None:
    ran = cli("plan", job_file, "--snapshot", market, "--frontier")
    assert ran.code == 0
    assert all(word in ran.out for word in ("cheapest", "fastest", "greenest", "kg"))
    told = json.loads(cli("plan", job_file, "--snapshot", market, "--frontier", "--json").out)
    titles = {title for point in told["points"] for title in point["titles"]}
    assert titles == {"cheapest", "fastest", "greenest", "least objective"}
    assert told["considered"] >= len(told["points"]) >= len(told["placements"])


def test_the_frontier_is_drawn(cli: Cli, job_file: Path, market: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charts are drawn with matplotlib, which is not installed")
    ran = cli("plan", job_file, "--snapshot", market, "--chart", tmp_path / "f.svg")
    assert ran.code == 0
    assert "Cheapest, fastest, greenest" in (tmp_path / "f.svg").read_text()


def test_a_chart_of_no_known_kind_is_refused_before_any_work(cli: Cli, job_file: Path, market: Path) -> None:
    ran = cli("plan", job_file, "--snapshot", market, "--chart", "f.gif")
    assert ran.code == 2
    assert ".svg or .png" in ran.err


def test_relax_shows_what_each_limit_costs(cli: Cli, market: Path, tmp_path: Path) -> None:
    job = tmp_path / "tight.yaml"
    job.write_text(
        "kind: Training\nname: tight\nmodel: {name: m, parameters: 7B}\ntokens: 2B\n"
        "limits: {providers: [acme], billing: [on-demand], regions: [us-east-1]}\n"
    )
    ran = cli("plan", job, "--snapshot", market, "--relax")
    assert ran.code == 0
    assert "What to relax to save how much" in ran.out
    assert "allow spot" in ran.out
    told = json.loads(cli("plan", job, "--snapshot", market, "--relax", "--json").out)["relax"]
    assert [each["saving_usd"] for each in told] == sorted((each["saving_usd"] for each in told), reverse=True)
    assert "relax" not in json.loads(cli("plan", job, "--snapshot", market, "--json").out)


def test_where_nothing_is_feasible_the_least_change_that_mends_it_is_shown(
    cli: Cli, market: Path, tmp_path: Path
) -> None:
    job = tmp_path / "none.yaml"
    job.write_text(
        "kind: Training\nname: none\nmodel: {name: m, parameters: 7B}\ntokens: 2B\nlimits: {regions: [us-west-9]}\n"
    )
    ran = cli("plan", job, "--snapshot", market)
    assert ran.code == 3
    assert "What would make it feasible" in ran.out
    assert "allow us-east-1" in ran.out


def test_explain_says_what_to_relax(cli: Cli, saved: Path) -> None:
    assert "relax" in cli("explain", saved).out
    assert "relax" in json.loads(cli("explain", saved, "--json").out)
    assert "relax" not in json.loads(cli("explain", saved, "acme", "--json").out)


def test_what_if_shows_both_choices_and_the_terms_that_change(cli: Cli, saved: Path) -> None:
    ran = cli("explain", saved, "--price", "zed=-80%", "--policy", "cost.usd_per_gib_month=0.1")
    assert ran.code == 2, "a setting that a policy does not have"
    ran = cli("explain", saved, "--price", "zed=-80%", "--set", "limits.budget=300k")
    assert ran.code == 0
    assert "the choice moves to 1x zed zed-1 h100.8x on-demand" in ran.out
    assert "Terms that change" in ran.out
    assert "zed: price -80 % (1 offer)" in ran.out
    told = json.loads(cli("explain", saved, "--sold-out", "spot", "--without", "zed", "--json").out)
    assert told["edits"] == ["without zed (1 offer)", "spot: sold out (1 offer)"]
    assert told["feasible_after"] == told["feasible_before"] - 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--price", "zedd=-20%"), "no offer matches; known and similar: zed"),
        (("--price", "zed"), "write OFFER=-20%"),
        (("--sold-out", "mars"), "no offer matches"),
        (("--without", "zedd"), "known and similar: zed"),
        (("--add-nodes", "acme"), "write OFFER=+16"),
        (("--set", "limits.bugdet=3"), "did you mean 'limits.budget'"),
        (("--set", "limits.budget"), "write FIELD=VALUE"),
        (("--set", "limits.budget=3", "--set", "limits.budget=4"), "changed twice, to 3 and to 4"),
        (("--price", "zed=-20%", "--price", "zed=$3/h"), "change the same offers"),
        (("--price", "zed=-20%", "acme"), "one after the other"),
        (("--policy", "nobody.x=3"), "nobody"),
    ],
)
def test_a_what_if_that_makes_no_sense_says_why(arguments: tuple[str, ...], said: str, cli: Cli, saved: Path) -> None:
    ran = cli("explain", saved, *arguments)
    assert ran.code == 2
    assert said in ran.err
