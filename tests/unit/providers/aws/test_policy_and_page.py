"""The policy allows what the adapter calls and no more; the page shows every setting."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("botocore", reason="AWS's SDK is not installed (extra aws)")

from botocore.loaders import create_loader

from orchestrator.domain.configuration import read
from providers.aws.settings import SERVICES, AwsSettings

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "providers" / "aws.md").read_text()
POLICY = json.loads((ROOT / "docs" / "providers" / "aws-policy.json").read_text())
PREFIX = {"service-quotas": "servicequotas"}  # what IAM calls a service, where it is not botocore's name


@cache
def operations(service: str) -> frozenset[str]:
    return frozenset(create_loader().load_service_model(service, "service-2")["operations"])


def called() -> set[str]:
    """Every `call(service, region, operation, ...)` in the adapter's source, as IAM names it."""
    found = set()
    for file in (ROOT / "providers" / "aws").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                service = node.args[0].value
                words = [each.value for each in node.args[2:3] if isinstance(each, ast.Constant)]
                if service in SERVICES and words:
                    assert words[0] in operations(service)
                    found.add(f"{PREFIX.get(service, service)}:{words[0]}")
    return found


def allowed() -> set[str]:
    actions: set[str] = set()
    for statement in POLICY["Statement"]:
        assert statement["Effect"] == "Allow"
        given = statement["Action"]
        actions |= {given} if isinstance(given, str) else set(given)
    return actions


def test_the_policy_allows_exactly_what_the_adapter_calls() -> None:
    assert len(called()) > 20
    assert allowed() == called()


def test_what_changes_or_ends_anything_is_bound_to_our_tag() -> None:
    for statement in POLICY["Statement"]:
        given = statement["Action"]
        for action in [given] if isinstance(given, str) else given:
            if re.search(r":(Terminate|Revoke|Authorize)", action):
                assert statement["Condition"] == {"Null": {"aws:ResourceTag/isoflop-owner": "false"}}


def test_the_page_shows_every_setting_with_its_default() -> None:
    (block, *_) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    table = tomllib.loads(block)["providers"]["aws"]
    assert set(table) == {field.name for field in fields(AwsSettings)}
    assert read(AwsSettings, table, where="page") == AwsSettings()
