"""The exact name of a device from a vendor's words, or those words where no such device is known."""

from __future__ import annotations

from orchestrator.catalog import accelerators


def device(words: str, memory_gib: float | None = None) -> str:
    """Our name of what a vendor calls `words`; `memory_gib` of one device tells an A100 of 40 GB from one of 80 GB.

    What stands for no single device we hold facts about keeps the vendor's words, so that a plan can name what it
    refuses; `is_known` tells the two apart.
    """
    return accelerators.canonical(words, memory_gib) or words


def is_known(name: str) -> bool:
    """Whether `name` is the name of a device that we hold facts about."""
    return accelerators.canonical(name, None) == name
