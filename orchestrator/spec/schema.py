"""The JSON Schema of job files, for editors and for checks before a submission."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from orchestrator.spec.forms import FORMS
from orchestrator.spec.models import known_models
from orchestrator.spec.section import sections

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema: TypeAlias = dict[str, Any]


def json_schema() -> dict[str, object]:
    """A JSON Schema (2020-12) of job files, with a description and examples for every field.

    The kind chooses the rest, so that an editor's complaints are about the kind at hand. What it accepts is well
    formed; `job.load` checks more: that files exist, that units fit, that fields go together.
    """
    _, document = models_json_schema([(form, "validation") for form in FORMS.values()])
    definitions: Schema = {form.__name__: document["$defs"][form.__name__] for form in _forms()}
    for form in _forms():
        _tidy(definitions[form.__name__], form.model_fields)
    definitions["KnownModel"] = {"type": "string", "minLength": 1, "examples": [model.name for model in known_models()]}
    return {
        "$schema": DIALECT,
        "title": "isoflop job",
        "description": "A model and a goal; isoflop finds the machines.",
        "type": "object",
        "properties": {"kind": {"enum": list(FORMS), "description": "What the job is.", "examples": ["Training"]}},
        "required": ["kind", "name", "model"],
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{form.__name__}"},
            }
            for kind, form in FORMS.items()
        ],
        "$defs": definitions,
    }


def _forms() -> list[type[BaseModel]]:
    forms = [section for form in FORMS.values() for _, section in sections(form)]
    return list(dict.fromkeys(forms))


def _tidy(definition: Schema, fields: dict[str, FieldInfo]) -> None:
    """Says what pydantic cannot: `null` is no value, sections may be empty, a single word stands for a list."""
    definition.pop("title", None)
    for name, field in fields.items():
        value = _accepted(name, definition["properties"][name])
        value |= {"description": field.description, "examples": field.examples}
        if value.get("default", None) in (None, "", []) or isinstance(value["default"], dict):
            value.pop("default", None)  # nothing to tell: no limit, no text, an empty section
        definition["properties"][name] = value


def _accepted(name: str, value: Schema) -> Schema:
    for pattern, inner in value.pop("patternProperties", {}).items():  # beside which pydantic lets any key through
        value |= {"additionalProperties": inner, "propertyNames": {"pattern": pattern}}
    kinds = [kind for kind in value.pop("anyOf", [value]) if kind != {"type": "null"}]
    rest = {key: item for key, item in value.items() if key not in {"title", "$ref"}}
    if "$ref" in kinds[0]:
        others = {"model": [{"$ref": "#/$defs/KnownModel"}], "run": [], "parallelism": []}.get(name, [{"type": "null"}])
        kinds = [{"$ref": kinds[0]["$ref"]}, *others]
    elif value.get("type") == "array" and "minItems" not in value:
        kinds = [rest["items"], {"type": "array", "items": rest["items"]}]
        rest = {key: item for key, item in rest.items() if key not in {"items", "type"}}
    elif value.get("type") == "object":
        kinds = [{"type": "null"}, {key: item for key, item in rest.items() if key not in {"description", "examples"}}]
        rest = {}
    single = {key: item for key, item in kinds[0].items() if key != "title"}
    return {**single, **rest} if len(kinds) == 1 else {**rest, "anyOf": kinds}
