"""Machines that a simulated cloud has sold, and how they stand at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.simulation.clouds.pools import Key


class Phase(StrEnum):
    """How a machine stands, in nobody's words; each cloud has its own for them."""

    BOOTING = "booting"
    RUNNING = "running"
    STOPPING = "stopping"  # asked to end, or being taken back; still billed and holding its place
    GONE = "gone"


class End(StrEnum):
    """Why a machine ends."""

    USER = "user"
    PREEMPTED = "preempted"
    LIFETIME = "lifetime"  # the machine ended itself, or the vendor by the limit asked for
    FAILED = "failed"  # it never came up


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One sold node. Times are the market's; None is not yet decided."""

    serial: int
    account: str
    key: Key
    name: str  # the customer's
    token: str  # the vendor's idempotency token of the purchase, "" where it has none
    tags: Mapping[str, str] = field(default_factory=dict)
    charges: tuple[tuple[str, str, float], ...] = ()  # (quota, region, units) that it draws on
    usd_per_hour: float
    bought_at: datetime
    visible_at: datetime
    ready_at: datetime
    warned_at: datetime | None = None  # a reclaim at `ends_at` is announced then
    ends_at: datetime | None = None  # begins to stop
    gone_at: datetime | None = None
    end: End | None = None  # of the one decided
    address: str = ""
    port: int = 22
    user_data: str = field(default="", repr=False)  # what it is told at its start; holds the machine's own keys
    extra: Mapping[str, object] = field(default_factory=dict)  # what the request said and the vendor repeats

    def phase(self, now: datetime) -> Phase:
        """How it stands at `now`."""
        if self.gone_at is not None and now >= self.gone_at:
            return Phase.GONE
        if self.ends_at is not None and now >= self.ends_at:
            return Phase.STOPPING
        return Phase.RUNNING if now >= self.ready_at else Phase.BOOTING

    def warned(self, now: datetime) -> bool:
        """Whether its reclaim is announced and not yet over."""
        return self.warned_at is not None and now >= self.warned_at and self.phase(now) is not Phase.GONE
