"""`docs/cli.md` and the commands say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.interfaces.cli.table import COMMANDS
from tests.unit.cli.conftest import Cli

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
GROUPS = {entry.name for entry in COMMANDS if entry.group}
EXAMPLES = re.findall(r"^    (isoflop .+)$", PAGE.read_text(), re.MULTILINE)


def test_every_command_has_its_section() -> None:
    assert sorted(re.findall(r"^### isoflop (\w+)$", PAGE.read_text(), re.MULTILINE)) == sorted(
        entry.name for entry in COMMANDS
    )


def test_every_command_has_an_example() -> None:
    assert {example.split()[1] for example in EXAMPLES} == {entry.name for entry in COMMANDS}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_option_of_an_example_is_one_of_the_command(example: str, cli: Cli) -> None:
    words = shlex.split(example)[1:]
    command = words[:2] if words[0] in GROUPS else words[:1]
    known = cli(*command, "--help").out
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", known), option
