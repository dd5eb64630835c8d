"""The catalogue of models known by name, and the tolerant look-up of a name."""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from orchestrator.domain.workload import Model

__all__ = ["find_model", "from_config_json", "known_models", "nearest_models"]

TABLE = Path(__file__).parent / "data" / "models.csv"
# Variants of a model that change its weights, and neither its size nor its shape.
VARIANT = re.compile(r"[-_ ](?:hf|instruct|chat|base|it|pt)$", re.IGNORECASE)


def known_models() -> tuple[Model, ...]:
    """Every model of the catalogue, in the table's order; `source` says where its numbers come from."""
    return tuple(model for model, _ in _table())


def from_config_json(path: Path) -> Model:
    """The model of a Hugging Face `config.json`, as `spec.huggingface` reads it. Raises: SpecError."""
    reader = importlib.import_module("orchestrator.spec.huggingface")  # most jobs name a model or give its numbers
    model: Model = reader.from_config_json(path)
    return model


def find_model(name: str) -> Model | None:
    """The model called `name`, or None.

    Case and separators do not matter ("Llama 3.1 8B", "llama-3.1-8b"), but digits keep their groups: "llama-27b" is not
    Llama 2 7B. Hugging Face ids count too ("meta-llama/Llama-3.1-8B"), with or without "-Instruct" and the like.
    """
    wanted = _key(name)
    for row in _rows():  # no plan waits for the models that it does not ask for, nor for an index of their aliases
        if row["name"][:1].lower() == wanted[:1] and _key(row["name"]) == wanted:
            return _model(row)
    index = _index()
    for spelling in (name, VARIANT.sub("", name.strip())):
        found = index.get(_key(spelling))
        if found is not None:
            return found
    return None


def nearest_models(name: str, most: int = 3) -> tuple[str, ...]:
    """Catalogue names like `name`, the closest first."""
    wanted = name.strip().lower().rsplit("/", 1)[-1][:64]
    names = [model.name for model in known_models()]
    starting = [known for known in names if wanted and known.startswith(wanted)]
    close = get_close_matches(wanted, names, n=most, cutoff=0.6)
    return tuple(dict.fromkeys((*close, *starting)))[:most]


def _key(name: str) -> str:
    """The name without case and separators; a bar stays between digits, so that `2-7b` and `27b` differ."""
    groups = re.findall(r"[a-z]+|\d+|/", name.lower())
    joined = ""
    for group in groups:
        joined += "|" + group if joined[-1:].isdigit() and group.isdigit() else group
    return joined


@lru_cache(maxsize=1)
def _table() -> tuple[tuple[Model, tuple[str, ...]], ...]:
    return tuple((_model(row), tuple(row["aliases"].split())) for row in _rows())


@lru_cache(maxsize=1)
def _rows() -> tuple[Mapping[str, str], ...]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


@lru_cache(maxsize=1)
def _index() -> Mapping[str, Model]:
    """By normalised spelling. Names come before aliases, and those before the short forms of Hugging Face ids."""
    index: dict[str, Model] = {}
    for model, _ in _table():
        index.setdefault(_key(model.name), model)
    for shorten in (False, True):
        for model, aliases in _table():
            for alias in aliases:
                short = alias.rsplit("/", 1)[-1] if shorten else alias
                for spelling in (short, VARIANT.sub("", short)):
                    index.setdefault(_key(spelling), model)
    return MappingProxyType(index)


def _model(row: Mapping[str, str]) -> Model:
    return Model(
        name=row["name"],
        parameters=float(row["parameters"]),
        active_parameters=float(row["active_parameters"]),
        layers=_whole(row["layers"]),
        hidden=_whole(row["hidden"]),
        heads=_whole(row["heads"]),
        kv_heads=_whole(row["kv_heads"]),
        head_dim=_whole(row["head_dim"]),
        vocabulary=_whole(row["vocabulary"]),
        feed_forward=_whole(row["feed_forward"]),
        gated=bool(int(row["gated"])) if row["gated"] else None,
        experts=_whole(row["experts"]),
        experts_per_token=_whole(row["experts_per_token"]),
        context_length=_whole(row["context_length"]),
        source=row["source"],
    )


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None
