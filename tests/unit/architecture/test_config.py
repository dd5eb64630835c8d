"""Settings, credentials and the registry: what is refused, and in which words."""

from __future__ import annotations

import stat
import threading
from datetime import UTC
from pathlib import Path

import pytest

from orchestrator import config, credentials, installation, registry
from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.errors import ConfigError, MissingCredentials, UserError


def load(tmp_path: Path, text: str) -> config.Settings:
    (tmp_path / "config.toml").write_text(text)
    return config.load({"ISOFLOP_HOME": str(tmp_path)})


def test_without_a_file_this_machine_is_the_only_provider(tmp_path: Path) -> None:
    settings = config.load({"ISOFLOP_HOME": str(tmp_path / "new")})
    assert settings.home == tmp_path / "new"
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert dict(settings.providers) == {"local": {}}


def test_a_provider_table_switches_it_on_and_enabled_false_off(tmp_path: Path) -> None:
    settings = load(tmp_path, "[providers.simulated]\nseed = 3\n[providers.local]\nenabled = false\n")
    assert dict(settings.providers) == {"simulated": {"seed": 3}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[market]\nedtion = 'current'", "did you mean 'edition'?"),
        ("[provider.aws]", "did you mean 'providers'?"),
        ("[market]\ndeadline_s = -1", "market.deadline_s is a number above 0, not -1"),
        ("[market]\ndeadline_s = nan", "market.deadline_s is a number above 0"),
        ("[market]\ndeadline_s = true", "market.deadline_s is a number above 0"),
        ("[control]\nport = 70000", "control.port is a whole number from 0 to 65535"),
        ("providers = 3", "providers is a table"),
        ("[providers]\naws = 3", "providers.aws is a table"),
        ("[market]\nedition = 3", "market.edition is a text"),
        ("not toml", "not valid TOML"),
    ],
)
def test_a_wrong_setting_names_the_file_and_the_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "config.toml") in str(caught.value)
    assert told in str(caught.value)


def test_budgets_of_teams_and_of_everybody_for_a_period(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
[budget]
approval_above_usd = 10000
approver = "cfo@acme"
[[budgets]]
team = "research"
cap_usd = 50000
period = "2026-Q4"
[[budgets]]
cap_usd = 7e4
period = "2026-12"
[[budgets]]
cap_usd = 1
starts_at = 2027-01-01
ends_at = 2027-01-02T03:00:00+01:00
[[budgets]]
team = "x"
cap_usd = 1
period = "2026"
""",
    )
    assert settings.approval == ApprovalRule("cfo@acme", 10000.0)
    told = [
        (purse.name, purse.cap_usd, f"{purse.starts_at:%Y-%m-%dT%H}", f"{purse.ends_at:%Y-%m-%dT%H}")
        for purse in settings.budgets
    ]
    assert told == [
        ("research", 50000.0, "2026-10-01T00", "2027-01-01T00"),
        ("", 70000.0, "2026-12-01T00", "2027-01-01T00"),
        ("", 1.0, "2027-01-01T00", "2027-01-02T02"),
        ("x", 1.0, "2026-01-01T00", "2027-01-01T00"),
    ]
    assert all(purse.starts_at.tzinfo is UTC for purse in settings.budgets)


def test_without_budgets_nobody_is_asked_and_no_purse_is_kept(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert (settings.approval, settings.budgets) == (None, ())


PURSE = "[[budgets]]\ncap_usd = 5\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[budget]\napprover = 'a'", "[budget] needs approval_above_usd"),
        ("[budget]\napproval_above_usd = 5", "and approver"),
        ("[budget]\napproval_above_usd = -5\napprover = 'a'", "budget.approval_above_usd is a number above 0"),
        ("[budget]\naprover = 'a'", "did you mean 'approver'?"),
        ("budgets = 3", "budgets are a list of tables"),
        ("[[budgets]]\nperiod = '2026'", "budgets[0] needs cap_usd"),
        (PURSE, "needs either period"),
        (f"{PURSE}period = '2026-Q5'", "2026-Q4 or 2026-11, not '2026-Q5'"),
        (f"{PURSE}period = '2026-13'", "not '2026-13'"),
        (f"{PURSE}period = '2026'\nends_at = 2026-01-01", "needs either period"),
        (f"{PURSE}starts_at = 2026-01-01", "budgets[0].ends_at is a date"),
        (f"{PURSE}starts_at = 2026-01-02\nends_at = 2026-01-02", "not after it starts"),
        (f"{PURSE}starts_at = '2026-01-02'\nends_at = 2026-01-03", "without quotes"),
        (f"{PURSE}period = '2026-Q4'\n{PURSE}period = '2026-11'", "overlap in time"),
        (f"{PURSE}tem = 'x'", "did you mean 'team'?"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert told in str(caught.value)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        config.load({"ISOFLOP_HOME": str(tmp_path), "ISOFLOP_CONFIG": str(tmp_path / "none.toml")})


def test_a_home_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        config.load({"ISOFLOP_HOME": str(tmp_path / "home")})


def test_the_owner_is_made_once_whoever_asks_first(tmp_path: Path) -> None:
    settings = config.Settings(home=tmp_path)
    owners: list[str] = []
    threads = [threading.Thread(target=lambda: owners.append(settings.owner)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(owners) == 8
    assert len(set(owners)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["owner"]


def test_an_empty_owner_file_is_refused_rather_than_replaced(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        _ = config.Settings(home=tmp_path).owner


def test_references_resolve_and_values_stay_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "tiger")
    (tmp_path / "key").write_text("lion\n")
    for reference, value in (("env:A_KEY", "tiger"), (f"file:{tmp_path / 'key'}", "lion"), ("ambient", "")):
        secret = credentials.resolve(reference)
        assert secret.reveal() == value
        assert f"{secret} {secret!r}" == "*** ***"


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/nonexistent/key", "k8s:a/b/c"])
def test_a_reference_to_nothing_is_missing_credentials(reference: str) -> None:
    with pytest.raises(MissingCredentials):
        credentials.resolve(reference)


@pytest.mark.parametrize("literal", ["hunter2", "aws:AKIA123", "k8s:too/few"])
def test_a_literal_is_refused_without_repeating_it(literal: str) -> None:
    with pytest.raises(UserError) as caught:
        credentials.resolve(literal)
    assert literal not in str(caught.value)


def test_the_registry_names_the_nearest_provider() -> None:
    with pytest.raises(ConfigError, match="did you mean 'simulated'"):
        registry.provider_factory("simulate")


def test_a_package_name_of_somebody_elses_is_an_error_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ours alone" in installation.check_names()
    owners = {"orchestrator": ["isoflop"], "providers": ["isoflop", "django-providers"], "policies": ["isoflop"]}
    monkeypatch.setattr(installation.metadata, "packages_distributions", lambda: owners)
    with pytest.raises(ConfigError, match="providers is also installed by django-providers"):
        installation.check_names()
