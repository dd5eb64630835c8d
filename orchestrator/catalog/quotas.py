"""Quotas of the configuration file: what an account may hold at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.fleetplan import Quota
from orchestrator.domain.offer import Billing
from orchestrator.domain.spelling import hint

WORDS = ("provider", "region", "accelerator", "billing")
KEYS = (*WORDS, "gpus", "nodes")


def read_quotas(tables: Sequence[Mapping[str, object]], file: str) -> tuple[Quota, ...]:
    """The `[[quotas]]` of a configuration file. Raises: ConfigError with the file and the key at fault."""
    return tuple(_quota(table, f"{file}: quotas[{index}]") for index, table in enumerate(tables))


def _quota(table: Mapping[str, object], where: str) -> Quota:
    for key in table:
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown setting {key} ({hint(key, KEYS)})")
    if ("gpus" in table) == ("nodes" in table):
        raise ConfigError(f"{where} needs either gpus or nodes: how many may be held at a time")
    words = {key: _word(table, key, where) for key in WORDS}
    billing, kinds = words["billing"], [str(kind) for kind in Billing]
    if billing and billing not in kinds:
        raise ConfigError(f"{where}.billing is one of {', '.join(kinds)}, not {billing!r} ({hint(billing, kinds)})")
    if not any(words.values()):
        raise ConfigError(f"{where} needs at least one of {', '.join(WORDS)}: what it is a quota of")
    gpus = _amount(table, "gpus", where) if "gpus" in table else None
    nodes = _amount(table, "nodes", where) if "nodes" in table else None
    if nodes is not None and nodes != int(nodes):
        raise ConfigError(f"{where}.nodes is a whole number, not {nodes:g}")
    return Quota(**words, gpus=gpus, nodes=None if nodes is None else int(nodes))


def _word(table: Mapping[str, object], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{key} is a text, not {value!r}")
    return value


def _amount(table: Mapping[str, object], key: str, where: str) -> float:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ConfigError(f"{where}.{key} is a number of 0 or more, not {value!r}")
    return float(value)
