"""Filters and pages as EC2 has them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from orchestrator.simulation.clouds.aws.protocol import AwsError, Call

T = TypeVar("T")
Fields = Mapping[str, Callable[[T], Sequence[str]]]


def filtered(rows: Sequence[T], params: Mapping[str, Any], fields: Fields[T], tags: Any = None) -> list[T]:
    """The rows that every filter lets pass; a value may hold wildcards. `tags(row)` gives a row's tags, if it has some.

    Raises: AwsError for a filter that there is not.
    """
    kept = list(rows)
    for each in params.get("Filters", ()):
        name, wanted = each.get("Name", ""), each.get("Values", ())
        read = _reader(name, fields, tags)
        kept = [row for row in kept if any(fnmatchcase(value, pattern) for value in read(row) for pattern in wanted)]
    return kept


def _reader(name: str, fields: Fields[T], tags: Any) -> Callable[[T], Sequence[str]]:
    if name in fields:
        return fields[name]
    if tags is not None and name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda row: [value for found, value in tags(row).items() if found == key]
    if tags is not None and name == "tag-key":
        return lambda row: list(tags(row))
    raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")


def paged(call: Call, rows: Sequence[T], field: str, *, most: int, blank: bool = False) -> dict[str, Any]:
    """One page of `rows` under `field`, with the token of the next. `blank` puts an empty page before the first.

    Raises: AwsError for a token that was not given out for this call.
    """
    size = min(call.params.get("MaxResults", most), most)
    mark = call.params.get("NextToken")
    if mark is None and blank and rows:
        return {field: [], "NextToken": token(call.operation, call.region, 0)}
    start = 0 if mark is None else _offset(call, mark)
    page: dict[str, Any] = {field: list(rows[start : start + size])}
    if start + size < len(rows):
        page["NextToken"] = token(call.operation, call.region, start + size)
    return page


def token(operation: str, region: str, offset: int) -> str:
    """The mark of the page that begins at row `offset`."""
    return base64.b64encode(f"{operation}/{region}/{offset}".encode()).decode()


def _offset(call: Call, mark: str) -> int:
    try:
        operation, region, offset = base64.b64decode(mark, validate=True).decode().split("/")
        if (operation, region) == (call.operation, call.region):
            return int(offset)
    except ValueError:
        pass
    raise AwsError("InvalidNextToken" if call.service != "ec2" else "InvalidParameterValue", "Invalid token")
