from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from orchestrator.domain.configuration import read
from providers.local.settings import LocalSettings
from providers.simulated.settings import Delays, Fault, FaultKind, SimulatedSettings

PAGE = (Path(__file__).parents[3] / "docs" / "providers.md").read_text()
TABLES = [tomllib.loads(block)["providers"] for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]


def test_the_page_shows_every_setting_of_the_local_provider_with_its_default() -> None:
    table = TABLES[0]["local"]
    assert list(table) == [field.name for field in fields(LocalSettings)]
    assert read(LocalSettings, table, where="page") == LocalSettings()


def test_the_page_shows_every_setting_of_the_simulated_provider_with_its_default() -> None:
    table = TABLES[1]["simulated"]
    assert set(table) == {field.name for field in fields(SimulatedSettings)}
    assert set(table["delays"]) == {field.name for field in fields(Delays)}
    shown = read(SimulatedSettings, table, where="page")
    assert shown.faults == (Fault(kind=FaultKind.RECLAIM, billing="spot", after_s=60.0, notice_s=10.0, times=1),)
    assert read(SimulatedSettings, {**table, "faults": []}, where="page") == SimulatedSettings()


def test_the_page_explains_every_fault() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == [str(kind) for kind in FaultKind]
