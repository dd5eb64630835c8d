"""How a lease is written on its instances: by name, for Lambda has no idempotency keys, and by tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from orchestrator.kit import tags

BOUGHT, CENTS = "isoflop-bought", "isoflop-cents"
NAME = re.compile(r"isoflop-(?P<owner>[0-9a-f]{8})-(?P<lease>[0-9a-f]{12}-[0-9a-f]+)-(?P<node>\d+)of(?P<nodes>\d+)")
LEASE = re.compile(r"(?P<token>[0-9a-f]{12})-(?P<bought>[0-9a-f]+)")


class Mark(NamedTuple):
    """Whose an instance is and which node of which lease, as its name says."""

    owner: str  # digest
    lease_id: str
    node: int  # from 0
    nodes: int


def owner_digest(owner: str) -> str:
    """8 hexadecimal digits for an owner."""
    return sha256(owner.encode()).hexdigest()[:8]


def token_digest(token: str) -> str:
    """12 hexadecimal digits for a token."""
    return sha256(token.encode()).hexdigest()[:12]


def new_lease_id(token: str, bought_at: datetime) -> str:
    """The id of a purchase: of its token and its moment to the millisecond, so that none is ever used twice."""
    return f"{token_digest(token)}-{int(bought_at.timestamp() * 1000):x}"


def bought_at(lease_id: str) -> datetime:
    """The moment that `new_lease_id` was given. Raises: ValueError for an id of another form."""
    match = LEASE.fullmatch(lease_id)
    if match is None:
        raise ValueError(f"{lease_id!r} is no id of a lease")
    return datetime.fromtimestamp(int(match["bought"], 16) / 1000, UTC)


def is_lease_id(text: str) -> bool:
    """Whether `text` has the form of our leases' ids."""
    return LEASE.fullmatch(text) is not None


def instance_name(owner: str, lease_id: str, node: int, nodes: int) -> str:
    """The name of one node: at most 64 characters up to 99 999 nodes."""
    return f"isoflop-{owner_digest(owner)}-{lease_id}-{node}of{nodes}"


def key_name(owner: str, lease_id: str) -> str:
    """The name of the SSH key of a token's leases; the same for all leases of one token."""
    return f"isoflop-{owner_digest(owner)}-{lease_id.partition('-')[0]}"


def ruleset_name(owner: str) -> str:
    """The name of an owner's firewall ruleset in every region."""
    return f"isoflop-{owner_digest(owner)}"


def mark(name: str) -> Mark | None:
    """What the name of an instance says; None for one that is not ours."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    return Mark(match["owner"], match["lease"], int(match["node"]), int(match["nodes"]))


def tag_list(owner: str, token: str, lease_id: str, cents: int) -> list[dict[str, str]]:
    """What an instance is tagged with, as the API takes it."""
    marks: Mapping[str, str] = {
        tags.OWNER: owner,
        tags.TOKEN: token,
        BOUGHT: bought_at(lease_id).isoformat(),
        CENTS: str(cents),
    }
    return [{"key": key, "value": value} for key, value in marks.items()]
