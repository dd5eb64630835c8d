"""Dates as price sources write them: a day, a month or only a year."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

DATE = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")
DATE_AT_END = re.compile(r"(?<!\d)(\d{4}(?:-\d{2}){0,2})$")


@lru_cache(maxsize=4096)  # the rows of a file have few
def earliest(text: str) -> datetime | None:
    """The first moment of the day, month or year `text` names, in UTC; None where it names none.

    The first moment, because a price must never look younger than it may be.
    """
    match = DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day = match.groups()
    try:
        return datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
    except ValueError:
        return None


def named_at_end(text: str) -> datetime | None:
    """The date that a source's name ends in: `karpenter-gcp-2026-08` is of 2026-08."""
    match = DATE_AT_END.search(text)
    return earliest(match.group(1)) if match else None
