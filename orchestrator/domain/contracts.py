"""The contracts between the parts: what a provider, a policy, a launcher, a store and a clock promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import FloatArray, OfferBook
from orchestrator.domain.secret import Secret

if TYPE_CHECKING:  # a plan knows no events and no leases, and their classes take a tenth of its time to make
    from orchestrator.domain.events import Event, Recorded, Submitted
    from orchestrator.domain.job import Handle, Job, JobStatus
    from orchestrator.domain.lease import Boot, Lease, ReclaimNotice
    from orchestrator.domain.network import Link, Place


class Clock(Protocol):
    """Time, injected: real, virtual or faked."""

    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""
        ...


class Provider(Protocol):
    """Somebody who has machines. Blocking; the runtime decides where the calls run.

    Every caller may assume: `acquire` is idempotent in `token` for as long as the lease lives; a lease that `acquire`
    returned is in `leases` at the latest a minute later; ids are never used twice; vendor exceptions never leave.
    """

    name: str

    def offers(self) -> OfferBook:
        """All that is sold now, sold-out shapes included with `available` 0.

        Raises: AuthError, TransientError.
        """
        ...

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """Buy `nodes` nodes, all or nothing. The same token again returns the same lease and buys nothing.

        Raises: CapacityError, QuotaError, AuthError; UserError for what the user has to mend first, with nothing
        bought; TransientError, after which the purchase is in doubt.
        """
        ...

    def release(self, lease_id: str) -> None:
        """Give the machines back; call again until it raises LeaseNotFound, which is the confirmation.

        Raises: LeaseNotFound once the lease is really gone; AuthError, TransientError.
        """
        ...

    def leases(self) -> Sequence[Lease]:
        """Every live lease under our owner tag: the truth.

        Raises: AuthError, TransientError. An empty answer means that nothing is held, never that nobody answered.
        """
        ...


class Capability(StrEnum):
    """What a provider can do beyond the four verbs, as data, so that no planner looks at a class."""

    WARNS_OF_RECLAIM = "warns-of-reclaim"
    DESCRIBES_ACCELERATORS = "describes-accelerators"
    SURVEYS = "surveys"


@runtime_checkable
class WarnsOfReclaim(Protocol):
    """The provider announces that it takes machines back."""

    def reclaims(self) -> Sequence[ReclaimNotice]:
        """Notices for live leases. Raises: AuthError, TransientError."""
        ...


@runtime_checkable
class DescribesAccelerators(Protocol):
    """The provider sells devices that no public table knows: this machine's CPU, a lab's prototype."""

    def accelerators(self) -> Sequence[Accelerator]:
        """Facts of the devices its offers name. Raises: TransientError."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is on sale, and in words what did not answer or had to be left out and so may hide more.

    "us-east-2: no answer within 20 s", "41 instance types without a price: p6.48xlarge, ...".
    """

    book: OfferBook
    gaps: tuple[str, ...] = ()


@runtime_checkable
class Surveys(Protocol):
    """The provider asks in several places, of which some may fail while others answer.

    `offers` gives the same book, and raises only where nothing answered.
    """

    def survey(self) -> Survey:
        """As `offers`, with what is missing. Raises: AuthError, TransientError where nothing answered."""
        ...


@runtime_checkable
class MeasuresLinks(Protocol):
    """The provider has machines from which the network can be measured, at places that no public table knows."""

    def places(self) -> Sequence[Place]:
        """Where its regions are, as far as somebody said: keys are `provider/region`."""
        ...

    def links(self) -> Sequence[Link]:
        """Paths as last measured, each between a region (`provider/region`) and a place or CONTROL_PLANE.

        May take seconds where the last look is old. A region that does not answer has its last measurement, or none.
        """
        ...


def survey(provider: Provider) -> Survey:
    """What is on sale at `provider`, with the gaps where it tells of them. Raises: AuthError, TransientError."""
    return provider.survey() if isinstance(provider, Surveys) else Survey(provider.offers())


class Policy(Protocol):
    """One concern of placement: pure, vectorised over candidates, no clock and no I/O."""

    name: str

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """The hard half: masks with reason codes; an empty sequence refuses nothing."""
        ...

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The soft half: named columns of US dollars, each of shape (n,), finite for every candidate not refused."""
        ...


@runtime_checkable
class Bills(Protocol):
    """A policy some of whose terms are money that somebody will invoice; all other terms are worth, not money."""

    bills: frozenset[str]  # names of such terms: they make up `Placement.cost_usd`


