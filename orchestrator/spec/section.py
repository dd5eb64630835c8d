"""What every section of a job file is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo


class Form(BaseModel):
    """A section of a job file: unknown fields are errors, and its validator is built when first used."""

    model_config = ConfigDict(extra="forbid", defer_build=True, frozen=True, protected_namespaces=())


def _filled(value: object) -> object:
    """`limits:` with nothing under it is an empty section."""
    return {} if value is None else value


Section = BeforeValidator(_filled)


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
