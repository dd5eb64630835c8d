"""Slurm's JSON as values, whichever version wrote it: slurmrestd and `--json` alike, from 22.05 to 26.05.

A number is written plainly, as null or as {"set", "infinite", "number"}; a state as a word, or as a list with its
flags; a list as text with commas, or as a list; some fields have two names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf, isfinite

from orchestrator.kit.documents import Document, Malformed
from providers.slurm.records import NOTHING, PLAIN, Node, Partition, QueuedJob, expand, gpus, usable

# As squeue picks one word of a job's state and its flags (job_state_string of Slurm's sources).
FLAGS = (
    "COMPLETING",
    "STAGE_OUT",
    "CONFIGURING",
    "RESIZING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "STOPPED",
    "REVOKED",
    "SIGNALING",
)
ENDED = frozenset(
    {
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "PREEMPTED",
        "BOOT_FAIL",
        "DEADLINE",
        "OUT_OF_MEMORY",
        "LAUNCH_FAILED",
        "RECONFIG_FAIL",
    }
)
NO_PREEMPTION = frozenset({"OFF", "DISABLED", "WITHIN"})
NO_VAL, INFINITE = 0xFFFFFFFE, 0xFFFFFFFF  # how older versions write that there is none (slurm.h)


def number(value: object, place: str = "a number") -> float | None:
    """None where there is none; `inf` where there is no limit. Raises: Malformed."""
    if isinstance(value, Mapping):
        if value.get("infinite") is True:
            return inf
        return number(value.get("number"), place) if value.get("set") is True else None
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Malformed(f"{place} is {value!r}, not a number")
    if value in {INFINITE, -1}:
        return inf
    return None if value == NO_VAL else float(value)


def words(value: object, place: str = "words") -> tuple[str, ...]:
    """The words of a list or of a text with commas. Raises: Malformed."""
    if value is None:
        return ()
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise Malformed(f"{place} is {value!r}, not words")
    return tuple(each.strip() for each in found if each.strip() not in NOTHING)


def complaints(body: object) -> str:
    """What an answer says went wrong; empty where nothing did."""
    errors = body.get("errors") if isinstance(body, Mapping) else None
    if not isinstance(errors, list):
        return ""
    said = []
    for each in errors:
        texts = (each.get("error"), each.get("description")) if isinstance(each, Mapping) else (each,)
        said.append(": ".join(str(text) for text in texts if text) or "an error without a text")
    return "; ".join(said)


def nodes(body: object) -> list[Node]:
    """Of `/nodes`, `scontrol show nodes --json`, and 22.05's `sinfo --json`. Raises: Malformed."""
    return [_node(each) for each in _listed(body, "nodes")]


def _node(found: Document) -> Node:
    used = dict(gpus(_text(found, "gres_used")))
    if not used:  # the allocation has the sum of the others as well
        used = dict(gpus(_text(found, "tres_used")))
        if len(used) > 1:
            used.pop(PLAIN, None)
    state = (*_words(found, "state"), *_words(found, "state_flags"))
    return Node(
        name=found.text("name"),
        partitions=_words(found, "partitions"),
        gpus=gpus(_text(found, "gres")),
        used=used,
        cpus=_count(found, "effective_cpus") or _count(found, "cpus"),
        cpus_used=_count(found, "alloc_cpus"),
        memory_mb=_count(found, "real_memory") - _count(found, "specialized_memory"),
        memory_used_mb=_count(found, "alloc_memory"),
        features=_words(found, "active_features"),
        usable=usable("+".join(state)),
        version=_text(found, "version") or _text(found, "slurmd_version"),
    )


def tells_preemption(body: object) -> bool:
    """Whether partitions say that they are pre-empted: 22.05 and 26.05 do, 23.11 to 25.11 do not."""
    return any("preempt_mode" in each or "preemption_mode" in each for each in _listed(body, "partitions"))


