"""The page about Lambda shows every setting and names every call."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import fields
from pathlib import Path

from orchestrator.domain.configuration import read
from providers.lambda_cloud import client
from providers.lambda_cloud.settings import LambdaSettings

PAGE = (Path(__file__).parents[4] / "docs" / "providers" / "lambda.md").read_text()


def test_every_setting_is_shown_with_its_default() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    table = tomllib.loads(block)["providers"]["lambda"]
    assert list(table) == [field.name for field in fields(LambdaSettings)]
    assert read(LambdaSettings, table, where="page") == LambdaSettings()


def test_every_path_that_is_called_is_named() -> None:
    called = set(re.findall(r'f?"(/[a-z-]+(?:/[a-z]+)?)', inspect.getsource(client))) - {"/api/v"}
    assert "/instance-operations/launch" in called
    for path in called:
        assert path.removeprefix("/instance-operations") in PAGE, path
