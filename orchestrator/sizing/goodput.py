"""Goodput: how often a job of many devices fails, how often it should checkpoint, and how much of its time counts."""

from __future__ import annotations

from math import ceil, exp, expm1, inf, isfinite, sqrt
from typing import NamedTuple

from orchestrator.domain.errors import UserError
from orchestrator.domain.sizing import Assumption, Checkpoints
from orchestrator.sizing.parameters import Parameters, bundled

GIB = float(1 << 30)
HOUR_S = 3600.0
DAY_S = 86400.0
USUAL_NODE = 8  # devices of the nodes whose failure rates are published
LEAST_GOODPUT = 1e-6  # below it a job never ends; a share that reads 0 would divide by zero further on


class Write(NamedTuple):
    """One checkpoint: how long the devices stand still for it, and when it lies safe on the storage."""

    blocked_s: float
    done_s: float


def node_failures_per_day(devices_per_node: float = USUAL_NODE, table: Parameters | None = None) -> float:
    """Failures of one node a day, hardware and software faults that stop the job, planned stops aside.

    Published rates are of nodes with eight devices. A share of the faults is the devices' own and grows with their
    number; the rest (host, network, storage, software) is the node's.
    """
    known = bundled() if table is None else table
    own = known["failure.device_share"]
    return known["failure.per_1000_node_days"] / 1000.0 * (1.0 - own + own * devices_per_node / USUAL_NODE)


def mtbf_s(devices: int, devices_per_node: int = USUAL_NODE, table: Parameters | None = None) -> float:
    """Mean time between failures of a job on `devices` devices, in seconds: any node's failure stops all of it.

    M = 1 / (lambda · nodes), failures being independent and at a constant rate. Both counts are at least 1.
    """
    used = min(devices, devices_per_node)
    return DAY_S / (node_failures_per_day(used, table) * ceil(devices / used))


def daly_interval_s(blocked_s: float, mtbf: float) -> float:
    """Seconds of work between checkpoints that lose the least time, both arguments in seconds and `mtbf` above 0.

    sqrt(2·d·M)·(1 + sqrt(d/2M)/3 + d/18M) - d for d < 2M, else M, as in Daly 2006, "A higher order estimate of the
    optimum checkpoint interval for restart dumps". Within 1 % of the best goodput for d < M/2.
    """
    if blocked_s >= 2.0 * mtbf:
        return mtbf
    ratio = blocked_s / (2.0 * mtbf)
    return sqrt(2.0 * blocked_s * mtbf) * (1.0 + sqrt(ratio) / 3.0 + ratio / 9.0) - blocked_s


def goodput(interval_s: float, blocked_s: float, restart_s: float, mtbf: float) -> float:
    """Share of the time that ends up in the model: tau·e^(-R/M) / (M·(e^((tau + d)/M) - 1)), in (0, 1].

    A checkpoint of d = `blocked_s` after every tau = `interval_s` of work, R = `restart_s` lost per failure besides
    the work since the last checkpoint, failures as a Poisson process of mean distance M = `mtbf` (Daly 2006). Limits:
    tau/(tau + d) without failures; e^(-R/M) where checkpoints are free and tau goes to 0. Less than LEAST_GOODPUT
    reads LEAST_GOODPUT: such a job never ends.
    """
    if not isfinite(mtbf):
        return interval_s / (interval_s + blocked_s) if interval_s + blocked_s > 0 else 1.0
    cycle = (interval_s + blocked_s) / mtbf
    if cycle <= 0:
        return max(LEAST_GOODPUT, exp(-restart_s / mtbf))
    # e^-x / (1 - e^-x) is 1 / (e^x - 1) without its overflow.
    share = interval_s / mtbf * exp(-restart_s / mtbf - cycle) / -expm1(-cycle)
    return min(1.0, max(LEAST_GOODPUT, share))


def checkpoint_bytes(parameters: float, bytes_per_parameter: float | None = None) -> float:
    """Bytes of one checkpoint of `parameters` *trained* parameters: of LoRA and QLoRA, the adapter's alone.

    14 bytes each (16-bit weights, FP32 master weights, two FP32 moments), as published runs write; give
    `weights_bytes()` for the weights alone.
    """
    width = bundled()["checkpoint.bytes_per_parameter"] if bytes_per_parameter is None else bytes_per_parameter
    return parameters * width


def weights_bytes() -> float:
    """Bytes per parameter of a checkpoint that holds the 16-bit weights alone: enough to serve, not to go on from."""
    return bundled()["checkpoint.weight_bytes"]


def write(
    size_bytes: float,
    devices: int,
    storage_gb_per_s: float | None,
    *,
    asynchronous: bool = True,
    table: Parameters | None = None,
) -> Write:
    """How long one checkpoint takes that every device writes its share of.

    Asynchronous, the devices wait until all agree on a step and have copied their share to their hosts' memory, and
    the storage takes its time in the background; synchronous, they wait for the storage. Without a bandwidth the
    storage is taken to be fast enough: see `checkpointing`.

    Raises: UserError where the bandwidth is not above 0.
    """
    known = bundled() if table is None else table
    if storage_gb_per_s is not None and not storage_gb_per_s > 0:
        raise UserError(f"a storage bandwidth of {storage_gb_per_s:g} GB/s writes no checkpoint: give one above 0")
    stored_s = 0.0 if storage_gb_per_s is None else size_bytes / (storage_gb_per_s * 1e9)
    paused_s = known["checkpoint.pause_s"]
    if not asynchronous:
        return Write(paused_s + stored_s, paused_s + stored_s)
    copied_s = size_bytes / devices / (known["checkpoint.host_gb_per_s"] * 1e9)
    return Write(paused_s + copied_s, paused_s + copied_s + stored_s)


def checkpointing(
    *,
    parameters: float,
    devices: int,
    devices_per_node: int = USUAL_NODE,
    storage_gb_per_s: float | None = None,
    restart_s: float | None = None,
    bytes_per_parameter: float | None = None,
    asynchronous: bool = True,
    table: Parameters | None = None,
) -> Checkpoints:
    """What surviving failures takes for a job that trains `parameters` parameters on `devices` devices.

    The interval is Daly's, and no shorter than a write takes to reach the storage. `gb_per_s` of the answer is the
    storage bandwidth that keeps the write below a share (checkpoint.write_share) of Daly's interval. Where
    `storage_gb_per_s` is given, every failure also costs reading a checkpoint back, and, asynchronously, the work done
    while the last one was still on its way; where it is None the storage is taken to have `gb_per_s`, which makes both
    small, and `restart_s` (default failure.restart_s) is all that a failure costs besides the work lost.

    Raises: UserError where `storage_gb_per_s` is not above 0.
    """
    known = bundled() if table is None else table
    width = known["checkpoint.bytes_per_parameter"] if bytes_per_parameter is None else bytes_per_parameter
    size = checkpoint_bytes(parameters, width)
    between = mtbf_s(devices, devices_per_node, table)
    spent = write(size, devices, storage_gb_per_s, asynchronous=asynchronous, table=table)
    background = spent.done_s - spent.blocked_s
    best = daly_interval_s(spent.blocked_s, between)
    interval = max(best, background)
    lost = known["failure.restart_s"] if restart_s is None else restart_s
    if storage_gb_per_s is not None:
        lost += size / (storage_gb_per_s * 1e9) + background
    return Checkpoints(
        gib=size / GIB,
        interval_s=interval,
        write_s=spent.blocked_s,
        gb_per_s=storage_gb_per_s_for(size, best, known["checkpoint.write_share"]),
        mtbf_h=between / HOUR_S,
        goodput=goodput(interval, spent.blocked_s, lost, between),
    )


def storage_gb_per_s_for(size_bytes: float, interval_s: float, share: float) -> float:
    """Storage bandwidth in GB/s that writes `size_bytes` in `share` of `interval_s`; infinite for no time at all."""
    return size_bytes / 1e9 / (share * interval_s) if share * interval_s > 0 else inf


def assumptions(table: Parameters | None = None) -> tuple[Assumption, ...]:
    """The numbers that `checkpointing` rests on, with their origins."""
    known = bundled() if table is None else table
    names = ("failure.per_1000_node_days", "failure.restart_s", "checkpoint.bytes_per_parameter", "checkpoint.pause_s")
    return tuple(known.assumption(name) for name in names)
