"""CoreWeave: bare-metal nodes of one's own Kubernetes clusters; a lease is a NodePool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.domain.lease import Boot, Lease, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit import fanout, listprices
from orchestrator.kit.documents import readable
from providers.coreweave.client import Cluster, CoreWeaveClient
from providers.coreweave.kube import Kube, Refused, Taken
from providers.coreweave.pricing import NAME, RACK_NODES, PriceList, in_racks, unnamed
from providers.coreweave.settings import CoreWeaveSettings
from providers.coreweave.translate import (
    RECLAIMED,
    Node,
    Pool,
    Verdict,
    bought,
    lease,
    lease_id,
    node,
    order,
    over,
    pool,
    pool_name,
    reclaim,
    selector,
    verdict,
)
from providers.coreweave.unsold import Unsold

POLL_S = 2.0
AGAIN_S = 15.0
TYPE_FIELD = "spec.instanceType"  # in a refusal: the zone does not have the type
SHOWN = 3  # examples in a gap


class Held(NamedTuple):
    """A pool of ours with its nodes."""

    cluster: Cluster
    pool: Pool
    nodes: tuple[Node, ...]


class CoreWeaveProvider:
    """One organisation at CoreWeave.

    CoreWeave tells neither prices nor stock: prices are the settings' and the bundled list's, and whether there are
    nodes is known when a pool was asked for. One that would have to wait is given back.
    """

    name = NAME

    def __init__(
        self,
        *,
        owner: str,
        settings: CoreWeaveSettings,
        client: CoreWeaveClient,
        prices: PriceList,
        unsold: Unsold,
        clock: Clock,
    ) -> None:
        self._owner, self._settings, self._client = owner, settings, client
        self._prices, self._unsold, self._clock = prices, unsold, clock

    def offers(self) -> OfferBook:
        """What can be asked for in the zones of our clusters. Raises: AuthError, TransientError."""
        return self.survey().book

    def survey(self) -> Survey:
        """As `offers`, with types whose price nobody has told us. Raises: AuthError, TransientError."""
        rows: list[Offer] = []
        unpriced: Counter[str] = Counter()
        now = self._clock.now()
        zones = list(dict.fromkeys(each.zone for each in self._clusters() if each.usable))
        unsold = self._unsold.at(now)
        for zone in zones:
            found, unknown = self._prices.offers(zone, now)
            rows += [replace(each, available=0) if (zone, each.instance_type) in unsold else each for each in found]
            unpriced.update(unknown)
        return Survey(OfferBook.of(rows), tuple(_gaps(zones, unpriced, rows)))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:  # noqa: ARG002
        """Ask for a pool and wait until CoreWeave says whether its nodes come; they take 20 to 30 minutes to boot.

        `boot` is not heard: nodes boot CoreWeave's images, and no machine there ends itself.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which the same token finds the pool;
        ValueError for less than one node.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        name = pool_name(self._owner, token)
        places = [each for each in self._clusters() if each.zone == offer.zone and each.usable]
        for cluster in places:
            known = self._find(self._client.kube(cluster), name)
            if known is not None:
                return self._decided(cluster, known, offer)
        if not places:
            raise CapacityError(NAME, f"there is no cluster in {offer.zone or 'no zone'}", Scope.ZONE)
        fresh = self._on_sale(offer, nodes)
        return self._decided(places[0], self._asked(places[0], fresh, nodes, token), fresh)

    def release(self, lease_id: str) -> None:
        """Delete the pool. Raises: LeaseNotFound once it is gone with its nodes; AuthError, TransientError."""
        clusters = {each.id: each for each in self._clusters()}
        identifier, _, rest = lease_id.partition("/")
        name, _, uid = rest.partition("/")
        cluster = clusters.get(identifier)
        missing = LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")
        if cluster is None or not uid:
            raise missing
        kube = self._client.kube(cluster)
        found = self._find(kube, name)
        if found is None or found.uid != uid or found.owner != self._owner:
            raise missing
        if not found.deleting:
            self._delete(kube, found)

    def leases(self) -> Sequence[Lease]:
        """Every pool of this owner, in the order of purchase.

        A spot pool that was taken back fills up again by itself as soon as there is capacity. It is deleted here once
        its nodes are gone, so that nobody pays for machines that no run waits for.

        Raises: AuthError, TransientError where a cluster does not answer.
        """
        shown = []
        for seen in self._held():
            held = seen
            self._remember(held)
            if over(held.pool, held.nodes) and not held.pool.deleting:
                self._delete(self._client.kube(held.cluster), held.pool)
                held = held._replace(pool=held.pool._replace(deleting=True))
            shown.append(self._lease(held))
        return sorted(shown, key=lambda each: (each.acquired_at, each.id))

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """Spot pools with a cordoned node: their work is drained two minutes after. Raises: as `leases`."""
        notices = []
        for held in self._held():
            at = reclaim(held.pool, held.nodes)
            if at is not None and not held.pool.deleting:
                self._remember(held)
                notices.append(ReclaimNotice(lease_id(held.cluster, held.pool.name, held.pool.uid), at))
        return notices

    # Buying

    def _on_sale(self, offer: Offer, nodes: int) -> Offer:
        """The offer as it is now. Raises: CapacityError."""
        found, _ = self._prices.offers(offer.zone, self._clock.now())
        key = (offer.instance_type, offer.billing)
        fresh = next((each for each in found if (each.instance_type, each.billing) == key), None)
        if fresh is None:
            raise CapacityError(NAME, f"{offer.label} is not on sale, or has no price", Scope.ZONE)
        if in_racks(offer.instance_type) and nodes % RACK_NODES:
            detail = f"{offer.instance_type} is sold in racks of {RACK_NODES} nodes, not {nodes}"
            raise CapacityError(NAME, detail, Scope.ZONE)
        return fresh

    def _asked(self, cluster: Cluster, offer: Offer, nodes: int, token: str) -> Pool:
        """The pool that was created, by us or by another at the same time."""
        kube = self._client.kube(cluster)
        try:
            with readable(NAME):
                return pool(kube.create(order(offer, nodes, owner=self._owner, token=token)))
        except Taken as error:
            found = self._find(kube, pool_name(self._owner, token))
            if found is None:
                raise TransientError(NAME, f"the pool came and went: {error.detail}", POLL_S) from error
            return found
        except Refused as error:
            if TYPE_FIELD in error.detail:
                self._unsold.note(cluster.zone, offer.instance_type, self._clock.now())
            raise CapacityError(NAME, f"{offer.label}: {error.detail}", Scope.ZONE) from error
        except LeaseNotFound as error:
            raise TransientError(NAME, f"{cluster.name} knows no NodePools: {error.detail}", 60.0) from error

    def _decided(self, cluster: Cluster, asked: Pool, offer: Offer) -> Lease:
        """The lease, once CoreWeave has said that all its nodes come."""
        kube = self._client.kube(cluster)
        waited_s = 0.0
        while True:
            if asked.deleting:
                raise TransientError(NAME, f"{asked.name} is still being given back", AGAIN_S)
            answer, why = verdict(asked)
            if answer is Verdict.SERVED or asked.current >= asked.target or asked.reclaimed:
                break
            if answer is not Verdict.OPEN:
                self._delete(kube, asked)
                raise _refusal(answer, f"{offer.label}: {why}")
            if waited_s >= self._settings.decide_s:
                detail = f"{asked.name}: nothing was said of its capacity in {waited_s:.0f} s"
                raise TransientError(NAME, detail, AGAIN_S)
            self._clock.sleep(POLL_S)
            waited_s += POLL_S
            seen = self._find(kube, asked.name)
            if seen is None:
                raise TransientError(NAME, f"{asked.name} was deleted by another", POLL_S)
            asked = seen
        return self._lease(Held(cluster, asked, self._nodes(kube, asked)))

    # What there is

    def _clusters(self) -> tuple[Cluster, ...]:
        return self._client.clusters(self._settings.clusters)

    def _find(self, kube: Kube, name: str) -> Pool | None:
        document = kube.pool(name)
        with readable(NAME):
            return None if document is None else pool(document)

    def _nodes(self, kube: Kube, of: Pool) -> tuple[Node, ...]:
        with readable(NAME):
            found = [node(each) for each in kube.nodes(selector(self._owner))]
        return tuple(each for each in found if each.pool_uid == of.uid)

    def _held(self) -> list[Held]:
        """Our pools in all clusters. Raises: AuthError, TransientError where one cluster does not answer."""
        clusters = {each.id: each for each in self._clusters()}
        found, failed = fanout.ask(clusters, lambda identifier: self._held_in(clusters[identifier]))
        for error in sorted(failed.values(), key=lambda each: not isinstance(each, AuthError)):
            raise error
        return [held for each in found.values() for held in each]

    def _held_in(self, cluster: Cluster) -> list[Held]:
        kube = self._client.kube(cluster)
        with readable(NAME):
            pools = [pool(each) for each in kube.pools(selector(self._owner))]
            ours = [each for each in pools if each.owner == self._owner]
            nodes = [node(each) for each in kube.nodes(selector(self._owner))] if ours else []
        return [Held(cluster, each, tuple(one for one in nodes if one.pool_uid == each.uid)) for each in ours]

    def _lease(self, held: Held) -> Lease:
        offer = bought(held.pool) or self._listed(held)
        return lease(held.pool, held.nodes, held.cluster, offer)

    def _listed(self, held: Held) -> Offer:
        """The offer of a pool whose note of the purchase is gone, at today's price."""
        found, _ = self._prices.offers(held.cluster.zone, self._clock.now())
        for each in found:
            if each.instance_type == held.pool.instance_type:
                return each
        detail = f"{held.pool.name}: its annotation was changed, and {held.pool.instance_type} has no price"
        raise TransientError(NAME, detail, 60.0)

    def _remember(self, held: Held) -> None:
        """Note on the pool that it is being taken back, at the first sight of it."""
        at = reclaim(held.pool, held.nodes)
        if at is not None and not held.pool.reclaimed and not held.pool.deleting:
            with suppress(LeaseNotFound):  # it has gone meanwhile
                self._client.kube(held.cluster).annotate(held.pool.name, {RECLAIMED: at.isoformat()})

    def _delete(self, kube: Kube, asked: Pool) -> None:
        with suppress(LeaseNotFound, Taken):  # gone, or gone and another in its place
            kube.delete(asked.name, asked.uid)


