"""The page about the lifecycle says what the table of moves says."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.domain.run import TRANSITIONS

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_every_move_is_documented_and_none_is_made_up() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    told = [(before, after) for before, after in rows if before in set(TRANSITIONS)]
    assert sorted(told) == sorted((str(before), str(to)) for before, after in TRANSITIONS.items() for to in after)
