"""The page about job files describes every field, and its examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.spec.forms import FORMS
from orchestrator.spec.job import parse
from orchestrator.spec.section import sections

PAGE = (Path(__file__).parents[3] / "docs" / "job-file.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads(example: str) -> None:
    assert parse(example, file="job-file.md", base=Path()).name


def test_there_is_an_example_of_every_kind() -> None:
    assert {example.split()[1] for example in EXAMPLES} == set(FORMS)


def test_every_field_is_described() -> None:
    described = {path.split(".")[-1] for path in re.findall(r"^\| `([\w.\[\]]+)` \|", PAGE, re.MULTILINE)}
    described |= {path.split(".")[0] for path in re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)}
    for form in FORMS.values():
        for path, section in sections(form):
            assert set(section.model_fields) <= described, path
