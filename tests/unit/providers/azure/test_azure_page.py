"""The page about Azure shows what there is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from orchestrator.domain.configuration import read
from orchestrator.kit import tags
from providers.azure import machines
from providers.azure.settings import AzureSettings

PAGE = (Path(__file__).parents[4] / "docs" / "providers" / "azure.md").read_text()


def test_the_page_shows_every_setting_with_its_default() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    table = tomllib.loads(block)["providers"]["azure"]
    assert list(table) == [field.name for field in fields(AzureSettings)]
    assert read(AzureSettings, table, where="page") == AzureSettings()


def test_the_page_names_every_tag() -> None:
    for tag in (tags.TOKEN, tags.OWNER, machines.LEASE, machines.NODES, machines.OFFER):
        assert f"`{tag}`" in PAGE
