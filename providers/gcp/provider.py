"""Google Cloud as a provider: GPU machines of Compute Engine, bought and given back through Google's own SDK."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit.facts import Facts
from orchestrator.kit.fanout import ask, told
from orchestrator.kit.keys import HOST, LOGIN, KeyRing
from orchestrator.kit.machine import FOLDER, USER
from providers.gcp import names
from providers.gcp.buying import POLL_S, Buyer
from providers.gcp.client import Client
from providers.gcp.errors import NotThere
from providers.gcp.orders import Gang
from providers.gcp.prices import PriceList
from providers.gcp.rows import Advice, Instance, Quota, Rule
from providers.gcp.session import Session
from providers.gcp.settings import GcpSettings
from providers.gcp.shapes import NAME, MachineType, shapes
from providers.gcp.translate import Held, Market, Quotas, held, lease_id, offers

MACHINES, DEVICES, PRICES, QUOTAS = "machine types", "accelerator types", "price list", "quotas"
KEYS = "keys"


class Read(NamedTuple):
    """What one question brought; the rest of it is empty."""

    machines: Sequence[MachineType] = ()
    silent: Sequence[str] = ()  # zones that did not answer
    devices: Mapping[str, frozenset[str]] = MappingProxyType({})
    quotas: Sequence[Quota] = ()
    prices: PriceList = PriceList(())


class GcpProvider:
    """One project of one owner."""

    name = NAME

    def __init__(self, *, owner: str, settings: GcpSettings, client: Client, clock: Clock, state_dir: Path) -> None:
        self._owner, self._settings, self._client, self._clock = owner, settings, client, clock
        self._keys_dir = state_dir / KEYS
        self._keys = KeyRing(self._keys_dir)
        self._facts = Facts(NAME)
        self._lock = threading.Lock()
        self._prices: tuple[datetime, PriceList] | None = None
        self._opened = False

    def __repr__(self) -> str:
        return f"GcpProvider(project={self._settings.project!r}, owner={self._owner!r})"

    # What is on sale

    def offers(self) -> OfferBook:
        """See Provider."""
        return self.survey().book

    def survey(self) -> Survey:
        """See Surveys: four questions at once, and one per machine type and region whose capacity is asked about."""
        found, failed = ask((MACHINES, DEVICES, PRICES, QUOTAS), self._read)
        for needed in (MACHINES, PRICES):
            if needed in failed:
                raise failed[needed]
        machines, silent = found[MACHINES].machines, found[MACHINES].silent
        sold = shapes(machines, found.get(DEVICES, Read()).devices)
        quotas = Quotas(found.get(QUOTAS, Read()).quotas)
        advice, unadvised = self._advice(machines)
        on_sale, left_out = offers(Market(sold, found[PRICES].prices, quotas, advice, self._clock.now()), self._facts)
        gaps = (*told(failed), *(f"{zone}: no answer" for zone in silent), *self._not_found(machines), *unadvised)
        return Survey(OfferBook.of(on_sale), (*gaps, *left_out))

    def _read(self, what: str) -> Read:
        if what == MACHINES:
            machines, silent = self._client.machine_types()
            return Read(machines=[machine for machine in machines if self._asked(machine.region)], silent=silent)
        if what == DEVICES:
            return Read(devices=self._client.accelerator_types())
        if what == QUOTAS:
            return Read(quotas=self._client.quotas())
        return Read(prices=self._price_list())

    def _asked(self, region: str) -> bool:
        return not self._settings.regions or region in self._settings.regions

    def _not_found(self, machines: Sequence[MachineType]) -> list[str]:
        """What the settings name and Google does not have."""
        regions = {machine.region for machine in machines}
        types = {machine.name for machine in machines}
        return [
            *(
                f"{region}: no machines there; is there such a region?"
                for region in sorted({*self._settings.regions} - regions)
            ),
            *(f"{name}: no such machine type to ask advice on" for name in sorted({*self._settings.advise} - types)),
        ]

    def _price_list(self) -> PriceList:
        """Google's prices, as old as the settings allow."""
        with self._lock:
            now, kept = self._clock.now(), self._prices
            if kept is None or now - kept[0] >= timedelta(seconds=self._settings.prices_kept_s):
                kept = (now, PriceList(self._client.skus()))
                self._prices = kept
            return kept[1]

    def _advice(self, machines: Sequence[MachineType]) -> tuple[list[Advice], tuple[str, ...]]:
        """Google's advice on the machine types that the settings name, in every region that has them."""
        named = self._settings.advise
        if named and not self._client.can_advise:
            return [], ("advice on capacity: the installed google-cloud-compute is too old to ask for it",)
        places = sorted({f"{machine.region} {machine.name}" for machine in machines if machine.name in named})
        found, failed = ask(places, lambda place: self._client.advice(*place.split()))
        return [advice for advice in found.values() if advice is not None], told(failed)

    # Buying and giving back

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """See Provider."""
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        ordered = Gang(self._owner, token, offer, nodes)
        for gang in held(self._instances()):
            if gang.token == token:
                preempted = self._preempted((gang,))
                if gang.is_settled or self._has_lost_some(gang, preempted):
                    return self._lease(gang, preempted)
                if gang.is_going:
                    raise TransientError(NAME, f"an earlier purchase with token {token} is still going", 10.0)
                ordered = Gang(self._owner, token, gang.offer, gang.id.nodes)  # by another, who has not finished
        if not offer.zone or "/" in offer.zone:
            raise CapacityError(NAME, f"{offer.label} is in no zone")
        self._open()
        keys = self._keys.of(ordered.stem)
        bought = Buyer(self._client, self._clock, self._settings, ordered, boot=boot, keys=keys).buy()
        (gang,) = held(bought)
        return self._lease(gang, self._preempted((gang,)))

    def release(self, lease_id: str) -> None:
        """See Provider."""
        which = names.LeaseId.parse(lease_id)
        found = self._of_listing(lease_id) if which is None else self._of_lease(which)
        if not found:
            if which is not None:
                self._keys.forget(which.stem)
            raise LeaseNotFound(NAME, f"there is no machine of {lease_id}")
        for instance in found:
            if instance.status != "STOPPING":
                request_id = names.request_id("delete", instance.zone, instance.name, instance.number)
                self._client.delete(instance.zone, instance.name, request_id)

    def leases(self) -> Sequence[Lease]:
        """See Provider."""
        gangs = held(self._instances())
        preempted = self._preempted(gangs)
        return [self._lease(gang, preempted) for gang in gangs]

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """See WarnsOfReclaim: Google begins 30 s before it switches a machine off."""
        gangs = held(self._instances())
        preempted, now = self._preempted(gangs), self._clock.now()
        lost = ((gang, gang.lost_at(preempted, now)) for gang in gangs)
        return [ReclaimNotice(str(gang.id), at) for gang, at in lost if at is not None]

    def _instances(self) -> list[Instance]:
        return self._client.instances(names.label(self._owner))

    def _preempted(self, gangs: Sequence[Held]) -> Mapping[str, datetime]:
        """When Google began to take machines back, or their hosts failed: asked only where a machine is going."""
        going = any(gang.is_going for gang in gangs)
        return self._client.preempted() if going else {}

    def _has_lost_some(self, gang: Held, preempted: Mapping[str, datetime]) -> bool:
        """Whether the gang was whole once: nothing is to be added to it then."""
        if gang.lost_at(preempted, self._clock.now()) is not None:
            return True
        numbers = {instance.number for instance in gang.instances}
        return gang.id.first not in numbers and not self._of_lease(gang.id._replace(nodes=1))  # it is made first

    def _of_lease(self, which: names.LeaseId) -> list[Instance]:
        """The lease's machines by name: a listing may lag behind what was bought a moment ago."""
        found = (self._client.instance(which.zone, names.node(which.stem, number)) for number in range(which.nodes))
        return [
            instance
            for instance in found
            if instance is not None and lease_id(instance) == which and self._is_ours(instance)
        ]

    def _of_listing(self, text: str) -> list[Instance]:
        return [instance for instance in self._instances() if str(lease_id(instance)) == text]

    def _is_ours(self, instance: Instance) -> bool:
        return any(gang.owner == self._owner for gang in held((instance,)))

    def _lease(self, gang: Held, preempted: Mapping[str, datetime]) -> Lease:
        state = gang.state(preempted, self._clock.now())
        up = state in {LeaseState.READY, LeaseState.RECLAIMING} and gang.is_whole
        return Lease(
            id=str(gang.id),
            provider=NAME,
            token=gang.token,
            owner=gang.owner,
            offer=gang.offer,
            nodes=gang.id.nodes,
            state=state,
            usd_per_hour=gang.id.nodes * gang.offer.usd_per_hour,
            acquired_at=gang.acquired_at,
            endpoints=tuple(self._endpoint(gang, instance) for instance in gang.instances) if up else (),
        )

    def _endpoint(self, gang: Held, instance: Instance) -> Endpoint:
        folder = self._keys_dir / gang.id.stem
        known = (folder / LOGIN).exists() and (folder / HOST).exists()  # else another control plane's folder has them
        keys = self._keys.of(gang.id.stem) if known else None
        return Endpoint(
            launcher="ssh",
            address=instance.address,
            port=self._settings.ssh_port,
            user=USER,
            path=f"{FOLDER}/lease",
            identity=str(keys.login_file) if keys else "",
            host_key=keys.host_public if keys else "",
        )

    def _open(self) -> None:
        """Let the control plane, and nobody else by this rule, log in to the owner's machines."""
        source = self._settings.control_cidr
        with self._lock:
            if not source or self._opened:
                return
            tag = names.network_tag(self._owner)
            wanted = Rule((source,), (tag,), (str(self._settings.ssh_port),), self._settings.network)
            there = self._client.rule(tag)
            if there is None or (there.sources, there.tags, there.ports) != wanted[:3]:
                operation = self._client.set_rule(tag, wanted, exists=there is not None)
                while operation is not None and not operation.done:
                    self._clock.sleep(POLL_S)
                    try:
                        operation = self._client.operation(operation)
                    except NotThere:
                        break
            self._opened = True


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError."""
    settings = read(GcpSettings, context.settings, where=f"providers.{NAME}")
    return GcpProvider(
        owner=context.owner,
        settings=settings,
        client=Client(settings, Session(settings, context.secret), context.clock),
        clock=context.clock,
        state_dir=context.state_dir,
    )
