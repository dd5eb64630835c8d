"""A provider in another process, as a Provider: what the planner's look at the market needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import Survey
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.network import Link, Place
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.runtime.gateway import Acquire, Gateway, Look, Release, Sighting


class Asking(Gateway, Protocol):
    """A Gateway that can ask for the market too."""

    def ask(self, provider: str, method: str, *arguments: object, timeout_s: float) -> object:
        """What `method` of the provider's process returns. Raises: as Gateway.call."""
        ...


class RemoteProvider:
    """A provider behind its actor, for those who want a Provider: the planner's look at the market."""

    def __init__(self, name: str, gateway: Asking, *, timeout_s: float) -> None:
        self.name = name
        self._gateway = gateway
        self._timeout_s = timeout_s

    def offers(self) -> OfferBook:
        """See Provider."""
        return self.survey().book

    def survey(self) -> Survey:
        """See Surveys; without gaps where the provider tells of none."""
        return cast(Survey, self._gateway.ask(self.name, "survey", timeout_s=self._timeout_s))

    def accelerators(self) -> Sequence[Accelerator]:
        """See DescribesAccelerators; empty where the provider describes none."""
        found = self._gateway.ask(self.name, "accelerators", timeout_s=self._timeout_s)
        return cast(Sequence[Accelerator], found)

    def places(self) -> Sequence[Place]:
        """See MeasuresLinks; none where the provider tells of none."""
        return cast(Sequence[Place], self._gateway.ask(self.name, "places", timeout_s=self._timeout_s))

    def links(self) -> Sequence[Link]:
        """See MeasuresLinks; none where the provider measures none."""
        return cast(Sequence[Link], self._gateway.ask(self.name, "links", timeout_s=self._timeout_s))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """See Provider."""
        request = Acquire(offer=offer, nodes=nodes, token=token, boot=boot)
        return cast(Lease, self._gateway.call(self.name, request, timeout_s=self._timeout_s))

    def release(self, lease_id: str) -> None:
        """See Provider."""
        self._gateway.call(self.name, Release(lease_id=lease_id), timeout_s=self._timeout_s)

    def leases(self) -> Sequence[Lease]:
        """See Provider."""
        return cast(Sighting, self._gateway.call(self.name, Look(), timeout_s=self._timeout_s)).leases