@runtime_checkable
class Enforces(Protocol):
    """A policy that stands for limits of the job: a job that sets one is not planned without it."""

    enforces: frozenset[str]  # fields of `Limits` with something in them, or "data.stays"


@runtime_checkable
class Audits(Protocol):
    """A policy whose hard half looks at what all policies bill together."""

    def audit(self, view: PlanView, candidates: Candidates, bill: Usd) -> Sequence[Refusals]:
        """As `refuse`, of candidates that none refused; `bill`, shape (n,), is the sum of the terms that are money.

        What is refused for a bill is refused for every larger one: the planner leaves out what can only be dearer.
        """
        ...


@runtime_checkable
class RewardsSpeed(Protocol):
    """A policy that says what more nodes of one offer may better; of one that does not, everything may get better.

    It makes plans quick: fewer nodes of an offer are dearer nowhere but in what some policy names here.
    """

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Names of terms that may fall with more nodes, and "refusals" where more nodes may pass that fewer do not.

        Terms named here are never below 0; every other term never falls.
        """
        ...


@runtime_checkable
class Delays(Protocol):
    """A policy that knows of hours which a sizing does not: nodes are counted so that work is in time with them."""

    def delay_h(self, view: PlanView, candidates: Candidates) -> FloatArray | None:
        """Hours on top of `candidates.hours`, shape (n,), finite and at least 0; None where there are none.

        Of an offer they depend on its device, their number, the fabric, the boot and how long its leases last alone,
        besides the nodes.
        """
        ...


@runtime_checkable
class Annotates(Protocol):
    """A policy that had to assume something and says so."""

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """Sentences about the ranked placements: "the egress price of x is unknown; assumed 0.12 USD/GiB"."""
        ...


class Launcher(Protocol):
    """Gets a job going on machines that somebody else bought.

    Every call may come from another process than the start did.
    """

    name: str

    def start(self, lease: Lease, job: Job) -> Handle:
        """Start the job; the same job token again returns the same handle and starts nothing.

        Raises: UserError where the program can never start; ProviderError where these machines are at fault.
        """
        ...

    def poll(self, handle: Handle) -> JobStatus:
        """How the job stands."""
        ...

    def logs(self, handle: Handle, *, since: int) -> Iterator[bytes]:
        """Output from byte `since` to its present end, in pieces."""
        ...

    def stop(self, handle: Handle, *, grace_s: float) -> None:
        """Ask the job to end, and make it end after `grace_s`; returns at once, `poll` tells when. Idempotent.

        `grace_s` 0 makes it end now.
        """
        ...


class Store(Protocol):
    """The event log: the one truth. Safe to use from many threads and processes."""

    def lead(self, holder: str, *, now: datetime, ttl_s: float) -> int | None:
        """Take or renew the leader lease until `now + ttl_s`.

        Returns the fencing token: the same on a renewal, a higher one on every change of holder; None while another
        holder's lease has not run out.
        """
        ...

    def resign(self, holder: str) -> None:
        """Give the leader lease up at once, if `holder` has it."""
        ...

    def submit(self, event: Submitted) -> tuple[str, bool]:
        """Store a submission; returns its run id and whether it is new.

        A `key` that was seen before returns the earlier run and stores nothing.
        """
        ...

    def request(self, event: Event) -> None:
        """Store what a user says (CancelAsked, Approved). Users hold no fencing token."""
        ...

    def append(self, events: Sequence[Event], *, fence: int) -> None:
        """Store the controller's events, all or none.

        Raises: Fenced where `fence` is not the newest token.
        """
        ...

    def events(self, *, run_id: str | None = None, since: int = 0) -> Sequence[Recorded]:
        """Events after sequence number `since` in order, of one run or of all."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What a provider's factory gets. `secret` resolves a credential reference; MissingCredentials where it cannot."""

    owner: str  # id of this control plane, for the isoflop-owner tag
    settings: Mapping[str, object]
    secret: Callable[[str], Secret]
    clock: Clock
    state_dir: Path  # the provider's own folder; exists


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContext:
    """What a policy's factory gets: its settings of the configuration file."""

    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherContext:
    """What a launcher's factory gets. `secret` resolves a program's secret references at the launch."""

    secret: Callable[[str], Secret]
    clock: Clock
    state_dir: Path


ProviderFactory = Callable[[ProviderContext], Provider]
PolicyFactory = Callable[[PolicyContext], Policy]
LauncherFactory = Callable[[LauncherContext], Launcher]
