"""Lambda Cloud: GPU machines by the hour, one launch at a time, found again by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext, Survey
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit.facts import Facts
from providers.lambda_cloud.client import LambdaClient
from providers.lambda_cloud.desk import Desk
from providers.lambda_cloud.holdings import Access, Holdings
from providers.lambda_cloud.journal import Journal
from providers.lambda_cloud.pace import Pace
from providers.lambda_cloud.settings import LambdaSettings
from providers.lambda_cloud.translate import NAME, REGIONS, Type, offer, types

QUEUE_S = 60.0  # the longest that a call waits for its turn
LAUNCH_QUEUE_S = 240.0  # and a launch: ten purchases of two nodes


class LambdaProvider:
    """One account at Lambda. It sells on demand alone, tells no quotas and gives no notice of what it takes back."""

    name = NAME

    def __init__(self, *, client: LambdaClient, desk: Desk, holdings: Holdings, clock: Clock) -> None:
        self._client, self._desk, self._holdings, self._clock = client, desk, holdings, clock
        self._facts = Facts(NAME)

    def offers(self) -> OfferBook:
        """What is on sale now, in every region. Raises: AuthError, TransientError."""
        return self.survey().book

    def survey(self) -> Survey:
        """As `offers`, with the types that had to be left out. Raises: AuthError, TransientError."""
        found, gaps = types(self._client.instance_types())
        regions = {*REGIONS, *(region for kind in found.values() for region in kind.regions)}
        try:
            regions |= set(self._client.regions_of_images())
        except ProviderError as error:
            gaps.append(f"regions that are new or sold out may be missing: {error.detail}")
        now = self._clock.now()
        return Survey(OfferBook.of(self._rows(found.values(), sorted(regions), now)), tuple(gaps))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """Launch node by node, one every 12 seconds; what was got is given back where the rest cannot be had.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which the purchase is in doubt: the same
        token finds what was bought; ValueError for less than one node or a token that is no plain name.
        """
        return self._desk.acquire(offer, nodes, token=token, boot=boot)

    def release(self, lease_id: str) -> None:
        """Terminate the instances. Raises: LeaseNotFound once none is listed; AuthError, TransientError."""
        self._desk.release(lease_id)

    def leases(self) -> Sequence[Lease]:
        """Every lease of this owner in the order of purchase. Raises: AuthError, TransientError."""
        return self._holdings.leases()

    def _rows(self, kinds: Iterable[Type], regions: Sequence[str], now: datetime) -> list[Offer]:
        return [offer(kind, region, facts=self._facts, now=now) for kind in kinds for region in regions]


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError, MissingCredentials, TransientError."""
    settings = read(LambdaSettings, context.settings, where=f"providers.{NAME}")
    clock, folder, owner = context.clock, context.state_dir, context.owner
    pace = Pace(folder / "requests.turn", clock, settings.request_spacing_s, provider=NAME, longest_s=QUEUE_S)
    # A launch whose turn has come may still wait for its turn as a request: the next one has to be later by that too.
    spacing_s = settings.launch_spacing_s + settings.request_spacing_s
    turn = Pace(folder / "launches.turn", clock, spacing_s, provider=NAME, longest_s=LAUNCH_QUEUE_S)
    client = LambdaClient(
        endpoint_url=settings.endpoint_url,
        key=context.secret(settings.api_key),
        ca_file=settings.ca_file,
        clock=clock,
        pace=pace.wait,
    )
    journal, access = Journal(folder / "purchases", owner, NAME), Access(folder / "keys", settings.ssh_port)
    holdings = Holdings(
        client=client, journal=journal, access=access, owner=owner, settle_s=settings.settle_s, clock=clock
    )
    desk = Desk(
        client=client,
        holdings=holdings,
        journal=journal,
        keys=access.keys,
        turn=turn,
        settings=settings,
        trusted=context.secret(settings.self_destruct_key) if settings.self_destruct_key else None,
        owner=owner,
        clock=clock,
    )
    return LambdaProvider(client=client, desk=desk, holdings=holdings, clock=clock)
