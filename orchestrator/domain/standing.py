"""Standing: what is held, paid for, spent and learned when a plan is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """Capacity that is paid for whether it is used or not: a reservation, a savings plan for one instance type.

    It covers up to `nodes` nodes at a time of the offers of `provider` and `instance_type`, in `region` alone where one
    is named, whatever their billing but spot; running on it adds nothing to the invoice until `ends_at`.
    """

    provider: str
    instance_type: str
    nodes: int
    region: str = ""
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Machines that are held now: so many `nodes` of one offer for the run called `run`."""

    run: str
    provider: str
    region: str
    zone: str
    instance_type: str
    billing: str
    nodes: int
    gpus: float  # in all
    usd_per_hour: float  # of all nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """A purse that several jobs pay from: `cap_usd` for the time from `starts_at` to `ends_at`.

    `spent_usd` is what the bills say so far, `committed_usd` what running jobs are still expected to add.
    """

    name: str  # the team it is of; "" is everybody's
    cap_usd: float
    starts_at: datetime
    ends_at: datetime
    spent_usd: float = 0.0
    committed_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderScore:
    """How a provider has behaved, from the user's own history or settings.

    `failures_per_node_hour` is of machines that were not to be taken back: hardware, network, site. `refused` is the
    share of purchases that failed though the offer was on sale. None is unknown. `origin` says where it is from.
    """

    provider: str
    failures_per_node_hour: float | None = None
    refused: float | None = None
    origin: str = ""
