"""Standing: what is held, paid for, spent and learned when a plan is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.errors import AuthError, CapacityError, QuotaError, Scope, ThrottledError
from orchestrator.domain.offer import Offer

SAID = {  # by the class name of the error
    CapacityError.__name__: "sold out",
    QuotaError.__name__: "over quota",
    AuthError.__name__: "credentials refused",
    ThrottledError.__name__: "turned away",
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A refusal that stands: from `since` to `until` nothing that `scope` reaches is asked for again.

    The fields from `provider` to `billing` and `quota_nodes` are of the offer that was refused, in `nodes` nodes. Fewer
    nodes may still be had, more may not. What quota there is counts for more than a refusal: a block by a quota ends
    for an offer of the same instance type and region that shows more of it than the refused one did.
    """

    provider: str
    region: str
    zone: str
    instance_type: str
    billing: str
    nodes: int
    scope: Scope
    error: str  # class name of the ProviderError
    since: datetime
    until: datetime
    quota_nodes: int | None = None

    def reach(self) -> tuple[tuple[str, str], ...]:
        """The fields of an offer that say whether it is meant, and their values."""
        names = ["provider"]
        if self.scope is not Scope.PROVIDER:
            names += ["region", "instance_type", "billing"]
        if self.scope is Scope.ZONE and self.zone:
            names.append("zone")
        return tuple((name, getattr(self, name)) for name in names)

    def covers(self, offer: Offer, nodes: int) -> bool:
        """Whether `nodes` nodes of `offer` would be refused alike, as far as anybody knows."""
        if nodes < self.nodes or any(str(getattr(offer, name)) != value for name, value in self.reach()):
            return False
        same = (offer.region, offer.instance_type, offer.billing) == (self.region, self.instance_type, self.billing)
        known = offer.quota_nodes if same and self.error == QuotaError.__name__ else None
        return known is None or known <= (-1 if self.quota_nodes is None else self.quota_nodes)

    @property
    def label(self) -> str:
        """What is meant: `aws us-east-1/us-east-1a p5.48xlarge spot`, `aws us-east-1 p5.48xlarge spot`, `aws`."""
        if self.scope is Scope.PROVIDER:
            return self.provider
        place = f"{self.region}/{self.zone}" if self.scope is Scope.ZONE and self.zone else self.region
        return f"{self.provider} {place} {self.instance_type} {self.billing}"

    def sentence(self, now: datetime) -> str:
        """`aws us-east-1 p5.48xlarge spot: sold out 3 min ago, asked again after 12 min`."""
        size = f" ({self.nodes} nodes)" if self.nodes > 1 else ""
        ago, left = _span(now - self.since), _span(self.until - now)
        return f"{self.label}{size}: {SAID.get(self.error, self.error)} {ago} ago, asked again after {left}"


def _span(time: timedelta) -> str:
    """`40 s`, `3 min`, `2.5 h`."""
    seconds = max(time / timedelta(seconds=1), 0.0)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