def partitions(body: object) -> list[Partition]:
    """Of `/partitions` and `scontrol show partitions --json`. Raises: Malformed.

    Where a partition does not say whether it is pre-empted, one that others come before is taken to be.
    """
    found = list(_listed(body, "partitions"))
    tiers = [_tier(each) for each in found]
    highest = max(tiers, default=0)
    return [_partition(each, tier, tier < highest) for each, tier in zip(found, tiers, strict=True)]


def _partition(found: Document, tier: int, behind: bool) -> Partition:
    most = Document(found.raw("maximums") or {}, f"{found.place}.maximums")
    longest_min = number(most.raw("time") or found.raw("max_time_limit"), f"{found.place}: its time limit")
    nodes = number(most.raw("nodes") or found.raw("maximum_nodes_per_job"), f"{found.place}: its nodes")
    mode = {each.upper() for each in (*_words(found, "preempt_mode"), *_words(found, "preemption_mode"))}
    inner = Document(found.raw("partition") or {}, f"{found.place}.partition")
    state = {each.upper() for each in (*_words(found, "state"), *_words(inner, "state"))}
    return Partition(
        name=found.text("name"),
        up="UP" in state and "ROOT_ONLY" not in {each.upper() for each in _words(found, "flags")},
        max_s=None if longest_min is None or longest_min == inf else 60.0 * longest_min,
        max_nodes=None if nodes is None or nodes == inf else int(nodes),
        tier=tier,
        preemptible=behind and not mode & NO_PREEMPTION,
        grace_s=float(_count(found, "grace_time") or _count(found, "preemption_grace_time")),
    )


def _tier(found: Document) -> int:
    return _count(Document(found.raw("priority") or {}, f"{found.place}.priority"), "tier") or _count(
        found, "priority_tier"
    )


def jobs(body: object, user: str) -> list[QueuedJob]:
    """Jobs of `user` that have not ended, of `/jobs` and `squeue --json`. Raises: Malformed.

    A job whose user has no name may be ours: a slurmrestd that does not know the site's users has none for any.
    """
    read = (_job(each) for each in _listed(body, "jobs") if _text(each, "user_name") in {user, ""})
    return [job for job in read if job.state not in ENDED]


def _job(found: Document) -> QueuedJob:
    identifier = number(found.raw("job_id"), f"{found.place}.job_id")
    states = [each.upper() for each in _words(found, "job_state")]
    if not identifier or not isfinite(identifier) or not states:
        raise Malformed(f"{found.place} is a job without a number or a state")
    reason = _text(found, "state_reason")
    return QueuedJob(
        id=str(int(identifier)),
        name=_text(found, "name"),
        state=next((flag for flag in FLAGS if flag in states), states[0]),
        reason="" if reason in NOTHING else reason,
        nodes=tuple(_hosts(found)),
        ends_at=_moment(found, "end_time"),
        preempted_at=_moment(found, "preempt_time"),
        restarts=_count(found, "restart_cnt"),
        comment=_text(found, "comment"),
    )


def _listed(body: object, name: str) -> list[Document]:
    found = Document(body, "the answer")
    if found.raw(name) is None:
        raise Malformed(f"the answer has no {name}")
    return list(found.each(name))


def _hosts(found: Document) -> tuple[str, ...]:
    try:
        return tuple(expand(_text(found, "nodes")))
    except ValueError as error:
        raise Malformed(f"{found.place}.nodes is no list of hosts") from error


def _text(found: Document, name: str) -> str:
    return found.text(name, "")


def _words(found: Document, name: str) -> tuple[str, ...]:
    return words(found.raw(name), f"{found.place}.{name}")


def _count(found: Document, name: str) -> int:
    value = number(found.raw(name), f"{found.place}.{name}")
    return int(value) if value is not None and isfinite(value) else 0


def _moment(found: Document, name: str) -> datetime | None:
    """None where it is not known: 0 of a job that waits."""
    at_s = number(found.raw(name), f"{found.place}.{name}")
    if not at_s or not isfinite(at_s):
        return None
    try:
        return datetime.fromtimestamp(at_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None
