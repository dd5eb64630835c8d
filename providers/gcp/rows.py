"""What we read from Google's answers, free of the SDK's types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class Instance(NamedTuple):
    """A machine as listed."""

    zone: str
    name: str
    number: str  # Google's own, never given twice
    status: str  # PROVISIONING, STAGING, RUNNING, STOPPING, TERMINATED, ...
    created: datetime
    spot: bool
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    address: str  # public where it has one, else private


class Operation(NamedTuple):
    """Something that Google does for us."""

    zone: str  # "" is a global one
    name: str
    done: bool
    target: str  # Google's number of the thing
    began: datetime | None
    code: str  # of its error, "" without one
    message: str


class Quota(NamedTuple):
    """A limit of the project; `region` "" is everywhere."""

    metric: str
    region: str
    limit: float
    used: float


class Advice(NamedTuple):
    """How likely a purchase goes through, by Google's own advice."""

    zone: str
    machine_type: str
    obtainability: float


class Rule(NamedTuple):
    """A firewall rule of ours."""

    sources: tuple[str, ...]
    tags: tuple[str, ...]
    ports: tuple[str, ...]
    network: str
