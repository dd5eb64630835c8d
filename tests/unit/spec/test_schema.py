from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.domain.errors import SpecError, UserError
from orchestrator.spec.job import parse
from orchestrator.spec.schema import json_schema
from orchestrator.spec.templates import KINDS, template

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks the schema; it is a development dependency")

SCHEMA: dict[str, Any] = json_schema()


def complaints(job: object) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(job)]


def fields() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, definition in SCHEMA["$defs"].items():
        for field, value in definition.get("properties", {}).items():
            yield name, field, value


def test_the_schema_is_valid_and_is_json() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == json_schema()


def test_every_field_has_a_description_and_examples() -> None:
    for name, field, value in fields():
        assert value.get("description"), f"{name}.{field}"
        assert value.get("examples"), f"{name}.{field}"


def test_every_example_and_default_satisfies_its_own_field() -> None:
    for name, field, value in fields():
        checker = jsonschema.Draft202012Validator({**value, "$defs": SCHEMA["$defs"]})
        for example in [*value["examples"], *([value["default"]] if "default" in value else [])]:
            assert not list(checker.iter_errors(example)), f"{name}.{field}: {example}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_templates_satisfy_the_schema_and_load(kind: str) -> None:
    text = template(kind)
    assert complaints(yaml.safe_load(text)) == []
    workload = parse(text, file=f"{kind}.yaml", base=Path())
    assert type(workload).__name__ == kind
    assert workload.program is not None


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_that_templates_comment_out_load_too(kind: str) -> None:
    kept = []
    for line in template(kind).splitlines():
        option = re.fullmatch(r"( *)# ( *[A-Za-z_]+:(?: .*)?)", line)
        if option and not option[2].startswith("  model:"):  # another way to say what the line below says
            kept.append(option[1] + option[2])
        elif not line.lstrip().startswith("#"):
            kept.append(line)
    assert len(kept) > len([line for line in template(kind).splitlines() if not line.lstrip().startswith("#")])
    text = "\n".join(kept)
    assert parse(text, file=f"{kind}.yaml", base=Path()).program is not None
    assert complaints(yaml.safe_load(text)) == []


def test_a_template_is_chosen_in_any_case_and_a_wrong_kind_is_a_users_error() -> None:
    assert template("training") == template("Training")
    with pytest.raises(UserError, match="did you mean FineTune"):
        template("finetun")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Trainin"},
        {"kind": None},
        {"tokens": "-1"},
        {"tokens": "30 €"},
        {"unknown": 1},
        {"precision": "bf17"},
        {"precision": "int8"},
        {"limits": {"deadlin": "30d"}},
        {"limits": {"deadline": 30}},
        {"limits": {"billing": "sport"}},
        {"run": {}},
        {"run": {"command": "x", "secrets": {"T": "hunter2"}}},
        {"run": {"command": "x", "env": {"ISOFLOP_X": "1"}}},
        {"model": 5},
        {"model": {"layer": 3}},
        {"name": "a b"},
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(change: dict[str, object]) -> None:
    job: dict[str, object] = {"kind": "Training", "name": "a", "model": "gpt-3", "tokens": "300B"}
    assert complaints(job) == []
    assert complaints({**job, **change})
    with pytest.raises(SpecError):
        parse(json.dumps({**job, **change}), file="job.json", base=Path())
