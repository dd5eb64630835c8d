"""What every section of a job file is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from orchestrator.domain.consistency import Contradiction
from orchestrator.spec.fields import flaw

NO_VALUE = "isoflop_no_value"


class MayBeEmpty:
    """Marks a section that may be left empty."""


Section = MayBeEmpty()


class Form(BaseModel):
    """A section of a job file: unknown fields are errors, and its validator is built when first used."""

    model_config = ConfigDict(extra="forbid", defer_build=True, frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _given(cls, value: object, info: ValidationInfo) -> object:
        """`limits:` with nothing under it is an empty section; `budget:` alone is no budget, and never "no limit"."""
        if value is not None:
            return value
        if info.field_name and Section in cls.model_fields[info.field_name].metadata:
            return {}
        raise PydanticCustomError(NO_VALUE, "has no value")


def _some(value: object) -> object:
    """A list that needs an item; a limit of pydantic's own would also count the items that are wrong as missing."""
    if isinstance(value, list) and not value:
        raise flaw("is empty", "expected at least one")
    return value


Filled = BeforeValidator(_some)


def contradicted(form: BaseModel, found: Iterable[Contradiction]) -> ValidationError:
    """Every contradiction as an error at its field of `form`."""
    details = [
        InitErrorDetails(type=flaw(each.message, each.hint), loc=tuple(each.field.split(".")), input=None)
        for each in found
    ]
    return ValidationError.from_exception_data(type(form).__name__, details)


def base_folder(info: ValidationInfo) -> Path:
    """The job file's folder, which relative paths start from."""
    return Path(info.context["base"]) if info.context else Path()


def sections(form: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The form and every form below it, with the path of fields that leads there."""
    yield path, form
    for name, field in form.model_fields.items():
        nested = section_of(field.annotation)
        if nested is not None:
            yield from sections(nested, f"{path}.{name}" if path else name)


def section_of(annotation: object) -> type[BaseModel] | None:
    """The form within `Form`, `Form | None` or `tuple[Form, ...]`."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((part for part in candidates if isinstance(part, type) and issubclass(part, BaseModel)), None)
