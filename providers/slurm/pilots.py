"""Pilot jobs as leases: everything that makes a job ours stands in its name and its comment, in Slurm itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from orchestrator.domain.lease import Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.records import dump_lease, load_lease
from providers.slurm.records import QueuedJob
from providers.slurm.settings import NAME, PBS, SiteSettings, parts
from providers.slurm.translate import warned_s

PREFIX = "isoflop"
COMING = frozenset({"PENDING", "CONFIGURING"})
HELD = frozenset({"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"})


class Pilot(NamedTuple):
    """A job of ours and the lease that it is."""

    job: QueuedJob
    lease: Lease


def digest(text: str) -> str:
    """Eight bytes that stand for `text` where any text cannot stand."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def job_name(owner: str, token: str) -> str:
    """The name of the pilot of a token: of letters, digits and hyphens."""
    return f"{PREFIX}-{digest(owner)}-{digest(token)}"


def comment(lease: Lease) -> str:
    """The lease as one word without a blank, a quote or a delimiter."""
    packed = zlib.compress(dump_lease(lease).encode(), 9)
    return f"{PREFIX}:{base64.urlsafe_b64encode(packed).decode()}"


def parse(text: str) -> Lease:
    """What `comment` wrote. Raises: ValueError."""
    mark, _, packed = text.partition(":")
    if mark != PREFIX:
        raise ValueError("not a comment of isoflop's")
    try:
        record: Any = json.loads(zlib.decompress(base64.urlsafe_b64decode(packed.encode())))
    except (zlib.error, binascii.Error, ValueError) as error:
        raise ValueError(f"the comment cannot be read: {error}") from error
    return load_lease(json.dumps(record))


def ours(jobs: Iterable[QueuedJob], owner: str, site: SiteSettings, now: datetime) -> list[Pilot]:
    """Pilots of `owner` as leases, the oldest first. A comment that a site has rewritten makes a job no pilot."""
    found = []
    for job in jobs:
        if not job.name.startswith(f"{PREFIX}-{digest(owner)}-"):
            continue
        try:
            lease = parse(job.comment)
        except ValueError:
            continue
        if lease.owner == owner:
            found.append(Pilot(job, _current(job, lease, site, now)))
    return sorted(found, key=_number)


def _number(pilot: Pilot) -> int:
    """The older, the lower; PBS puts its server's name behind it."""
    digits = re.match(r"\d+", pilot.job.id)
    return int(digits[0]) if digits else 0


def _current(job: QueuedJob, lease: Lease, site: SiteSettings, now: datetime) -> Lease:
    if job.state in COMING and not job.restarts:
        return replace(lease, state=LeaseState.BOOTING)
    if job.state not in HELD and job.state not in COMING:  # completing, or about to be
        return replace(lease, state=LeaseState.RELEASING, endpoints=endpoints(job, lease, site))
    state = LeaseState.READY if ends(job, lease, site, now) is None else LeaseState.RECLAIMING
    # Of a job that waits again it is a guess, and of one that is pre-empted it is not its walltime.
    ends_at = None if job.state in COMING or job.preempted_at is not None else job.ends_at
    return replace(lease, state=state, endpoints=endpoints(job, lease, site), ends_at=ends_at)


def ends(job: QueuedJob, lease: Lease, site: SiteSettings, now: datetime) -> datetime | None:
    """When the machines are taken from a job that has them, if that is known to be soon or to have happened.

    Its walltime, a pre-emption in its grace time, a suspension, or that it was put back into the queue.
    """
    if job.state in COMING:
        return now if job.restarts else None
    if job.state in {"SUSPENDED", "STOPPED"}:
        return now
    if job.state not in HELD:
        return None
    if job.preempted_at is not None:  # the grace time began then, and Slurm has brought the end forward to that of it
        return job.ends_at or job.preempted_at
    if job.ends_at is None or job.ends_at - now > timedelta(seconds=warned_s(site, lease.offer)):
        return None
    return job.ends_at


def notices(pilots: Iterable[Pilot], site: SiteSettings, now: datetime) -> list[ReclaimNotice]:
    """What is about to be taken."""
    found = ((pilot.lease.id, ends(pilot.job, pilot.lease, site, now)) for pilot in pilots)
    return [ReclaimNotice(lease_id, at) for lease_id, at in found if at is not None]


def endpoints(job: QueuedJob, lease: Lease, site: SiteSettings) -> tuple[Endpoint, ...]:
    """One for each machine, reached through the login node, if that is not this machine."""
    if len(job.nodes) != lease.nodes:
        return ()
    if site.system == PBS:
        return tuple(_over_ssh(node, lease, site) for node in job.nodes)
    conf = (("SLURM_CONF", site.slurm_conf),) if site.slurm_conf else ()
    return tuple(
        Endpoint(
            launcher=NAME,
            address=node,
            path=f"{site.folder}/leases/{lease.id}",
            env=(("ISOFLOP_SLURM_JOB", job.id), *conf),
            jump=login(site),
        )
        for node in job.nodes
    )


def _over_ssh(node: str, lease: Lease, site: SiteSettings) -> Endpoint:
    """A machine that is logged in to through the login node; its folder may be on a file system that all share."""
    user, _, _ = parts(site.login)
    key = site.node_host_key(node)
    found = _endpoint(f"{user}@{node}", key, site.identity, login(site))
    return replace(found, path=f"{site.folder}/leases/{lease.id}/{node}")


def login(site: SiteSettings) -> Endpoint | None:
    """The login node; None where that is this machine."""
    if not site.login:
        return None
    jump = None
    if site.jump:
        jump = _endpoint(site.jump, site.jump_host_key, site.jump_identity or site.identity, None)
    return _endpoint(site.login, site.host_key, site.identity, jump)


def _endpoint(address: str, host_key: str, identity: str, jump: Endpoint | None) -> Endpoint:
    user, host, port = parts(address)
    return Endpoint(launcher="ssh", address=host, port=port, user=user, identity=identity, host_key=host_key, jump=jump)
