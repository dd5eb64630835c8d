from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "add-a-provider.md"
BLOCKS = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_shows_code() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize(("path", "code"), BLOCKS)
def test_code_on_the_page_is_code_of_the_repository(path: str, code: str) -> None:
    assert code.strip("\n") in (ROOT / path).read_text()


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:orchestrator|providers|tests|docs)/[\w./-]+\.(?:py|csv|md))`", PAGE.read_text())
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []
