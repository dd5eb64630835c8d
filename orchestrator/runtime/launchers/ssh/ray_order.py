"""Whether machines can form a Ray cluster together, and what each is told of it."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

from orchestrator.domain.errors import ProviderError
from orchestrator.domain.job import Job
from orchestrator.domain.lease import Lease
from orchestrator.domain.workload import Framework
from orchestrator.runtime.launchers.ssh.book import Placed

# The first that keeps strangers out by a token: docs.ray.io/en/latest/ray-security/token-auth.html, read 2026-11-22.
OLDEST = (2, 52)


def question(job: Job) -> dict[str, object]:
    """What machines are asked before a start; nothing for a program that wants no Ray."""
    return {"ray": {"path": dict(job.program.env).get("PATH")}} if job.program.framework is Framework.RAY else {}


def check(provider: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse machines, by name, whose answers to `question` say that they form no cluster. Raises: ProviderError."""
    versions = {name: str(each["version"]) for name, each in found.items()}
    for name, version in versions.items():
        if not version:
            detail = f"{name} has no ray on the PATH of its programs: pip install 'ray[default]' there"
            raise ProviderError(provider, f"{detail}, or say where it is with PATH in the job's env")
        if _release(version) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise ProviderError(provider, f"{name} has Ray {version}; {oldest} or newer is needed, which knows tokens")
        if found[name]["lacks"]:
            lacks = found[name]["lacks"]
            raise ProviderError(provider, f"the Ray of {name} has no Jobs API ({lacks}): pip install 'ray[default]'")
    if len(set(versions.values())) > 1:
        detail = ", ".join(f"{version} on {name}" for name, version in versions.items())
        raise ProviderError(provider, f"the nodes of a cluster need the same Ray, and have {detail}")


def order(lease: Lease, job: Job, placed: Placed) -> dict[str, object]:
    """What every node is told of the cluster; its name is another's on no machine."""
    offer, where = lease.offer, f"{placed.nodes[0].address} {placed.job_folder(0)}"
    return {
        "name": f"isoflop-{zlib.crc32(where.encode()):08x}",
        "token": job.token,
        "nodes": lease.nodes,
        "cpus": max(1, int(offer.vcpus)),
        "gpus": math.ceil(offer.gpus),
        "given": sorted(name for name, _ in (*job.program.env, *job.program.secrets)),
    }


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
