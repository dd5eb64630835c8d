"""PBS's own JSON as values: `pbsnodes`, `qstat -Q` and `qstat -f` of PBS Professional and OpenPBS 19 to 23.

Written after published outputs of those versions and OpenPBS's documentation; no PBS was run. Some versions write JSON
that is none (OpenPBS issues 1255 and 2603, pull requests 830 and 2049): it is mended as far as it is known how.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from orchestrator.kit.documents import Document, Malformed
from providers.slurm.records import PLAIN, Node, Partition, QueuedJob

LEASE = "ISOFLOP_LEASE"  # the variable of a job that holds what a comment holds in Slurm
EXPRESS = 150  # priority from which on a queue pre-empts others, as PBS comes (preempt_queue_prio)
USABLE = frozenset({"free", "job-busy"})
ENDED = frozenset("FMX")
STATES = {"R": "RUNNING", "E": "COMPLETING", "S": "SUSPENDED", "U": "SUSPENDED"}
WAITING, STARTING = "PENDING", 41  # a substate: the machines are being got ready
SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgtp]?)([bw])", re.IGNORECASE)
SCALE = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
WORD_BYTES = 8
NEVER = re.compile(r"can never run", re.IGNORECASE)
LIMIT = re.compile(r"limit.*reached|reached .*limit|exceed.*limit|limit.*exceed", re.IGNORECASE)
STRING = r'"(?:[^"\\]|\\.)*"'
BARE = re.compile(rf'({STRING})(?:(\s*:\s*)([^\s"{{\[][^,\n}}\]]*))?', re.DOTALL)
PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')


def loads(text: str) -> Document:
    """The JSON of a command of PBS, mended where it is not quite. Raises: Malformed."""
    for attempt in (text, _mended(text)):
        try:
            return Document(json.loads(attempt, strict=False), "the answer")
        except (ValueError, RecursionError):
            continue
    raise Malformed("the answer is no JSON, nor what PBS writes for it")


def _mended(text: str) -> str:
    """Values without quotes that are no numbers (005, .5, inf) get them; escapes that are none are backslashes."""

    def quoted(match: re.Match[str]) -> str:
        name, colon, bare = match[1], match[2], match[3]
        if colon is None:
            return name
        value = bare.strip()
        if value not in {"true", "false", "null"} and not PLAIN_NUMBER.fullmatch(value):
            value = json.dumps(value)
        return f"{name}{colon}{value}"

    def escaped(match: re.Match[str]) -> str:
        return match[0] if match[1] else r"\\"

    return BARE.sub(quoted, ESCAPE.sub(escaped, text))


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with the virtual nodes that PBS may divide it into, and what ties it to queues."""

    node: Node
    queues: frozenset[str]
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and what its jobs ask of machines without saying so."""

    partition: Partition
    priority: int
    wants: Mapping[str, str]
    preempts: frozenset[str]
    own_nodes: bool
    without_gpus: bool


def hosts(found: Document, *, count: str, kind: str) -> list[Host]:
    """Of `pbsnodes -a -F json`; `count` and `kind` name the resources that say how many GPUs, and which.

    Raises: Malformed.
    """
    parts: defaultdict[str, list[Host]] = defaultdict(list)
    listed = found.within("nodes")
    for name in listed.keys():  # noqa: SIM118 - a Document is no mapping
        vnode = listed.within(name)
        has = Document(vnode.raw("resources_available") or {}, f"{vnode.place}.resources_available")
        machine = str(has.raw("host") or name).split(".")[0]
        parts[machine].append(_vnode(machine, vnode, has, count, kind))
    return [_joined(each) for each in parts.values()]


def _vnode(machine: str, vnode: Document, has: Document, count: str, kind: str) -> Host:
    taken = Document(vnode.raw("resources_assigned") or {}, f"{vnode.place}.resources_assigned")
    word, gpus = str(has.raw(kind) or PLAIN), _count(has, count)
    usable = set(_words(vnode.raw("state"))) <= USABLE and bool(vnode.raw("state"))
    cpus, memory_mb = _count(has, "ncpus"), _megabytes(has.raw("mem"))
    node = Node(
        name=machine,
        partitions=(),
        gpus={word: gpus} if gpus else {},
        used={word: _count(taken, count) if usable else gpus} if gpus else {},
        cpus=cpus,
        cpus_used=_count(taken, "ncpus") if usable else cpus,
        memory_mb=memory_mb,
        memory_used_mb=_megabytes(taken.raw("mem")) if usable else memory_mb,
        usable=usable,
        version=vnode.text("pbs_version", ""),
        divisible=False,  # what is started over SSH is not held to the devices of a job: whole machines alone
    )
    tags = {name: frozenset(_words(has.raw(name))) for name in has.keys()}  # noqa: SIM118
    return Host(node, frozenset(_words(vnode.raw("queue"))), tags)


def _joined(vnodes: Sequence[Host]) -> Host:
    """The virtual nodes of one machine as one: a chunk may be of several."""
    gpus: defaultdict[str, int] = defaultdict(int)
    used: defaultdict[str, int] = defaultdict(int)
    tags: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for vnode in vnodes:
        for word, number in vnode.node.gpus.items():
            gpus[word] += number
            used[word] += vnode.node.used.get(word, 0)
        for name, values in vnode.tags.items():
            tags[name] |= values
    nodes = [vnode.node for vnode in vnodes]
    whole = replace(
        nodes[0],
        gpus=dict(gpus),
        used=dict(used),
        cpus=sum(each.cpus for each in nodes),
        cpus_used=sum(each.cpus_used for each in nodes),
        memory_mb=sum(each.memory_mb for each in nodes),
        memory_used_mb=sum(each.memory_used_mb for each in nodes),
        usable=any(each.usable for each in nodes),
    )
    return Host(whole, frozenset[str]().union(*(vnode.queues for vnode in vnodes)), dict(tags))


def queues(found: Document, *, count: str) -> tuple[list[Queue], list[str]]:
    """Of `qstat -Q -f -F json`: queues that run jobs, and in words what was left out. Raises: Malformed."""
    listed = found.within("Queue")
    read, gaps = [], []
    for name in listed.keys():  # noqa: SIM118
        queue = listed.within(name)
        if queue.text("queue_type", "").lower() != "execution":
            gaps.append(f"the queue {name} only passes jobs on: it is left out")
        elif queue.text("from_route_only", "") == "True":
            gaps.append(f"the queue {name} takes jobs from other queues alone: it is left out")
        else:
            read.append(_queue(name, queue, count))
    highest = max((each.priority for each in read), default=0)
    taken = frozenset[str]().union(*(each.preempts for each in read))
    express = highest >= EXPRESS
    return [
        _preempted(each, each.partition.name in taken or (express and each.priority < EXPRESS)) for each in read
    ], gaps


def _preempted(queue: Queue, preempted: bool) -> Queue:
    return replace(queue, partition=replace(queue.partition, preemptible=preempted))


def _queue(name: str, queue: Document, count: str) -> Queue:
    most = Document(queue.raw("resources_max") or {}, f"{queue.place}.resources_max")
    chunk = Document(queue.raw("default_chunk") or {}, f"{queue.place}.default_chunk")
    usual = Document(queue.raw("resources_default") or {}, f"{queue.place}.resources_default")
    wants = {key: str(chunk.raw(key)) for key in chunk.keys() if _is_tag(chunk.raw(key))}  # noqa: SIM118
    targets = re.findall(r"QUEUE=([^,\s\"]+)", str(usual.raw("preempt_targets") or ""), re.IGNORECASE)
    nodes, priority = most.raw("nodect"), _count(queue, "Priority")
    return Queue(
        Partition(
            name=name,
            up=queue.text("enabled", "") == "True" and queue.text("started", "") == "True",
            max_s=seconds(most.raw("walltime")),
            max_nodes=None if nodes is None else _count(most, "nodect"),
            tier=priority,
            preemptible=False,
        ),
        priority,
        wants,
        frozenset(targets),
        queue.text("hasnodes", "") == "True",
        most.raw(count) is not None and not _count(most, count),
    )


def members(machines: Iterable[Host], found: Sequence[Queue]) -> list[Node]:
    """The machines with the queues that may use each: tied to it, or with the tags that its jobs ask for."""
    return [
        replace(host.node, partitions=tuple(queue.partition.name for queue in found if _serves(host, queue)))
        for host in machines
    ]


def _serves(host: Host, queue: Queue) -> bool:
    if queue.without_gpus and host.node.gpus:
        return False
    if host.queues or queue.own_nodes:
        return queue.partition.name in host.queues
    return all(value in host.tags.get(name, ()) for name, value in queue.wants.items())


def jobs(found: Document) -> list[QueuedJob]:
    """Of `qstat -f -F json`: those that have not ended. Raises: Malformed."""
    if found.raw("Jobs") is None:  # there is no such key where there is no job
        return []
    listed = found.within("Jobs")
    read = ((name, listed.within(name)) for name in listed.keys())  # noqa: SIM118
    return [_job(name, job) for name, job in read if job.text("job_state") not in ENDED]


def _job(identifier: str, job: Document) -> QueuedJob:
    if not identifier[:1].isdigit():
        raise Malformed(f"{job.place} has no number")
    wanted = Document(job.raw("Resource_List") or {}, f"{job.place}.Resource_List")
    variables = Document(job.raw("Variable_List") or {}, f"{job.place}.Variable_List")
    state, held = job.text("job_state"), str(job.raw("exec_host") or "")
    begun, walltime_s = moment(job.raw("stime")), seconds(wanted.raw("walltime"))
    running = state in STATES
    word = STATES.get(state, WAITING)
    return QueuedJob(
        id=identifier,
        name=str(job.raw("Job_Name") or ""),
        state="CONFIGURING" if state == "R" and _count(job, "substate") == STARTING else word,
        reason="" if running else reason(str(job.raw("comment") or ""), held=state == "H"),
        nodes=tuple(dict.fromkeys(part.split("/")[0].split(".")[0] for part in held.split("+") if part)),
        ends_at=None if begun is None or walltime_s is None or not running else begun + timedelta(seconds=walltime_s),
        preempted_at=None,
        restarts=max(0, _count(job, "run_count") - 1) if running else _count(job, "run_count"),
        comment=unpacked(str(variables.raw(LEASE) or "")),
    )


def reason(said: str, *, held: bool) -> str:
    """Why a job waits, in words that Slurm has for it where what comes of it differs."""
    if NEVER.search(said):
        return f"BadConstraints: {said}"
    if LIMIT.search(said):
        return f"AssocLimit: {said}"
    return said or ("held" if held else "")


def packed(comment: str) -> str:
    """A comment as the value of a variable, which is split at an equals sign by some."""
    return comment.rstrip("=")


def unpacked(value: str) -> str:
    """The comment that `packed` made a value of."""
    _, mark, body = value.partition(":")
    return value + "=" * (-len(body) % 4) if mark else value


def seconds(value: object) -> float | None:
    """A duration: seconds, "12:00:00", "36:00"; None where there is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    parts = str(value or "").split(".")[0].split(":")
    if not all(part.isdigit() for part in parts) or len(parts) > 4:
        return None
    days, hours, minutes, rest = (0,) * (4 - len(parts)) + tuple(int(part) for part in parts)
    return float(days * 86400 + hours * 3600 + minutes * 60 + rest)


def moment(value: object) -> datetime | None:
    """A time as a command that ran with TZ=UTC writes it: "Tue Oct  4 21:23:33 2022"."""
    try:
        return datetime.strptime(" ".join(str(value or "").split()), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return None


def _megabytes(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return int(value // 2**20)  # bytes
    match = SIZE.fullmatch(str(value or ""))
    if match is None:
        return 0
    unit = WORD_BYTES if match[3].lower() == "w" else 1
    return int(float(match[1]) * unit * 1024.0 ** SCALE[match[2].lower()] // 2**20)


def _is_tag(value: object) -> bool:
    return isinstance(value, str) and not SIZE.fullmatch(value) and seconds(value) is None


def _words(value: object) -> tuple[str, ...]:
    return tuple(each.strip() for each in str(value or "").split(",") if each.strip())


def _count(found: Document, name: str) -> int:
    value = found.raw(name)
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
