"""`isoflop --help` and the commands it lists."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.interfaces.cli import application
from orchestrator.interfaces.cli.table import COMMANDS, Entry
from tests.unit.cli.conftest import Cli

FOLDER = Path(inspect.getfile(application)).parent
HELPERS = {"__init__", "application", "main", "table", "errors", "files", "judging", "session", "control"} | {
    "plan_continuum",
    "plan_fleet",
    "plan_frontier",
    "plan_layout",
    "plan_parts",
    "plan_relax",
    "plan_spot",
    "simulate_serve",
    "size_asked",
    "size_break_even",
    "size_options",
    "size_sites",
}
LOOK = """
import sys
from orchestrator.interfaces.cli.application import invoke
invoke(["--help"])
print(*sorted(sys.modules), file=sys.stderr)
"""


def test_the_table_lists_every_command_module() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - HELPERS
    assert {entry.name for entry in COMMANDS} == modules


@pytest.mark.parametrize("entry", [entry for entry in COMMANDS if not entry.group], ids=lambda entry: entry.name)
def test_the_help_in_the_table_is_that_of_the_command(entry: Entry) -> None:
    module = importlib.import_module(f"{application.PACKAGE}.{entry.name}")
    assert (inspect.getdoc(module.run) or "").splitlines()[0] == entry.help


def test_every_line_of_help_fits_beside_its_command() -> None:
    assert all(len(entry.help) <= 66 for entry in COMMANDS)


def test_help_shows_every_command_with_its_help(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    for entry in COMMANDS:
        assert f"  {entry.name} " in ran.out
        assert entry.help in ran.out


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_explains_itself_and_its_exit_codes(entry: Entry, cli: Cli) -> None:
    ran = cli(entry.name, "--help")
    assert ran.code == 0
    assert entry.help in " ".join(ran.out.split())
    if not entry.group:
        assert "Exit codes:" in ran.out
        assert "--json" in ran.out


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("catalog", name) for name in ("refresh", "import", "diff", "list", "forget")),
        *(("network", name) for name in ("show", "import", "forget")),
        *(("simulate", name) for name in ("jobs", "spot", "requests", "queue", "carbon", "serve")),
    ],
)
def test_every_sub_command_explains_itself(group: str, name: str, cli: Cli) -> None:
    ran = cli(group, name, "--help")
    assert ran.code == 0
    assert "Exit codes:" in ran.out
    assert "--json" in ran.out


def test_help_imports_no_command_and_nothing_slow() -> None:
    said = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    loaded = set(said.stderr.split())
    assert "orchestrator.interfaces.cli.application" in loaded
    commands = {f"{application.PACKAGE}.{entry.name}" for entry in COMMANDS}
    assert not loaded & (commands | {"numpy", "pydantic", "rich", "yaml", "ray", "httpx", "importlib.metadata"})


def test_no_command_is_help_and_a_usage_error(cli: Cli) -> None:
    ran = cli()
    assert ran.code == 2
    assert "Commands:" in ran.out + ran.err


def test_an_unknown_command_names_the_nearest(cli: Cli) -> None:
    ran = cli("catalgo")
    assert ran.code == 2
    assert "catalog" in ran.err


def test_help_before_a_command_is_the_help_of_all(cli: Cli) -> None:
    assert "doctor" in cli("--help", "plan").out


def test_an_unknown_option_is_a_usage_error(cli: Cli) -> None:
    ran = cli("plan", "job.yaml", "--wrong")
    assert ran.code == 2
    assert "--wrong" in ran.err


def test_version_is_that_of_the_distribution(cli: Cli) -> None:
    ran = cli("--version")
    assert ran.code == 0
    assert ran.out.startswith("isoflop 0.")
