"""Azure: GPU machines of one subscription, read, bought and released through Azure's own SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import AuthError, LeaseNotFound, ProviderError
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.secret import Secret
from orchestrator.kit import fanout
from orchestrator.kit.documents import Document, readable
from orchestrator.kit.facts import Facts
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.tags import OWNER, TOKEN
from providers.azure import machines, translate
from providers.azure.client import Azure
from providers.azure.keyless import AzurePrices
from providers.azure.machines import Node
from providers.azure.network import Network
from providers.azure.purchase import Buyer
from providers.azure.retail import PriceList, Retail
from providers.azure.settings import AMBIENT, NAME, AzureSettings
from providers.azure.translate import Cores, Gaps


class _Region(NamedTuple):
    """What one region sells, and what is missing."""

    offers: tuple[Offer, ...]
    gaps: tuple[str, ...]


class AzureProvider:
    """Sells the GPU sizes of the subscription's regions, on demand and spot.

    There is no warning of reclaims: Azure announces them on the machine alone (Scheduled Events), some 30 s ahead. A
    spot machine that is taken back is deleted, and so leaves `leases`.
    """

    name = NAME

    def __init__(
        self, *, owner: str, settings: AzureSettings, secret: Secret | None, clock: Clock, state_dir: Path
    ) -> None:
        self._owner, self._settings, self._clock = owner, settings, clock
        self._azure = Azure(settings, secret, clock)
        self._retail = Retail(
            url=settings.retail_url, clock=clock, currency=settings.currency, ca_file=settings.ca_file
        )
        self._keys = KeyRing(state_dir / "keys")
        self._facts = Facts(NAME)
        self._buyer = Buyer(
            self._azure,
            Network(self._azure, settings, clock),
            self._keys,
            owner=owner,
            settings=settings,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"AzureProvider(owner={self._owner!r}, subscription={self._settings.subscription_id!r})"

    def close(self) -> None:
        """Let go of the connections."""
        self._azure.close()

    def offers(self) -> OfferBook:
        """See `survey`. Raises: AuthError, TransientError."""
        return self.survey().book

    def survey(self) -> Survey:
        """Sizes, quotas and prices of every region, all at once; a region that does not answer is a gap.

        Raises: AuthError; TransientError where nothing answered.
        """
        regions = self._settings.regions or self._azure.locations()
        with self._retail.reading() as prices:
            answers, failed = fanout.ask(regions, lambda region: self._region(region, prices))
        if failed and not answers:
            raise min(failed.values(), key=lambda error: not isinstance(error, AuthError))
        gaps = [gap for answer in answers.values() for gap in answer.gaps]
        offers = [offer for answer in answers.values() for offer in answer.offers]
        return Survey(OfferBook.of(offers), (*fanout.told(failed), *gaps))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """Buy machines that come and go with their disks, cards and addresses.

        Waits for Azure's word that there is room, for `allocation_s` at most.

        Raises: CapacityError (for all that is sold here, where `control_cidr` is missing), QuotaError, AuthError;
        TransientError, after which the purchase is in doubt; ValueError where `nodes` is below 1.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        held = [node for node in self._ours() if node.tags[TOKEN] == token]
        bought = self._buyer.buy(offer, nodes, token=token, boot=boot, held=held)
        return self._lease(bought, {}, {})

    def release(self, lease_id: str) -> None:
        """Begin to delete the machines of a lease; they are gone once Azure no longer knows their names.

        Raises: LeaseNotFound, AuthError, TransientError.
        """
        listed = [node for node in self._ours() if node.lease_id == lease_id]
        asked = [name for name in machines.parts(lease_id) if name not in {node.name for node in listed}]
        documents, failed = fanout.ask(asked, self._azure.machine)
        for error in failed.values():
            raise error
        hidden = [node for node in map(self._node, documents.values()) if node and node.lease_id == lease_id]
        found = [*listed, *hidden]
        if not found:
            raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")
        _, failed = fanout.ask([node.name for node in found if node.provisioning != "deleting"], self._azure.delete)
        for error in failed.values():
            raise error
        self._keys.forget(found[0].tags[TOKEN])

    def leases(self) -> Sequence[Lease]:
        """Our leases in the order of purchase: at most four calls, however many there are; one where none is ready.

        Raises: AuthError, TransientError.
        """
        ours = self._ours()
        if not ours:
            return []
        runs = any(node.provisioning == "succeeded" for node in ours)
        power = self._azure.power() if runs else {}
        addresses = machines.addresses(self._azure.interfaces(), self._azure.addresses()) if runs else {}
        with readable(NAME, "a machine"):
            return [self._lease(nodes, power, addresses) for nodes in machines.by_lease(ours).values()]

    # Inside

    def _region(self, region: str, read_prices: Callable[[str], PriceList]) -> _Region:
        gaps = Gaps()
        rows = self._azure.skus(region)
        if not rows:
            return _Region((), (f"{region}: Azure lists nothing there; is it a region of this subscription?",))
        shapes = translate.shapes((row for row in rows if _is_gpu(row)), region, gaps)
        if not shapes:
            return _Region((), gaps.told())
        prices = read_prices(region)
        limits: Mapping[str, Cores] = {}
        unknown: tuple[str, ...] = ()
        try:
            limits = translate.quotas(self._azure.usages(region))
        except ProviderError as error:  # what is sold at which price is known all the same
            unknown = (f"{region}: quotas unknown: {error.detail}",)
        found = translate.offers(
            shapes,
            prices.prices,
            limits,
            facts=self._facts,
            zonal=self._settings.zonal,
            now=self._clock.now(),
            gaps=gaps,
        )
        return _Region(tuple(found), (*prices.gaps, *unknown, *gaps.told()))

    def _ours(self) -> list[Node]:
        found = [self._node(machine) for machine in self._azure.machines()]
        return [node for node in found if node is not None]

    def _node(self, machine: Document | None) -> Node | None:
        """A machine under our owner tag. Raises: TransientError where one cannot be read."""
        with readable(NAME, "a machine"):
            node = None if machine is None else machines.node(machine)
        return node if node is not None and node.tags[OWNER] == self._owner else None

    def _lease(self, nodes: Sequence[Node], power: Mapping[str, str], addresses: Mapping[str, str]) -> Lease:
        now = self._clock.now()
        held = machines.state(nodes, power, addresses, now)
        endpoints: tuple[Endpoint, ...] = ()
        if held is LeaseState.READY:
            keys = self._keys.of(nodes[0].tags[TOKEN])
            endpoints = machines.endpoints(nodes, addresses, keys, self._settings.ssh_port)
        return machines.lease(nodes, held, self._facts, endpoints, now)


def _is_gpu(row: Document) -> bool:
    return translate.is_gpu_size(row.text("resourceType", ""), row.text("name", ""))


def create(context: ProviderContext) -> Provider:
    """The entry point; without a subscription it is the public price list alone.

    Raises: ConfigError, MissingCredentials.
    """
    settings = read(AzureSettings, context.settings, where=f"providers.{NAME}")
    if not settings.subscription_id:
        return AzurePrices(settings=settings, clock=context.clock)
    secret = None if settings.client_secret == AMBIENT else context.secret(settings.client_secret)
    return AzureProvider(
        owner=context.owner, settings=settings, secret=secret, clock=context.clock, state_dir=context.state_dir
    )
