"""Says pydantic's errors in our words, with line, column, field, what was expected and the nearest known spelling."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TypeAlias

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.domain.errors import Problem
from orchestrator.spec.fields import FLAW
from orchestrator.spec.forms import FORMS
from orchestrator.spec.quantity import shown
from orchestrator.spec.reading import Document, Where
from orchestrator.spec.section import NO_VALUE, section_of, sections

FormType: TypeAlias = type[BaseModel]
ABSENT = {"missing": "is missing", NO_VALUE: "has no value"}
NO_MAPPING = ("is not a mapping", "expected 'field: value' lines under it")
NO_LIST = ("is not a list", "expected a list: [a, b]")
WORDS = {
    "model_type": NO_MAPPING,
    "model_attributes_type": NO_MAPPING,
    "dict_type": NO_MAPPING,
    "tuple_type": NO_LIST,
    "list_type": NO_LIST,
}


def at(document: Document, where: Where, message: str, hint: str = "", *, key: bool = False) -> Problem:
    """A problem at the place of a value, or of its key."""
    spot = document.spot(where, key=key)
    return Problem(spot.line, spot.column, _path(where), message, hint)


def _path(where: Where) -> str:
    """`users[0].rate`; a key that is no plain word is quoted."""
    path = ""
    for step in where:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            word = step if step.isidentifier() and len(step) <= 64 else shown(step)
            path += f".{word}" if path else word
    return path


def problem_of(document: Document, form: FormType, detail: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words and at its place."""
    where: Where = detail["loc"]
    key = bool(where) and where[-1] == "[key]"
    where = where[:-1] if key else where
    if detail["type"] == FLAW:
        context = detail.get("ctx", {})
        return at(document, where, str(context["message"]), str(context["hint"]), key=key)
    if detail["type"] == "extra_forbidden":
        return at(document, where, "is not a field here", _suggest(form, where), key=True)
    if detail["type"] in ABSENT:
        return at(document, where, ABSENT[detail["type"]], _describe(form, where))
    message, hint = WORDS.get(detail["type"], (detail["msg"], ""))
    return at(document, where, message, hint, key=key)


def _suggest(form: FormType, where: Where) -> str:
    """The nearest field of the section that `where` leads into, or all its fields."""
    section = _section(form, where[:-1])
    names = [name for name in section.model_fields if name != "kind" or section is form]
    near = get_close_matches(str(where[-1]).lower()[:64], names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    elsewhere = _elsewhere(str(where[-1]))
    return elsewhere or f"expected one of {', '.join(sorted(names))}"


def _elsewhere(name: str) -> str:
    """Where a field that stands in the wrong section belongs."""
    for kind, form in FORMS.items():
        for path, section in sections(form):
            if name in section.model_fields:
                return f"{name} belongs under {path}" if path else f"{name} is a field of {kind}"
    return ""


def _describe(form: FormType, where: Where) -> str:
    field = _section(form, where[:-1]).model_fields.get(str(where[-1]))
    if field is None or not field.examples:
        return ""
    example = field.examples[0]
    return f"such as {where[-1]}: {example}" if isinstance(example, str | int | float) else (field.description or "")


def _section(form: FormType, where: Where) -> FormType:
    for step in where:
        if isinstance(step, str) and step in form.model_fields:
            form = section_of(form.model_fields[step].annotation) or form
    return form
