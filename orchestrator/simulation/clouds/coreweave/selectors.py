"""Label selectors as Kubernetes writes them: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.simulation.clouds.coreweave.errors import Failure

TERM = re.compile(r"\s*(?:[^,(]+\([^)]*\)|[^,(]+)\s*")
SET = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")
EQUAL = re.compile(r"([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)")
BARE = re.compile(r"(!?)\s*([A-Za-z0-9][\w./-]*)")


def matches(labels: Mapping[str, str], selector: str) -> bool:
    """Whether `labels` satisfy every term of `selector`; an empty one selects all. Raises: Failure."""
    return all(_holds(labels, term.strip()) for term in TERM.findall(selector))


def _holds(labels: Mapping[str, str], term: str) -> bool:
    if found := SET.fullmatch(term):
        key, kind, values = found.groups()
        inside = labels.get(key) in {value.strip() for value in values.split(",")}
        return inside == (kind == "in")
    if found := EQUAL.fullmatch(term):
        key, sign, value = found.groups()
        return (labels.get(key) == value) == (sign != "!=")
    if found := BARE.fullmatch(term):
        return (found[2] in labels) == (found[1] == "")
    raise Failure(400, "BadRequest", f"unable to parse the label selector: {term!r}")
