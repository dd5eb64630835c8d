"""Fleets on several cores, with a real Ray: the same answer, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).with_name("fleet_workers.py")


def _folders() -> set[str]:
    return {path.name for path in Path("/tmp").glob("isoflop-????????")}  # as tempfile names them


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    before = _folders()
    ran = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found | {"folders_left": _folders() - before}


def test_tasks_run_in_other_processes_and_answers_keep_their_order(seen: dict[str, Any]) -> None:
    assert seen["ordered"] == [3, 1, 2]
    assert seen["elsewhere"]


def test_neighbourhoods_solved_at_the_same_time_give_the_same_answer(seen: dict[str, Any]) -> None:
    assert seen["sweeps"] > 0
    assert seen["differing"] == []


def test_parts_solved_at_the_same_time_give_the_same_answer(seen: dict[str, Any]) -> None:
    assert seen["same_parts"]


def test_nothing_stays_behind(seen: dict[str, Any]) -> None:
    assert seen["folders_left"] == set()
    assert seen["variables_left"] == []