def _refusal(answer: Verdict, detail: str) -> ProviderError:
    if answer is Verdict.OVER_QUOTA:  # CoreWeave's quotas are of a type in a zone
        return QuotaError(NAME, detail, Scope.ZONE)
    return CapacityError(NAME, detail, Scope.ZONE)


def _gaps(zones: Sequence[str], unpriced: Counter[str], rows: Sequence[Offer]) -> Iterator[str]:
    """What the offers do not say."""
    if not zones:
        yield "no cluster that pools could be bought in: create one, or name it under `clusters`"
    if unpriced:
        names = ", ".join(sorted(unpriced)[:SHOWN])
        yield f"{len(unpriced)} instance types have no price in some zones ({names}): give one under `rates`"
    racks = sorted({each.instance_type for each in rows if in_racks(each.instance_type)})
    if racks:
        yield f"{', '.join(racks[:SHOWN])}: sold in racks of {RACK_NODES} nodes alone"
    strange = unnamed(rows)
    if strange:
        names = ", ".join(f"{kind} ({word})" for kind, word in sorted(strange.items())[:SHOWN])
        yield f"{len(strange)} instance types of devices without known facts: {names}"


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError, MissingCredentials, TransientError."""
    settings = read(CoreWeaveSettings, context.settings, where=f"providers.{NAME}")
    client = CoreWeaveClient(
        endpoint_url=settings.endpoint_url,
        token=context.secret(settings.access_token),
        ca_file=settings.ca_file,
        clock=context.clock,
    )
    listed = listprices.of(NAME) if settings.list_prices else ()
    return CoreWeaveProvider(
        owner=context.owner,
        settings=settings,
        client=client,
        prices=PriceList(listed, settings.rates),
        unsold=Unsold(context.state_dir / "unsold.json"),
        clock=context.clock,
    )
