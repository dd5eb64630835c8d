"""`catalog refresh`, `catalog diff`, `offers --history`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.interfaces.cli import session
from orchestrator.testing.clock import FakeClock
from tests.unit.cli.conftest import Cli

SETTINGS = """\
[providers.local]
enabled = false

[providers.simulated]
market = "world"
"""
THROTTLED = """
[[providers.simulated.faults]]
kind = "throttle"
verb = "offers"
times = 2
delay_s = 3.0
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with the simulated provider alone."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "config.toml").write_text(SETTINGS)
    monkeypatch.setenv("ISOFLOP_HOME", str(folder))
    return folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of every command."""
    found = FakeClock()
    opened = session.open_app

    def with_clock() -> object:
        app = opened()
        return type(app)(app.settings, found)

    monkeypatch.setattr(session, "open_app", with_clock)
    return found


def refreshed(cli: Cli) -> dict[str, object]:
    ran = cli("catalog", "refresh", "--json")
    assert ran.code == 0, ran.err
    [provider] = json.loads(ran.out)["providers"]
    return provider  # type: ignore[no-any-return]


@pytest.mark.usefixtures("home")
def test_refreshed_prices_are_in_the_market_of_lists_and_plans(cli: Cli, clock: FakeClock, job_file: Path) -> None:
    told = refreshed(cli)
    assert (told["provider"], told["answered"], told["complete"], told["problem"]) == ("simulated", True, True, "")
    offers = json.loads(cli("offers", "--provider", "simulated", "--limit", "0", "--json").out)
    assert offers["matching"] == told["offers"]
    assert {each["available"] for each in offers["offers"]} == {None}
    clock.advance(3600)
    aged = json.loads(cli("offers", "--provider", "simulated", "--limit", "1", "--json").out)
    assert aged["offers"][0]["price_age_s"] == 3600
    assert "simulated" in cli("plan", job_file, "--offline").out


@pytest.mark.usefixtures("home")
def test_what_a_refresh_changed_is_shown_by_diff_and_history(cli: Cli, clock: FakeClock) -> None:
    assert cli("catalog", "diff").out == "No prices are kept yet: isoflop catalog refresh or import some.\n"
    first = refreshed(cli)
    assert first["changes"] == {"up": 0, "down": 0, "sold out": 0, "back": 0, "new": 0, "gone": 0}
    assert "Nothing to compare with yet." in cli("catalog", "diff").out
    clock.advance(86400)
    second = refreshed(cli)
    [source] = json.loads(cli("catalog", "diff", "--json").out)
    assert source["source"] == "live-simulated"
    counted = {kind: sum(each["kind"] == kind for each in source["changes"]) for kind in second["changes"]}  # type: ignore[attr-defined]
    assert counted == second["changes"]
    assert counted["up"] + counted["down"] > 0
    sizes = [abs(each["percent"]) for each in source["changes"] if each["kind"] in ("up", "down")]
    assert sizes == sorted(sizes, reverse=True)
    biggest = source["changes"][0]
    asked = (
        "--instance-type",
        biggest["instance_type"],
        "--region",
        biggest["region"],
        "--billing",
        biggest["billing"],
    )
    [path] = json.loads(cli("offers", "--history", *asked, "--json").out)["paths"]
    assert [point["usd_per_hour"] for point in path["points"]] == [
        biggest["usd_per_hour_before"],
        biggest["usd_per_hour"],
    ]
    page = cli("offers", "--history", *asked).out
    assert "Changes" in page
    assert "█" in page


@pytest.mark.usefixtures("home")
def test_diff_since_a_date_a_duration_or_nonsense(cli: Cli, clock: FakeClock) -> None:
    refreshed(cli)
    for _ in range(2):
        clock.advance(86400)
        refreshed(cli)

    def since(text: str) -> str:
        return str(json.loads(cli("catalog", "diff", "--since", text, "--json").out)[0]["since"])

    assert since("2026-01-01").startswith("2026-01-01")
    assert since("36h").startswith("2026-01-01")
    assert since("20h").startswith("2026-01-02")
    for nonsense in ("yesterday", "2026-13", "-3d", "1e400d"):
        ran = cli("catalog", "diff", "--since", nonsense)
        assert ran.code == 2, nonsense
        assert "--since" in ran.err
    assert json.loads(cli("catalog", "diff", "--provider", "simulated", "--json").out)
    ran = cli("catalog", "diff", "--provider", "simulatde")
    assert ran.code == 2
    assert "did you mean 'simulated'" in ran.err


def test_a_throttled_provider_is_asked_again_by_the_clock(cli: Cli, clock: FakeClock, home: Path) -> None:
    (home / "config.toml").write_text(SETTINGS + THROTTLED)
    assert refreshed(cli)["answered"]
    assert clock.slept_s == 6.0


@pytest.mark.usefixtures("clock")
def test_where_nobody_answers_it_is_an_error_that_says_why(cli: Cli, home: Path) -> None:
    (home / "config.toml").write_text(SETTINGS + THROTTLED.replace("times = 2", "times = 0").replace("3.0", "900.0"))
    ran = cli("catalog", "refresh")
    assert ran.code == 4
    assert "no provider told any prices" in ran.err
    assert "failed" in ran.out


@pytest.mark.usefixtures("home")
def test_a_provider_that_is_not_installed_or_a_wait_of_nothing_is_refused(cli: Cli) -> None:
    ran = cli("catalog", "refresh", "--provider", "simulatde")
    assert ran.code == 2
    assert "simulated" in ran.err
    assert cli("catalog", "refresh", "--wait", "soon").code == 2
    assert cli("catalog", "refresh", "--wait", "0s").code == 2


def test_without_a_provider_with_prices_it_says_what_to_do(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOFLOP_HOME", str(tmp_path / "fresh"))
    ran = cli("catalog", "refresh")
    assert ran.code == 0
    assert "--from gpuhunt" in ran.out


@pytest.mark.usefixtures("home", "clock")
def test_refreshed_prices_are_listed_and_forgotten(cli: Cli) -> None:
    refreshed(cli)
    assert [each["name"] for each in json.loads(cli("catalog", "list", "--json").out)] == ["live:simulated"]
    assert cli("catalog", "forget", "live:simulated").code == 0
    assert json.loads(cli("catalog", "diff", "--json").out) == []
    again = cli("catalog", "forget", "live:simulated")
    assert again.code == 2
    assert "nothing is imported" in again.err


@pytest.mark.usefixtures("home", "clock")
def test_an_import_has_its_history_too(cli: Cli, tmp_path: Path) -> None:
    header = "provider,region,instance_type,gpu,gpu_count,on_demand,od_as_of\n"
    path = tmp_path / "mine.csv"
    for price in ("2.0", "1.5"):
        path.write_text(f"{header}acme,moon,x1,T4,1,{price},2025-12-30\n")
        cli("catalog", "import", path)
    [source] = json.loads(cli("catalog", "diff", "--json").out)
    assert [(each["kind"], each["percent"]) for each in source["changes"]] == [("down", -25.0)]
    assert "mine, imported" in cli("catalog", "diff").out
    cli("catalog", "forget", "mine")
    assert "No history" in cli("offers", "--history").out


@pytest.mark.usefixtures("home")
def test_a_history_of_nothing_says_what_may_have_been_meant(cli: Cli) -> None:
    ran = cli("offers", "--history", "--provider", "awz")
    assert ran.code == 0
    assert "did you mean aws" in ran.out
    for other in ("--live", "--available"):
        assert cli("offers", "--history", other).code == 2


@pytest.mark.usefixtures("home", "clock")
def test_negotiated_prices_are_taken_off_once(cli: Cli, home: Path) -> None:
    listed = refreshed(cli)
    before = json.loads(cli("offers", "-p", "simulated", "-n", "0", "--json").out)["offers"]
    (home / "config.toml").write_text(SETTINGS + '[[prices]]\nprovider = "simulated"\npercent = -50\n')
    assert refreshed(cli)["changes"] == dict.fromkeys(listed["changes"], 0)  # type: ignore[attr-defined]
    after = json.loads(cli("offers", "-p", "simulated", "-n", "0", "--json").out)["offers"]
    assert [each["usd_per_hour"] for each in after] == [each["usd_per_hour"] / 2 for each in before]
