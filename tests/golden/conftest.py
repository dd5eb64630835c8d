"""Golden pages: what the views print, kept as files; `ISOFLOP_GOLDEN=write` writes them anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

PAGES = Path(__file__).parent / "pages"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with the page of that name."""

    def compare(name: str, text: str) -> None:
        path = PAGES / f"{name}.txt"
        if os.environ.get("ISOFLOP_GOLDEN") == "write":
            path.write_text(text)
        assert path.exists(), f"no page {path.name}: write it with ISOFLOP_GOLDEN=write"
        assert text == path.read_text(), f"{path.name} differs: if it should, write it anew with ISOFLOP_GOLDEN=write"

    return compare
