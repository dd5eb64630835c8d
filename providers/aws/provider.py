"""AWS: offers of every region, machines of EC2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import CapacityError, ConfigError, LeaseNotFound, Scope, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit import fanout
from orchestrator.kit.documents import Malformed
from orchestrator.kit.keys import PLAIN, KeyRing, LeaseKeys
from orchestrator.kit.money import Rates
from orchestrator.kit.tags import OWNER, TOKEN
from providers.aws import records, translate
from providers.aws.client import Client, Keys, settled
from providers.aws.ground import Ground
from providers.aws.market import Market
from providers.aws.purchase import Launcher, Order
from providers.aws.reclaims import Warnings
from providers.aws.records import ALIVE, Machine
from providers.aws.refusals import NAME
from providers.aws.settings import AMBIENT, AwsSettings

UNKNOWN_ID = frozenset({"InvalidInstanceID.NotFound"})
STATES = [*ALIVE, "shutting-down"]


class AwsProvider:
    """Every region of an account. Its machines tell by their tags what they were bought as, so it keeps no books."""

    name = NAME

    def __init__(
        self, *, owner: str, settings: AwsSettings, client: Client, clock: Clock, state_dir: Path, market: Market
    ) -> None:
        self._owner, self._settings, self._client, self._clock = owner, settings, client, clock
        self._keys, self._key_dir = KeyRing(state_dir / "keys"), state_dir / "keys"
        self._notes, self._bought_in = state_dir / "ended", state_dir / "regions"
        self._market = market
        self._ground = Ground(client, settings, owner)
        self._launcher = Launcher(client, settings, self._ground, owner, clock)
        self._warnings = Warnings(client, settings)

    def offers(self) -> OfferBook:
        """All regions that answered. Raises: AuthError, TransientError where none did."""
        return self.survey().book

    def survey(self) -> Survey:
        """All regions that answered, with what is missing. Raises: AuthError, TransientError where none did."""
        return self._market.survey()

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """Buy at the price of this moment, which is the lease's in our books until it ends.

        Raises: CapacityError, QuotaError, AuthError, TransientError; UserError; ValueError where `nodes` is below 1.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        if offer.region not in self._market.regions():
            raise CapacityError(NAME, f"the account has no region {offer.region}", Scope.REGION)
        kind = self._market.type_of(offer.region, offer.instance_type)
        if kind is None:
            raise CapacityError(NAME, f"{offer.region} has no instance type {offer.instance_type}", Scope.REGION)
        order = Order(self._market.repriced(offer), nodes, token, boot, kind, self._keys.of(token), self._ended(token))
        self._bought_in.mkdir(parents=True, exist_ok=True)
        (self._bought_in / offer.region).touch()
        bought = self._launcher.buy(order)
        return self._lease(bought, {})

    def release(self, lease_id: str) -> None:
        """Terminate the machines of a lease. Raises: LeaseNotFound once all are; AuthError, TransientError."""
        found = records.of_id(lease_id)
        if found is None or found.region not in self._market.enabled():
            raise LeaseNotFound(NAME, f"no lease is called {lease_id!r}")
        filters = [{"Name": "reservation-id", "Values": [found.reservation]}]
        machines = [each for some in self._launcher.described(found.region, filters) for each in some]
        if any(each.tags.get(OWNER) != self._owner for each in machines):
            raise LeaseNotFound(NAME, f"{lease_id} is not of {self._owner}")
        if not machines and self._clock.now() - found.launched_at < records.SHOWS_WITHIN:
            raise TransientError(NAME, f"{lease_id} is too young for EC2 to know it", 5.0)
        if all(each.gone for each in machines):
            self._forget(found.region, machines)
            raise LeaseNotFound(NAME, f"{lease_id} is gone")
        alive = [each.id for each in machines if not each.dead]
        if alive:
            # A machine that is listed and not yet known otherwise is asked to end by the next call.
            settled(
                lambda: self._client.once("ec2", found.region, "TerminateInstances", InstanceIds=alive),
                UNKNOWN_ID,
                None,
            )

    def leases(self) -> Sequence[Lease]:
        """Ours in all regions. Raises: AuthError, TransientError where a region does not answer."""
        found: list[Lease] = []
        for region, leases in self._held().items():
            everyone = [each for machines in leases for each in machines]
            warned = self._warnings.of(region, everyone) if everyone else {}
            found += [self._lease(machines, warned) for machines in leases]
        return sorted(found, key=lambda lease: (lease.acquired_at, lease.id))

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """Announced interruptions, retirements, and gangs that have lost a node. Raises: AuthError, TransientError."""
        now, held = self._clock.now(), self._held()
        if self._settings.reclaim_queue_url:
            ours = {each.id: each for leases in held.values() for machines in leases for each in machines}
            self._warnings.drain(ours, now)
            held = self._held()
        notices = []
        for region, leases in held.items():
            warned = self._warnings.of(region, [each for machines in leases for each in machines]) if leases else {}
            for machines in leases:
                lease = self._lease(machines, warned)
                if lease.state is LeaseState.RECLAIMING:
                    times = [warned[each.id] for each in machines if each.id in warned]
                    notices.append(ReclaimNotice(lease.id, min(times, default=now)))
        return notices

    # Inside

    def _held(self) -> dict[str, list[list[Machine]]]:
        """Our machines by region and reservation. Raises: AuthError, TransientError where a region does not answer."""
        filters = [
            {"Name": f"tag:{OWNER}", "Values": [self._owner]},
            {"Name": "instance-state-name", "Values": STATES},
        ]
        found, failed = fanout.ask(self._watched(), lambda region: self._launcher.described(region, filters))
        for region, error in failed.items():
            if isinstance(error, TransientError):
                raise TransientError(NAME, f"{region}: {error.detail}", error.retry_after_s) from error
            raise error
        return {
            region: [machines for machines in leases if machines[0].tags.get(OWNER) == self._owner]
            for region, leases in found.items()
        }

    def _watched(self) -> tuple[str, ...]:
        """The regions that are bought in, and those that were: a changed setting hides no lease."""
        bought_in = {each.name for each in self._bought_in.glob("*")}
        regions = self._market.regions()
        return (*regions, *(name for name in self._market.enabled() if name in bought_in and name not in regions))

    def _lease(self, machines: Sequence[Machine], warned: Mapping[str, object]) -> Lease:
        return records.lease(
            machines,
            now=self._clock.now(),
            public=self._settings.public_addresses,
            keys=self._known_keys(machines[0].tags.get(TOKEN, "")),
            warned=frozenset(warned),
            ssh_port=self._settings.ssh_port,
        )

    def _known_keys(self, token: str) -> LeaseKeys | None:
        """Of a lease that this state folder's processes bought; making new ones for another's would open nothing."""
        known = PLAIN.fullmatch(token) and (self._key_dir / token).is_dir()
        return self._keys.of(token) if known else None

    def _ended(self, token: str) -> int:
        """How many leases of `token` were given back: EC2 remembers a client token longer than its machines."""
        note = self._notes / token
        return int(note.read_text()) if note.is_file() else 0

    def _forget(self, region: str, machines: Sequence[Machine]) -> None:
        """Remove the keys of a lease that is gone, unless its token has another, and note that it had one."""
        for token in {each.tags.get(TOKEN, "") for each in machines}:
            if self._known_keys(token) and all(
                each.gone for some in self._launcher.held(region, token) for each in some
            ):
                self._notes.mkdir(parents=True, exist_ok=True)
                (self._notes / token).write_text(str(self._ended(token) + 1))
                self._keys.forget(token)


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError, MissingCredentials."""
    settings = read(AwsSettings, context.settings, where=f"providers.{NAME}")
    keys = Keys()
    if settings.access_key_id != AMBIENT:
        keys = Keys(
            context.secret(settings.access_key_id),
            context.secret(settings.secret_access_key),
            context.secret(settings.session_token) if settings.session_token else None,
        )
    client = Client(settings, keys, context.clock)
    market = Market(client, settings, Rates(), context.clock, _hazards(settings))
    return AwsProvider(
        owner=context.owner,
        settings=settings,
        client=client,
        clock=context.clock,
        state_dir=context.state_dir,
        market=market,
    )


def _hazards(settings: AwsSettings) -> Mapping[tuple[str, str], int]:
    if not settings.spot_advisor_file:
        return {}
    try:
        return translate.advisor(Path(settings.spot_advisor_file).read_text())
    except (OSError, UnicodeDecodeError, Malformed) as error:
        raise ConfigError(f"providers.{NAME}.spot_advisor_file: {error}") from error
