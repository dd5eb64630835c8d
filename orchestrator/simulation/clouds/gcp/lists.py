"""Pages of lists as Google answers them: by zone or plain, with tokens and with warnings for what is empty."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from orchestrator.simulation.clouds.gcp.filters import BadFilter, parse
from orchestrator.simulation.clouds.gcp.requests import Bad
from orchestrator.simulation.clouds.wire import Request

Json = dict[str, Any]
USUAL, LARGEST = 500, 500
AGAIN = "again"  # the token by which an endless list names its first page


class Page(NamedTuple):
    """Some of the items of a list and the token of the next page, "" after the last."""

    items: Sequence[Any]
    following: str


def page(request: Request, items: Sequence[Any], *, size: str = "maxResults", largest: int = LARGEST) -> Page:
    """The page that the request asks for. Raises: Bad."""
    asked = int(request.param(size) or USUAL)
    if not 0 <= asked <= largest:
        raise Bad(400, "invalid", f"Invalid value for field '{size}': '{asked}'. Must be from 0 to {largest}.")
    first = _offset(request.param("pageToken"))
    last = first + (asked or USUAL)
    following = base64.urlsafe_b64encode(f"from {last}".encode()).decode() if last < len(items) else ""
    return Page(items[first:last], following)


def filtered(request: Request, items: Iterable[Json]) -> list[Json]:
    """Those that the request's filter lets through. Raises: Bad."""
    expression = request.param("filter")
    if not expression:
        return list(items)
    try:
        test = parse(expression)
    except BadFilter as error:
        raise Bad(400, "invalid", f"Invalid value for field 'filter': '{expression}'. {error}") from error
    return [item for item in items if test(item)]


def by_zone(request: Request, items: Sequence[tuple[str, Json]], *, of: str, kind: str, zones: Iterable[str]) -> Json:
    """An aggregated list of `(zone, item)`: every zone is there, those without items on this page with a warning."""
    shown = page(request, items)
    scopes: dict[str, Json] = {}
    for zone, item in shown.items:
        scopes.setdefault(f"zones/{zone}", {of: []})[of].append(item)
    for zone in sorted(set(zones)):
        scopes.setdefault(f"zones/{zone}", _nothing(f"zones/{zone}"))
    return _with_token({"kind": kind, "id": request.path.removeprefix("/compute/v1/"), "items": scopes}, shown)


def plain(request: Request, items: Sequence[Json], *, kind: str) -> Json:
    """A list of items."""
    shown = page(request, items)
    found: Json = {"kind": kind, "id": request.path.removeprefix("/compute/v1/"), "items": list(shown.items)}
    return _with_token(found, shown)


def _with_token(found: Json, shown: Page) -> Json:
    return {**found, "nextPageToken": shown.following} if shown.following else found


def _nothing(scope: str) -> Json:
    return {
        "warning": {
            "code": "NO_RESULTS_ON_PAGE",
            "message": f"There are no results for scope '{scope}' on this page.",
            "data": [{"key": "scope", "value": scope}],
        }
    }


def _offset(token: str) -> int:
    if token in {"", AGAIN}:
        return 0
    try:
        word, number = base64.urlsafe_b64decode(token).decode().split()
        if word == "from":
            return int(number)
    except ValueError:
        pass
    raise Bad(400, "invalid", f"Invalid value for field 'pageToken': '{token}'.")
