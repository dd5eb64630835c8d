"""Accelerators: the bundled table of device facts, and the one name that each vendor's spelling stands for."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.accelerator import Accelerator, Precision

_TABLE = Path(__file__).parent / "data" / "accelerators.csv"

# Clouds report what the driver leaves free: 22.4 of 24 GiB on an L4 with error correction (-7 %).
_MEMORY_TOLERANCE = 0.08
# Shares of one device that clouds rent out, of the devices that they do it with.
_SHARES = (1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3)
_SHARED = frozenset({"L4", "A10", "RTX-PRO-6000", "V710", "MI25"})

_MEMORY = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*(?:gib|gb|g)(?![a-z0-9])")
_COUNT = re.compile(r"\d+x")
_SXM = re.compile(r"sxm\d?")
# Words that say nothing about which device it is. "pro", "quadro", "ada" and "pcie" do.
_NOISE = re.compile(
    "nvidia|amd|intel|habana|aws|amazon|google|cloud|tesla|instinct|geforce|radeon|gpus?|tensor|core|accelerator|"
    "generation|blackwell|server|workstation|edition|hbm[23]e?|gddr6|ac|pc|oam|mxgpu"
)
# What vendors say without naming the memory, and mean exactly one device by.
_EXACT: Mapping[str, str] = {
    "nvidia-tesla-a100": "A100-40GB",  # Google: the 80 GB one is "nvidia-a100-80gb"
    "nvidia-tesla-v100": "V100-16GB",  # Google sells no other
    "nvidia gh200 480gb": "GH200",  # 480 GB is the memory of its CPU
}


def load() -> tuple[Accelerator, ...]:
    """Every accelerator we hold facts about, in the order of the table. Peaks are dense, memory is GiB."""
    return tuple(row.device for row in _rows())


@cache
def canonical(vendor_name: str, memory_gib: float | None) -> str | None:
    """Our name for the device that a vendor or a catalogue calls `vendor_name`, or None where we know no single such.

    `memory_gib` is the memory of one device as the vendor reports it (None or 0 where it does not): it tells an A100 of
    40 GB from one of 80 GB, and a size that no such device has is answered by None rather than by the nearest. A bare
    "H100" of 80 GB is the SXM board, as in every cloud's eight-GPU node; PCIe and NVL boards say so. Google's
    "H100 Mega" is the same device behind a faster network. A share of an L4, A10, MI25, V710 or RTX PRO 6000 is that
    device; of the boards with two GPUs (K80, M60) each GPU counts as one device.
    """
    reported = memory_gib if memory_gib else None
    exact = _EXACT.get(vendor_name.lower())
    if exact is not None:
        device = _by_name()[exact]
        return exact if reported is None or _has(device, reported) else None
    found = _called(vendor_name)
    if reported is not None:
        # A whole device goes before a share of a larger one.
        found = tuple(d for d in found if _is_whole(d, reported)) or tuple(d for d in found if _has(d, reported))
    return found[0].name if len(found) == 1 else None


def share(name: str, memory_gib: float | None) -> float:
    """How much of the device called `name` has `memory_gib`: 1, or the share that clouds rent out (1/6 of an A10)."""
    device = _by_name().get(name)
    if device is None or not memory_gib or _is_whole(device, memory_gib) or name not in _SHARED:
        return 1.0
    return min(_SHARES, key=lambda each: abs(memory_gib / each - device.memory_gib))


def family(word: str) -> tuple[str, ...]:
    """Every device that `word` may mean, in the order of the table: what a user who writes "A100" allows."""
    lowered = word.lower()
    names = [row.device.name for row in _rows() if row.device.name.lower().split("-")[0] == lowered]
    return tuple(names or [device.name for device in _called(word)])


class _Row(NamedTuple):
    device: Accelerator
    keys: tuple[str, ...]  # normal forms that vendors use for it


@cache
def _rows() -> tuple[_Row, ...]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(_row(record) for record in csv.DictReader(file))


@cache
def _by_name() -> dict[str, Accelerator]:
    return {row.device.name: row.device for row in _rows()}


@cache
def _by_key() -> dict[str, tuple[Accelerator, ...]]:
    index: dict[str, tuple[Accelerator, ...]] = {}
    for row in _rows():
        for key in row.keys:
            index[key] = (*index.get(key, ()), row.device)
    return index


def _row(record: Mapping[str, str]) -> _Row:
    device = Accelerator(
        name=record["name"],
        vendor=record["vendor"],
        generation=record["generation"],
        year=int(record["year"]),
        memory_gib=float(record["memory_gib"]),
        memory_bandwidth_gb_s=float(record["memory_bandwidth_gb_s"]),
        peak_tflops=tuple((each, float(record[each])) for each in Precision if record.get(each)),
        tdp_w=float(record["tdp_w"]),
        link=record["link"],
        link_gb_s=float(record["link_gb_s"] or 0.0),
        source=record["source"],
        as_of=record["as_of"],
    )
    own, _ = _normal(device.name)
    return _Row(device, tuple(dict.fromkeys((own, *filter(None, record["aliases"].split("|"))))))


def _called(vendor_name: str) -> tuple[Accelerator, ...]:
    """The devices that go by `vendor_name` and have the memory that it names, if it names one."""
    key, named_gib = _normal(vendor_name)
    return tuple(d for d in _by_key().get(key, ()) if named_gib is None or _has(d, named_gib))


def _normal(name: str) -> tuple[str, float | None]:
    """The words of `name` that tell devices apart, run together, and the memory it names."""
    lowered = name.lower().replace("_", " ").replace("-", " ").replace("/", " ")
    sizes = _MEMORY.findall(lowered)
    words = re.findall(r"[a-z0-9]+", _MEMORY.sub(" ", lowered))
    kept = ["sxm" if _SXM.fullmatch(word) else word for word in words if not _NOISE.fullmatch(word)]
    key = "".join(word for word in kept if not _COUNT.fullmatch(word))
    return key, float(sizes[0]) if sizes else None


def _is_whole(device: Accelerator, memory_gib: float) -> bool:
    return abs(memory_gib / device.memory_gib - 1.0) <= _MEMORY_TOLERANCE


def _has(device: Accelerator, memory_gib: float) -> bool:
    """Whether `memory_gib` is the memory of `device`, or of a share of it that is sold."""
    if _is_whole(device, memory_gib):
        return True
    return device.name in _SHARED and any(_is_whole(device, memory_gib / share) for share in _SHARES)
