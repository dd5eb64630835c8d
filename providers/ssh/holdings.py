"""What we hold: leases put together from the locks on hosts and, of hosts that do not answer, from our own journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.errors import AuthError, TransientError
from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from providers.ssh.journal import Phase, Record
from providers.ssh.watch import View

Pointing = Callable[[str, str, str], Endpoint]  # (host, folder there, lease id): a node of the lease


def held(view: View, journal: Mapping[str, Record], owner: str) -> dict[str, Record]:
    """Every lease of `owner` by id. `journal` was read before the look: what is held by it had its locks then."""
    found: dict[str, Record] = {}
    for record in journal.values():
        if record.lease.owner == owner and _lives(view, record):
            found[record.lease.id] = record
    for name in view.answers:
        seen = view.record(name)
        # A lock on a host that the lease does not name is a forgery or an accident; it is nobody's to bill.
        if seen is not None and seen.lease.owner == owner and name in seen.hosts:
            found.setdefault(seen.lease.id, seen)
    return found


def _lives(view: View, record: Record) -> bool:
    """Whether some host has the lock or may have it."""
    if record.phase is Phase.TAKING:
        return True  # a purchase that goes on, or that will be taken up again or given back
    held_by = [view.holds(name, record.lease.id) for name in record.hosts]
    return any(
        here or (here is None and name not in view.lost) for name, here in zip(record.hosts, held_by, strict=True)
    )


def listed(view: View, record: Record, known: Record | None, point: Pointing) -> Lease:
    """The lease as a listing shows it. `known` is what our journal says of it."""
    base = known or record
    state = _state(view, base)
    points = [_endpoint(view, base, node, known, point) for node in range(len(base.hosts))]
    whole = [each for each in points if each is not None]
    if len(whole) < len(points):
        return replace(base.lease, state=LeaseState.BOOTING if state is LeaseState.READY else state, endpoints=())
    return replace(base.lease, state=state, endpoints=() if state is LeaseState.BOOTING else tuple(whole))


def _state(view: View, record: Record) -> LeaseState:
    if record.phase is Phase.RELEASING:
        return LeaseState.RELEASING
    if record.phase is Phase.TAKING:
        return LeaseState.BOOTING
    for name in record.hosts:
        here = view.holds(name, record.lease.id)
        if here is False or (here is None and name in view.lost):
            return LeaseState.RECLAIMING  # a node is gone for good, or its lock was broken: what is left is given back
    return LeaseState.READY


def _endpoint(view: View, record: Record, node: int, known: Record | None, point: Pointing) -> Endpoint | None:
    """How a node is reached; of a host that is silent, or no longer known, as it was when the lease was taken."""
    name = record.hosts[node]
    answer = view.answers.get(name)
    if answer is not None:
        try:
            return point(name, answer.folder, record.lease.id)
        except (AuthError, TransientError):
            pass
    points = known.lease.endpoints if known is not None else ()
    return points[node] if node < len(points) else None
