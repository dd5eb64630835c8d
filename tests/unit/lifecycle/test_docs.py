"""The page about the lifecycle says what the table of moves says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

from orchestrator.domain.events import Event
from orchestrator.domain.run import TRANSITIONS
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"
EVENTS = PAGE.with_name("events.md")


def test_every_move_is_documented_and_none_is_made_up() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    told = [(before, after) for before, after in rows if before in set(TRANSITIONS)]
    assert sorted(told) == sorted((str(before), str(to)) for before, after in TRANSITIONS.items() for to in after)


def test_every_event_and_its_fields_are_documented() -> None:
    rows: dict[str, str] = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", EVENTS.read_text(), re.MULTILINE))
    kinds = {str(kind.__dataclass_fields__["kind"].default): kind for kind in get_args(Event)}
    assert list(rows) == list(kinds)
    for name, kind in kinds.items():
        own = {item.name for item in fields(kind)} - {"kind", "run_id", "at", "token"}
        assert own <= set(re.findall(r"`(\w+)`", rows[name])), name


def test_the_page_says_how_long_refusals_stand() -> None:
    text = PAGE.read_text()
    assert f"{DEFAULT_PATIENCE.sold_out_s / 60:.0f} minutes: machines" in text
    assert f"{DEFAULT_PATIENCE.quota_s / 3600:.0f} hours: somebody" in text
    assert f"{DEFAULT_PATIENCE.throttled_s / 60:.0f} minutes: limits" in text
    assert f"{DEFAULT_PATIENCE.auth_s / 3600:.0f} hour, for keys" in text
