"""Devices by whatever name a source gives them, or why a name is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orchestrator.catalog.accelerators import canonical, family
from orchestrator.domain.accelerator import Accelerator

# How tables say that their figures are of one device: no part of its name.
REMARK = re.compile(r"\s*\((?:per (?:gpu|device|chip|accelerator)|oam|sxm)\)\s*$", re.IGNORECASE)


def resolver(devices: Sequence[Accelerator]) -> Callable[[str, float | None], Accelerator | str]:
    """Looks a vendor's name, and the memory in GiB where it is said, up among `devices`; words where it is none."""
    by_name = {device.name: device for device in devices}

    def resolve(vendor_name: str, memory_gib: float | None) -> Accelerator | str:
        bare = REMARK.sub("", vendor_name)
        name = canonical(bare, memory_gib)
        if name is None and bare in by_name:  # of no vendor's: this machine's CPU
            return by_name[bare]
        if name in by_name:
            return by_name[name]
        several = [each for each in family(bare) if each in by_name]
        if len(several) > 1:
            return f"{vendor_name[:40]!r} may be {', '.join(several)}: say which"
        return f"{vendor_name[:40]!r} is no device that we hold facts about"

    return resolve
