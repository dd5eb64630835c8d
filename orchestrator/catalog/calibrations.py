"""Calibrations on disk: one JSON file each, written all or nothing, checked when read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from orchestrator.catalog.removal import removed
from orchestrator.domain.errors import ConfigError
from orchestrator.sizing.calibration import Kind
from orchestrator.sizing.learning import Calibration, Factor, apply

__all__ = ["apply", "load", "names", "place", "remove", "store"]

FORMAT = "isoflop calibration 1"
SUFFIX = ".json"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
RESERVED = "none"  # how settings and options say that no calibration is used


def store(calibration: Calibration, folder: Path) -> Path:
    """Write `calibration` into `folder` under its name, replacing the one of that name.

    Raises: ConfigError for a name that makes no file name, and where the folder cannot be written.
    """
    path = place(folder, calibration.name)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def load(folder: Path, name: str) -> Calibration | None:
    """The calibration called `name`; None where there is none.

    Raises: ConfigError naming a file that is damaged or foreign, and the remedy.
    """
    path = place(folder, name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    try:
        return _read(json.loads(text), name)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(
            path, f"{error}" if isinstance(error, ValueError) else f"a field is missing ({error})"
        ) from error


def names(folder: Path) -> tuple[str, ...]:
    """What is stored in `folder`, by name; no folder holds nothing. Raises: ConfigError where it cannot be listed."""
    try:
        found = [path.name.removesuffix(SUFFIX) for path in folder.iterdir() if path.suffix == SUFFIX]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    return tuple(sorted(name for name in found if NAME.fullmatch(name)))


def remove(folder: Path, name: str) -> bool:
    """Remove the calibration called `name`; whether there was one. Raises: ConfigError where it cannot be removed."""
    return removed(place(folder, name))


def place(folder: Path, name: str) -> Path:
    """Where the calibration called `name` lies. Raises: ConfigError for a name that makes no file name."""
    if not NAME.fullmatch(name) or name.casefold() == RESERVED:
        said = f"{name!r} cannot name a calibration"
        raise ConfigError(f"{said}: use letters, digits, '.', '_' and '-', not '.' first, and not {RESERVED!r}")
    return folder / f"{name}{SUFFIX}"


def _damaged(path: Path, detail: str) -> ConfigError:
    remedy = "Calibrate again with `isoflop calibrate`, or remove the file"
    return ConfigError(f"{path} cannot be read as a calibration: {detail}. {remedy}")


def _read(document: object, name: str) -> Calibration:
    """Raises: ValueError, TypeError, KeyError where it is none of ours."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ValueError("it is no calibration of this version of isoflop")
    made_on, factors = document["made_on"], document["factors"]
    if not isinstance(made_on, str) or not isinstance(factors, list):
        raise ValueError("made_on is a date and factors is a list")
    return Calibration(
        name=name,  # as the file is called: a copy under another name is another calibration
        made_on=made_on,
        sources=tuple(str(each) for each in document["sources"]),
        rows=int(document["rows"]),
        factors=tuple(_factor(each) for each in factors),
        numbers=str(document["numbers"]),
        left=tuple((str(kind), int(count)) for kind, count in document["left"]),
    )


def _factor(document: Mapping[str, object]) -> Factor:
    if not isinstance(document["generation"], str):
        raise ValueError("generation is not a text")
    return Factor(
        kind=Kind(str(document["kind"])),
        generation=document["generation"],
        factor=_number(document, "factor", least=1e-4, most=1e4),
        spread=_number(document, "spread", least=0.0, most=20.0),
        rows=int(_number(document, "rows", least=1, most=1e9)),
        groups=int(_number(document, "groups", least=1, most=1e9)),
        before=_number(document, "before", least=0.0, most=1e9),
        after=_number(document, "after", least=0.0, most=1e9),
    )


def _number(document: Mapping[str, object], name: str, *, least: float, most: float) -> float:
    value = document[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, and not a number from {least:g} to {most:g}")
    return float(value)
