"""Leases: machines we hold and pay for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.offer import Offer


class LeaseState(StrEnum):
    """What the provider says of a lease; a lease that is gone is in no listing."""

    BOOTING = "booting"
    READY = "ready"
    RECLAIMING = "reclaiming"  # the provider has announced that it takes the machines back
    RELEASING = "releasing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach one node of a lease; `launcher` names the kind of launcher that can."""

    launcher: str  # "process": this machine; "ssh", "slurm" in their adapters
    address: str = ""
    port: int = 0
    user: str = ""
    path: str = ""  # a folder on the node that belongs to the lease
    env: tuple[tuple[str, str], ...] = ()  # what a job there must see: which of the node's devices are the lease's
    identity: str = ""  # the file with the private key that opens it; never the key
    host_key: str = ""  # the node's public key in OpenSSH's form, known before the first connection; "" is unknown
    jump: Endpoint | None = None  # the machine that it is reached through, address, port, user and keys alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a machine needs to come up as ours."""

    run_id: str = ""
    image: str = ""
    user_data: str = ""
    ssh_public_keys: tuple[str, ...] = ()
    lifetime_s: float | None = None  # the machine ends itself after this, should we be gone for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Machines bought by one `acquire`; `token` is ours and was stored before the purchase."""

    id: str  # the provider's
    provider: str
    token: str
    owner: str  # id of the control plane that bought it: the `isoflop-owner` tag
    offer: Offer
    nodes: int
    state: LeaseState
    usd_per_hour: float  # for all nodes, as bought
    acquired_at: datetime
    endpoints: tuple[Endpoint, ...] = ()  # one per node once READY
    ends_at: datetime | None = None  # when the machines are gone, whatever we do; None where no end is known


@dataclass(frozen=True, slots=True)
class ReclaimNotice:
    """The provider takes a lease back at `at`."""

    lease_id: str
    at: datetime
