"""Processes of this machine by a variable that they were started with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def having(variable: str) -> list[int]:
    """All but this one in whose environment `NAME=value` is, by number."""
    mark, found = os.fsencode(variable), []
    for about in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in about.read_bytes().split(b"\0"):
                found.append(int(about.parent.name))
    return [pid for pid in found if pid != os.getpid()]
