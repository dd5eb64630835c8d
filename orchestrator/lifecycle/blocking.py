"""The block-list: what providers refused a short while ago and are not asked for again yet; a fold over events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.errors import AuthError, CapacityError, QuotaError, Scope, ThrottledError
from orchestrator.domain.events import ControllerNote, Event, LeaseGone, PurchaseIntended, PurchaseRefused
from orchestrator.domain.offer import Offer
from orchestrator.domain.standing import Block

SCOPES = {  # of a refusal that does not say, by the error's class name: as the errors have it
    CapacityError.__name__: CapacityError.default,
    QuotaError.__name__: QuotaError.default,
    AuthError.__name__: Scope.PROVIDER,
    ThrottledError.__name__: Scope.PROVIDER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a refusal stands, in seconds."""

    # Machines come back within minutes or within hours, nobody says when. Four questions an hour find them soon enough,
    # and are far from any limit on launches.
    sold_out_s: float = 900.0
    # A quota changes when a person has it raised, which takes hours to days, or when something is given back: what we
    # give back ourselves ends the block at once, and so does a listing that shows more quota.
    quota_s: float = 6 * 3600.0
    # Credentials are read when a control plane starts, and a new one asks at once; an hour is for keys that are mended
    # at the provider, a role or a subscription.
    auth_s: float = 3600.0
    # Limits on calls fill up again within minutes, and each call that is turned away may put that off.
    throttled_s: float = 120.0

    def seconds(self, error: str) -> float:
        """For the class name of an error; 0 where it says nothing about later."""
        stands = {
            CapacityError.__name__: self.sold_out_s,
            QuotaError.__name__: self.quota_s,
            AuthError.__name__: self.auth_s,
            ThrottledError.__name__: self.throttled_s,
        }
        return stands.get(error, 0.0)


DEFAULT_PATIENCE = Patience()


class BlockList:
    """Fed with every event in order. Events that it knows nothing of change nothing."""

    def __init__(self, patience: Patience = DEFAULT_PATIENCE) -> None:
        self._patience = patience
        self._intended: dict[str, PurchaseIntended] = {}  # by token, until refused or gone
        self._blocks: list[Block] = []

    def take(self, event: Event) -> None:
        """What follows from `event`."""
        match event:
            case PurchaseIntended():
                self._intended[event.token] = event
            case PurchaseRefused():
                self._refused(event, self._intended.pop(event.token, None))
            case LeaseGone():
                self._gone(self._intended.pop(event.token, None))
            case ControllerNote() if event.fence:
                self._blocks = [block for block in self._blocks if block.error != AuthError.__name__]

    def standing(self, now: datetime) -> tuple[Block, ...]:
        """The blocks that are not over, in the order of their refusals; what is over is forgotten."""
        self._blocks = [block for block in self._blocks if block.until > now]
        return tuple(self._blocks)

    def _refused(self, event: PurchaseRefused, intended: PurchaseIntended | None) -> None:
        block = block_of(event, intended.offer, intended.nodes, self._patience) if intended is not None else None
        if block is not None:
            reach = (block.reach(), block.error)
            self._blocks = [
                known for known in self._blocks if (known.reach(), known.error) != reach or known.nodes < block.nodes
            ]
            self._blocks.append(block)

    def _gone(self, bought: PurchaseIntended | None) -> None:
        if bought is not None:
            self._blocks = [block for block in self._blocks if not _frees(bought.offer, block)]


def blocks(events: Iterable[Event], now: datetime, patience: Patience = DEFAULT_PATIENCE) -> tuple[Block, ...]:
    """What is blocked `now` after a whole history of `events`."""
    found = BlockList(patience)
    for event in events:
        found.take(event)
    return found.standing(now)


def block_of(event: PurchaseRefused, offer: Offer, nodes: int, patience: Patience) -> Block | None:
    """What the refusal of `nodes` nodes of `offer` stands for; None where it says nothing about later."""
    seconds = patience.seconds(event.error)
    if seconds <= 0:
        return None
    return Block(
        provider=offer.provider,
        region=offer.region,
        zone=offer.zone,
        instance_type=offer.instance_type,
        billing=str(offer.billing),
        nodes=nodes if event.error in {CapacityError.__name__, QuotaError.__name__} else 1,
        scope=event.scope or SCOPES[event.error],
        error=event.error,
        since=event.at,
        until=event.at + timedelta(seconds=seconds),
        quota_nodes=offer.quota_nodes,
    )


def _frees(offer: Offer, block: Block) -> bool:
    """Whether giving back a lease of `offer` may make room under the quota behind `block`."""
    if block.error != QuotaError.__name__ or offer.provider != block.provider:
        return False
    return block.scope is Scope.PROVIDER or offer.region == block.region
