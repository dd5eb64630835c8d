"""Look-up: the accelerators that a user's words mean, leniently but never silently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from orchestrator.catalog.accelerators import canonical, family
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.errors import UserError

# What a name may add to its chip: the board's form and its memory. "TPU-v4" and "RTX-4090" are chips of their own.
_BOARD = re.compile(r"(sxm\d?|pcie|nvl|\d+gb)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The devices that were meant, in the order named, and a sentence for every name that was not the device's own."""

    devices: tuple[Accelerator, ...]
    notes: tuple[str, ...] = ()


def look_up(names: str, known: Sequence[Accelerator]) -> Chosen:
    """The devices called `names`, separated by commas; each once.

    A name is one of ours in any case, a vendor's spelling, or a chip that is sold on several boards ("A100"): of these
    it means the one with the fastest link and, of those, the most memory, the board of the vendors' eight-GPU nodes.
    Raises: UserError where a name is unknown or may mean different chips, or where there is none.
    """
    devices: list[Accelerator] = []
    notes: list[str] = []
    for word in filter(None, (part.strip() for part in names.split(","))):
        device, note = _one(word, known)
        if device not in devices:
            devices.append(device)
        if note:
            notes.append(note)
    if not devices:
        raise UserError(f"{names!r} names no accelerator: write them with commas, such as H100,A100-80GB")
    return Chosen(tuple(devices), tuple(notes))


def _one(word: str, known: Sequence[Accelerator]) -> tuple[Accelerator, str]:
    by_name = {device.name: device for device in known}
    folded = {name.casefold(): name for name in by_name}
    own = folded.get(word.casefold())
    if own is not None:
        return by_name[own], ""
    spelt = canonical(word, None)
    if spelt in by_name:
        return by_name[spelt], f"{word} is taken as {spelt}"
    candidates = [by_name[name] for name in family(word) if name in by_name]
    if not candidates:
        raise UserError(f"no accelerator is called {word!r} ({_hint(word, folded)})")
    if len({_chip(device) for device in candidates}) > 1:
        listed = ", ".join(device.name for device in candidates)
        raise UserError(f"{word!r} may mean different accelerators: name one or more of {listed}")
    best = max(candidates, key=lambda device: (device.link_gb_s, device.memory_gib))
    others = [device.name for device in candidates if device is not best]
    also = f"; {', '.join(others)} must be named in full" if others else ""
    return best, f"{word} is taken as {best.name}{also}"


def _chip(device: Accelerator) -> str:
    """The name without the words for its board."""
    words = device.name.split("-")
    return "-".join(word for word in words if not _BOARD.fullmatch(word)).casefold()


def _hint(word: str, folded: dict[str, str]) -> str:
    near = get_close_matches(word.casefold(), folded, n=1)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known: {', '.join(folded.values())}"
