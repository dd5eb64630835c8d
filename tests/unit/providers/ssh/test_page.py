"""The page about hosts shows every setting with its default, and a fleet file that can be read."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from orchestrator.domain.configuration import read
from providers.ssh import fleet
from providers.ssh.settings import SshSettings

PAGE = (Path(__file__).parents[4] / "docs" / "providers" / "ssh.md").read_text()


def test_every_setting_is_shown_with_its_default() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    table = tomllib.loads(block)["providers"]["ssh"]
    assert list(table) == [field.name for field in fields(SshSettings)]
    assert read(SshSettings, table, where="page") == SshSettings(fleet="~/fleet.yaml")


def test_the_fleet_file_of_the_page_can_be_read_and_shows_every_field(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    key = tmp_path / "key"
    key.write_text("")
    found = fleet.parse(block.replace("~/.ssh/id_ed25519", str(key)), "page")
    assert set(found.hosts) == {"gate", "tokyo-1"}
    for name in (*fleet.HOST, *fleet.SITE):
        assert re.search(rf"^ +{name}:", block, re.MULTILINE), name
