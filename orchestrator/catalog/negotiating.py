"""A provider at the user's negotiated prices: what is planned, bought and billed has one price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.catalog.agreements import MARK, Negotiated, negotiated
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import (
    DescribesAccelerators,
    MeasuresLinks,
    Provider,
    Survey,
    WarnsOfReclaim,
    survey,
)
from orchestrator.domain.lease import Boot, Lease, ReclaimNotice
from orchestrator.domain.network import Link, Place
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook


class Negotiating:
    """Another provider, whose offers and leases have the prices agreed with it."""

    def __init__(self, inner: Provider, prices: Sequence[Negotiated]) -> None:
        self.name = inner.name
        self._inner = inner
        self._prices = tuple(prices)

    def offers(self) -> OfferBook:
        """As the provider's, at negotiated prices."""
        return negotiated(self._inner.offers(), self._prices)

    def survey(self) -> Survey:
        """As the provider's, at negotiated prices; without gaps where it tells of none."""
        found = survey(self._inner)
        return Survey(negotiated(found.book, self._prices), found.gaps)

    def places(self) -> Sequence[Place]:
        """As the provider's; none where it tells of none."""
        return self._inner.places() if isinstance(self._inner, MeasuresLinks) else ()

    def links(self) -> Sequence[Link]:
        """As the provider's; none where it measures none."""
        return self._inner.links() if isinstance(self._inner, MeasuresLinks) else ()

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """As the provider's; the lease is billed at the negotiated price."""
        return self._agreed(self._inner.acquire(offer, nodes, token=token, boot=boot))

    def release(self, lease_id: str) -> None:
        """As the provider's."""
        self._inner.release(lease_id)

    def leases(self) -> Sequence[Lease]:
        """As the provider's, at negotiated prices."""
        return tuple(self._agreed(lease) for lease in self._inner.leases())

    def _agreed(self, lease: Lease) -> Lease:
        """An adapter may hand back the offer it was given, at its negotiated price, or its own at the list price."""
        if lease.offer.source.startswith(MARK):
            return lease
        offer = negotiated(OfferBook.of([lease.offer]), self._prices)[0]
        if not offer.source.startswith(MARK):
            return lease
        return replace(lease, offer=offer, usd_per_hour=lease.nodes * offer.usd_per_hour)


class _Warning(Negotiating):
    def __init__(self, inner: Provider, prices: Sequence[Negotiated], warns: WarnsOfReclaim) -> None:
        super().__init__(inner, prices)
        self._warns = warns

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """As the provider's."""
        return self._warns.reclaims()


class _Describing(Negotiating):
    def __init__(self, inner: Provider, prices: Sequence[Negotiated], describes: DescribesAccelerators) -> None:
        super().__init__(inner, prices)
        self._describes = describes

    def accelerators(self) -> Sequence[Accelerator]:
        """As the provider's."""
        return self._describes.accelerators()


class _WarningAndDescribing(_Warning):
    def __init__(
        self,
        inner: Provider,
        prices: Sequence[Negotiated],
        warns: WarnsOfReclaim,
        describes: DescribesAccelerators,
    ) -> None:
        super().__init__(inner, prices, warns)
        self._describes = describes

    def accelerators(self) -> Sequence[Accelerator]:
        """As the provider's."""
        return self._describes.accelerators()


def negotiating(provider: Provider, prices: Sequence[Negotiated]) -> Provider:
    """`provider` at `prices`, with the abilities it has; itself where none of them is about it."""
    mine = [price for price in prices if price.provider == provider.name]
    if not mine:
        return provider
    inner: object = provider
    if isinstance(inner, WarnsOfReclaim) and isinstance(inner, DescribesAccelerators):
        return _WarningAndDescribing(provider, mine, inner, inner)
    if isinstance(inner, WarnsOfReclaim):
        return _Warning(provider, mine, inner)
    if isinstance(inner, DescribesAccelerators):
        return _Describing(provider, mine, inner)
    return Negotiating(provider, mine)
