"""Names, labels and request ids: what makes a purchase findable again by its token alone."""

from __future__ import annotations

import json
import re
import uuid
from hashlib import sha256
from typing import NamedTuple

LABEL = re.compile(r"[a-z0-9_-]{1,63}")
HASHED = "h-"
STEM = re.compile(r"isoflop-[0-9a-f]{20}")
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "isoflop.gcp")
LEASE, NODES, NUMBER = "isoflop-lease", "isoflop-nodes", "isoflop-node"  # labels beside token and owner
OFFER = "isoflop-offer"  # metadata


class LeaseId(NamedTuple):
    """A lease: `stem` names its machines, `first` is Google's number of the first one, which is never given twice."""

    zone: str
    stem: str
    nodes: int
    first: str

    def __str__(self) -> str:
        return f"{self.zone}/{self.stem}/{self.nodes}/{self.first}"

    @classmethod
    def parse(cls, text: str) -> LeaseId | None:
        """None for what is no id of ours."""
        parts = text.split("/")
        if len(parts) != 4 or not STEM.fullmatch(parts[1]) or not parts[2].isdigit() or not parts[3].isdigit():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])


def label(value: str) -> str:
    """`value` as Google's labels may hold it: itself, or its hash where it has other characters or too many."""
    if LABEL.fullmatch(value) and not value.startswith(HASHED):
        return value
    return HASHED + sha256(value.encode()).hexdigest()[:40]


def stem(owner: str, token: str) -> str:
    """What the names of a purchase's machines begin with."""
    return f"isoflop-{sha256(f'{len(owner)} {owner} {token}'.encode()).hexdigest()[:20]}"


def node(stem_of: str, number: int) -> str:
    """The name of a machine."""
    return f"{stem_of}-{number}"


def network_tag(owner: str) -> str:
    """The tag of the owner's machines, which the firewall rule speaks of, and the rule's own name."""
    return f"isoflop-ssh-{sha256(owner.encode()).hexdigest()[:12]}"


def request_id(*words: object) -> str:
    """A UUID that the words decide."""
    return str(uuid.uuid5(NAMESPACE, json.dumps([str(word) for word in words])))
