"""The tags that isoflop puts on everything it buys."""

from __future__ import annotations

TOKEN = "isoflop-token"  # noqa: S105 - the name of a tag
OWNER = "isoflop-owner"
