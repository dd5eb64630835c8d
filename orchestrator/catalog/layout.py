"""The columns of an offers CSV: which there are, which must be there, and what is wrong with a header."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import Problem

REQUIRED = ("provider", "region", "instance_type", "gpu", "gpu_count")
PRICES = ("on_demand", "spot")  # at least one of them
OPTIONAL = (
    "zone",
    "gpu_mem_gib",
    "vcpu",
    "mem_gib",
    "currency",
    "interrupt_idx",
    "max_lease_h",
    "od_source",
    "od_as_of",
    "spot_source",
)
COLUMNS = (*REQUIRED, *PRICES, *OPTIONAL)


@dataclass(frozen=True, slots=True)
class Header:
    """Where every known column stands; `ignored` names those that mean nothing to us."""

    index: Mapping[str, int]
    width: int
    ignored: tuple[str, ...]


def read_header(fields: Sequence[str]) -> tuple[Header, tuple[Problem, ...]]:
    """The layout that a header line describes, and everything that is wrong with it."""
    names = [field.strip().casefold() for field in fields]
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        message = "the columns are not separated by commas"
        return Header({}, 1, ()), (Problem(1, 1, "", message, hint=f"expected: {','.join(COLUMNS)}"),)
    missing = [name for name in REQUIRED if name not in names]
    if not any(name in names for name in PRICES):
        missing.append("on_demand")
    problems = [
        Problem(1, 1, name, f"the column {name!r} stands here {count} times")
        for name, count in Counter(names).items()
        if count > 1 and name in COLUMNS
    ]
    ignored = []
    absent = [name for name in COLUMNS if name not in names]
    for name in names:
        if name in COLUMNS:
            continue
        near = difflib.get_close_matches(name, absent, n=1, cutoff=0.7)
        if near:
            missing = [column for column in missing if column != near[0]]
            problems.append(Problem(1, 1, name, "unknown column", hint=f"did you mean {near[0]!r}?"))
        else:
            ignored.append(name)
    hint = f"the columns are {', '.join(COLUMNS)}"
    problems += [Problem(1, 1, name, f"the column {name!r} is missing", hint=hint) for name in missing]
    index = {name: names.index(name) for name in COLUMNS if name in names}
    return Header(index, len(names), tuple(ignored)), tuple(problems)
