"""The page about CoreWeave shows every setting; its role allows what the adapter calls, and no more."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import yaml

from orchestrator.domain.configuration import read
from providers.coreweave import kube
from providers.coreweave.settings import CoreWeaveSettings, Rate

FOLDER = Path(__file__).parents[4] / "docs" / "providers"
PAGE = (FOLDER / "coreweave.md").read_text()
VERBS = {"nodepools": r"\.(get|list|create|patch|delete|replace)_cluster_custom_object", "nodes": r"\.(\w+)_node\("}


def test_every_setting_is_shown_with_its_default() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    table = tomllib.loads(block)["providers"]["coreweave"]
    (rate,) = table["rates"]
    assert set(table) == {field.name for field in fields(CoreWeaveSettings)}
    assert list(rate) == [field.name for field in fields(Rate)]
    assert read(CoreWeaveSettings, {**table, "rates": []}, where="page") == CoreWeaveSettings()
    assert read(CoreWeaveSettings, table, where="page").rates[0].usd_per_hour == 30.0


def test_the_role_allows_exactly_what_is_called() -> None:
    role, binding = yaml.safe_load_all((FOLDER / "coreweave-rbac.yaml").read_text())
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    allowed = {rule["resources"][0]: set(rule["verbs"]) for rule in role["rules"]}
    source = inspect.getsource(kube)
    assert allowed == {kind: set(re.findall(pattern, source)) for kind, pattern in VERBS.items()}
