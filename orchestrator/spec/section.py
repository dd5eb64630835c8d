"""What every section of a job file is made of."""

from __future__ import annotations

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
