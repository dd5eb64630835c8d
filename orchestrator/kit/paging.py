"""Reads page after page without trusting that a vendor's list ever ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from orchestrator.domain.errors import TransientError

Page = TypeVar("Page")
MOST_PAGES = 2000


def pages(
    provider: str,
    fetch: Callable[[str], Page],
    following: Callable[[Page], str | None],
    *,
    most: int = MOST_PAGES,
) -> Iterator[Page]:
    """Every page from `fetch("")` on, where `following` names the next, or None (or "") after the last.

    Raises: TransientError where a page is named twice or there are more than `most`: a list that never ends is no list.
    """
    mark, seen = "", {""}
    for _ in range(most):
        page = fetch(mark)
        yield page
        mark = following(page) or ""
        if not mark:
            return
        if mark in seen:
            raise TransientError(provider, f"its pages go round in a circle: {mark[:60]!r} came twice", 60.0)
        seen.add(mark)
    raise TransientError(provider, f"its list has more than {most} pages", 60.0)
