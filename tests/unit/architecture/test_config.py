"""Settings, credentials and the registry: what is refused, and in which words."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from orchestrator import config, credentials, installation, registry
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
