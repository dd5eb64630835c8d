"""The hint beside an unknown word: the nearest known spelling, or what is known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 12  # known words named where none is near


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the known word nearest to `word`, else `known: a, b`; `known: none` where nothing is."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names[:LISTED]) or 'none'}{more}"
