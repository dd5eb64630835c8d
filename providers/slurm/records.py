"""Slurm's own words as values: the text of `scontrol` and `squeue`, the same from 22.05 to 25.11."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

FIELD = re.compile(r" (?=[A-Za-z][\w/:]*=)")
GPU = re.compile(r"(?:^|,)(?:gres[:/])?gpu(?::([^:,()=]+))?[:=](\d+)(?:\([^)]*\))?")
DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
FLAGS = re.compile(r"[A-Z_]+")
USABLE = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING"})
UNUSABLE = frozenset({"DRAIN", "FAIL", "MAINT", "RESERVED", "NOT_RESPONDING", "POWERING_DOWN", "REBOOT", "PLANNED"})
PLAIN = "gpu"  # devices of a node whose type the site does not tell
NOTHING = frozenset({"", "N/A", "(null)", "None", "Unknown", "UNLIMITED", "NONE", "INFINITE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of a cluster. `gpus` and `used` are counts by the site's word for the device."""

    name: str
    partitions: tuple[str, ...]
    gpus: Mapping[str, int]
    used: Mapping[str, int]
    cpus: int
    cpus_used: int
    memory_mb: int
    memory_used_mb: int
    features: tuple[str, ...] = ()
    usable: bool = True
    version: str = ""
    divisible: bool = True  # some of its GPUs may be sold apart from the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A queue. None is no limit."""

    name: str
    up: bool
    max_s: float | None
    max_nodes: int | None
    tier: int
    preemptible: bool  # its jobs may be ended or put back for others
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """A job as `squeue` lists it."""

    id: str
    name: str
    state: str
    reason: str
    nodes: tuple[str, ...]
    ends_at: datetime | None
    preempted_at: datetime | None
    restarts: int
    comment: str


JOB_FIELDS = ("JobID", "Name", "State", "Reason", "NodeList", "EndTime", "PreemptTime", "RestartCnt", "Comment")
JOB_FORMAT = ",".join(f"{name}:|" for name in JOB_FIELDS)


def fields(line: str) -> dict[str, str]:
    """`Name=value Name=value`; values may have blanks. The first of a name counts: a reason may hold anything."""
    found: dict[str, str] = {}
    for part in FIELD.split(line.strip()):
        name, _, value = part.partition("=")
        found.setdefault(name, value.strip())
    return found


def gpus(text: str) -> Mapping[str, int]:
    """GPUs by their word: "gpu:a100:8(S:0-1),gpu:l4:2", "gpu:4" (word PLAIN), "gres/gpu:a100=2"."""
    found: dict[str, int] = {}
    for match in GPU.finditer(text):
        word = match[1] or PLAIN
        found[word] = found.get(word, 0) + int(match[2])
    return MappingProxyType(found)


def nodes(text: str) -> list[Node]:
    """The output of `scontrol -d -o show node`."""
    return [_node(fields(line)) for line in text.splitlines() if line.startswith("NodeName=")]


def _node(found: Mapping[str, str]) -> Node:
    has, taken = gpus(found.get("Gres", "")), dict(gpus(found.get("GresUsed", "")))
    if "GresUsed" not in found:  # told with details alone
        taken = dict(gpus(found.get("AllocTRES", "")))
        if len(taken) > 1:
            taken.pop(PLAIN, None)  # the sum of the others
    return Node(
        name=found["NodeName"],
        partitions=tuple(part for part in found.get("Partitions", "").split(",") if part not in NOTHING),
        gpus=has,
        used=taken,
        cpus=_number(found.get("CPUEfctv") or found.get("CPUTot")),
        cpus_used=_number(found.get("CPUAlloc")),
        memory_mb=_number(found.get("RealMemory")) - _number(found.get("MemSpecLimit")),
        memory_used_mb=_number(found.get("AllocMem")),
        features=tuple(each for each in found.get("ActiveFeatures", "").split(",") if each not in NOTHING),
        usable=usable(found.get("State", "")),
        version=found.get("Version", ""),
    )


