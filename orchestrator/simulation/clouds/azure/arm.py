"""How Azure's Resource Manager answers: JSON, errors in its own words, names of resources."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.simulation.clouds.wire import Reply, Request

PROVIDER = "azure"


class Refusal(Exception):
    """A request that is answered by an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(f"{code}: {message}")


def reply(body: object, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON; header names are written with underscores."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, json.dumps(body).encode() if body is not None else b"", named)


def refused(status: int, code: str, message: str, **headers: str) -> Reply:
    """An error in the Resource Manager's form."""
    return reply({"error": {"code": code, "message": message}}, status, **headers)


def stamp(moment: datetime) -> str:
    """As Azure writes times: seven digits of a second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"


def page(request: Request, rows: Sequence[object], size: int) -> Reply:
    """One page of a list, with the address of the next where there is one."""
    start = int(request.param("$skiptoken", "0"))
    body: dict[str, object] = {"value": list(rows[start : start + size])}
    if start + size < len(rows):
        query = "&".join(f"{name}={value}" for name, value in request.query if name != "$skiptoken")
        body["nextLink"] = f"{request.base_url}{request.raw_path}?{query}&$skiptoken={start + size}".replace(" ", "%20")
    return reply(body)


def family(size: str) -> str:
    """The quota family of a size, composed as most of them are: `standardNDSH100v5Family`."""
    found = re.fullmatch(r"Standard_([A-Z]+)\d+([a-z]*)_?(.*?)_?(v\d+)?", size)
    if found is None:
        return f"standard{size}Family"
    series, letters, device, version = found.groups()
    kept = "".join(letter for letter in letters if letter not in "irmfx").upper()
    return f"standard{series}{kept}{device}{version or ''}Family"


def text(value: Mapping[str, Any], *path: str) -> str:
    """The text at `path` of a document; "" where there is none."""
    found: Any = value
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""