def usable(state: str) -> bool:
    """Whether a node takes jobs: "MIXED", "IDLE+CLOUD", but not "IDLE+DRAIN", "DOWN*"."""
    words = FLAGS.findall(state.upper())
    return bool(words) and words[0] in USABLE and not UNUSABLE & set(words) and "*" not in state


def partitions(text: str) -> list[Partition]:
    """The output of `scontrol -o show partition`. Whether it is pre-empted: by mode, where another's tier is higher."""
    found = [fields(line) for line in text.splitlines() if line.startswith("PartitionName=")]
    highest = max((_number(each.get("PriorityTier")) for each in found), default=0)
    return [
        Partition(
            name=each["PartitionName"],
            up=each.get("State") == "UP" and each.get("RootOnly") != "YES",
            max_s=seconds(each.get("MaxTime", "")),
            max_nodes=_number(each["MaxNodes"]) if each.get("MaxNodes", "").isdigit() else None,
            tier=_number(each.get("PriorityTier")),
            preemptible=each.get("PreemptMode", "OFF") not in {"OFF", "WITHIN"}
            and _number(each.get("PriorityTier")) < highest,
            grace_s=float(_number(each.get("GraceTime"))),
        )
        for each in found
    ]


def jobs(text: str) -> list[QueuedJob]:
    """The output of `squeue -h -O JOB_FORMAT`. Raises: ValueError for a line that is none."""
    return [_job(line) for line in text.splitlines() if line.strip()]


def _job(line: str) -> QueuedJob:
    columns = [column.strip() for column in line.split("|")]
    if len(columns) <= len(JOB_FIELDS) or not columns[0].split("_")[0].isdigit():
        raise ValueError(f"not a line of squeue: {line[:120]!r}")
    # A job of somebody else may have the delimiter in its name; ours never have it. The outer columns are certain.
    spare = len(columns) - 1 - len(JOB_FIELDS)
    job_id, name = columns[0], "|".join(columns[1 : 2 + spare])
    state, reason, hosts, end, preempted, restarts, comment = columns[2 + spare : -1]
    return QueuedJob(
        id=job_id,
        name=name,
        state=state,
        reason="" if reason in NOTHING else reason,
        nodes=tuple(expand(hosts)),
        ends_at=moment(end),
        preempted_at=moment(preempted),
        restarts=int(restarts) if restarts.isdigit() else 0,
        comment="" if comment in NOTHING else comment,
    )


def expand(hosts: str) -> Iterator[str]:
    """Names of a host list: "a100-[0-1,05],l4" are a100-0, a100-1, a100-05, l4."""
    if hosts in NOTHING:
        return
    depth, start = 0, 0
    for at, sign in enumerate(f"{hosts},"):
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth == 0:
            yield from _expand_one(hosts[start:at])
            start = at + 1


def _expand_one(pattern: str) -> Iterator[str]:
    head, bracket, rest = pattern.partition("[")
    if not bracket:
        yield pattern
        return
    body, _, tail = rest.partition("]")
    for part in body.split(","):
        low, _, high = part.partition("-")
        for number in range(int(low), int(high or low) + 1):
            for end in _expand_one(tail):
                yield f"{head}{number:0{len(low)}d}{end}"


def moment(text: str) -> datetime | None:
    """A time of a command that ran with TZ=UTC; None for "N/A" and the like."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def seconds(text: str) -> float | None:
    """A time limit: "7-00:00:00", "04:00:00", "30:00", "30" minutes; None where there is none."""
    match = DURATION.fullmatch(text)
    if match is None:
        return None
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[4] is not None or match[1] is not None:
        return float(days * 86400 + first * 3600 + second * 60 + third)
    return float(first * 60 + second)


def _number(text: str | None) -> int:
    digits = re.match(r"\d+", text or "")
    return int(digits[0]) if digits else 0
