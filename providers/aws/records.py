"""Our tags on machines, and machines as leases: what was bought is told by the machines alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.kit.documents import Document
from orchestrator.kit.keys import LeaseKeys
from orchestrator.kit.machine import FOLDER, USER
from orchestrator.kit.tags import OWNER, TOKEN
from providers.aws.refusals import NAME
from providers.aws.translate import moment

NODES, OFFER, RECLAIM_AT = "isoflop-nodes", "isoflop-offer", "isoflop-reclaim-at"
TOLD_FOR = timedelta(hours=1)  # EC2 lists a machine about so long after its end
GONE = "terminated"
DEAD = frozenset({"shutting-down", "terminated"})
ALIVE = ("pending", "running", "stopping", "stopped")
PLAIN = re.compile(r"[^A-Za-z0-9 +\-=._/@]")  # what AWS allows in a tag's value, less our separator
ID = re.compile(r"(?P<region>[a-z0-9-]+)/(?P<reservation>r-[0-9a-f]+)/(?P<launched>\d{8}T\d{6}Z)")
STAMP = "%Y%m%dT%H%M%SZ"
SHOWS_WITHIN = timedelta(seconds=120)  # EC2 lists a machine seconds after its launch, rarely a minute


class Machine(NamedTuple):
    """One instance as EC2 describes it."""

    id: str
    reservation: str
    region: str
    zone: str
    instance_type: str
    state: str
    launched_at: datetime
    number: int  # from 0, within its reservation
    spot_request: str  # "" of an on-demand machine
    public_address: str
    private_address: str
    reason: str  # StateReason's code
    tags: Mapping[str, str]

    @property
    def dead(self) -> bool:
        """Whether it is ending or has ended."""
        return self.state in DEAD

    @property
    def gone(self) -> bool:
        """Whether it has ended: until then it is its lease's, and its token buys no other."""
        return self.state == GONE


def machine(row: Document, reservation: str, region: str) -> Machine:
    """An element of a reservation's Instances. Raises: Malformed."""
    return Machine(
        id=row.text("InstanceId"),
        reservation=reservation,
        region=region,
        zone=row.within("Placement").text("AvailabilityZone"),
        instance_type=row.text("InstanceType"),
        state=row.within("State").text("Name"),
        launched_at=moment(row, "LaunchTime").replace(microsecond=0),
        number=int(row.number("AmiLaunchIndex", 0.0)),
        spot_request=row.text("SpotInstanceRequestId", ""),
        public_address=row.text("PublicIpAddress", ""),
        private_address=row.text("PrivateIpAddress", ""),
        reason=row.within("StateReason").text("Code", "") if "StateReason" in row else "",
        tags={tag.text("Key"): tag.text("Value", "") for tag in row.each("Tags")},
    )


def machines(reservation: Document, region: str) -> list[Machine]:
    """Of one reservation, in the order of launch. Raises: Malformed."""
    own = reservation.text("ReservationId")
    return sorted((machine(row, own, region) for row in reservation.each("Instances")), key=lambda each: each.number)


# Tags


def tags(owner: str, token: str, offer: Offer, nodes: int, run_id: str) -> list[dict[str, str]]:
    """What a machine is tagged with at its creation, so that any process can tell what was bought."""
    values = {
        "Name": f"isoflop {run_id or token}"[:255],
        OWNER: owner,
        TOKEN: token,
        NODES: str(nodes),
        OFFER: packed(offer),
    }
    return [{"Key": key, "Value": value} for key, value in values.items()]


def packed(offer: Offer) -> str:
    """The facts of an offer that EC2 will not tell again, in a tag's 256 characters of its plain set."""
    hazard = "" if offer.interruption_rate is None else repr(offer.interruption_rate)
    words = (
        PLAIN.sub("_", offer.accelerator)[:60],
        repr(offer.gpus),
        repr(offer.usd_per_hour),
        repr(offer.vcpus),
        repr(offer.host_memory_gib),
        hazard,
        repr(offer.boot_s),
        repr(offer.min_billing_s),
        str(int(offer.observed_at.timestamp())),
        offer.tier.value,
        PLAIN.sub("_", offer.fabric)[:20],
    )
    return ":".join(words)


def unpacked(seen: Machine) -> Offer:
    """The offer that `seen` was bought as; of a tag that somebody changed, one that says so, with a price of 0."""
    words = seen.tags.get(OFFER, "").split(":")
    billing = Billing.SPOT if seen.spot_request else Billing.ON_DEMAND
    plain = _offer(seen, billing)
    try:
        accelerator, gpus, price, vcpus, memory, hazard, boot_s, billed_s, at, tier, fabric = words
        return replace(
            plain,
            accelerator=accelerator,
            gpus=float(gpus),
            usd_per_hour=float(price),
            tier=Tier(tier),
            fabric=fabric,
            vcpus=float(vcpus),
            host_memory_gib=float(memory),
            interruption_rate=float(hazard) if hazard else None,
            boot_s=float(boot_s),
            min_billing_s=float(billed_s),
            observed_at=datetime.fromtimestamp(int(at), UTC),
            source=f"as bought: tag {OFFER} of {seen.id}",
        )
    except ValueError:
        return plain


def _offer(seen: Machine, billing: Billing) -> Offer:
    return Offer(
        provider=NAME,
        region=seen.region,
        zone=seen.zone,
        instance_type=seen.instance_type,
        accelerator=seen.instance_type,
        gpus=1.0,
        billing=billing,
        usd_per_hour=0.0,
        available=None,
        tier=Tier.CLOUD,
        fabric="",
        vcpus=0.0,
        host_memory_gib=0.0,
        interruption_rate=None,
        boot_s=0.0,
        min_billing_s=0.0,
        observed_at=seen.launched_at,
        source=f"unknown: somebody changed tag {OFFER} of {seen.id}",
    )


# Leases


def lease_id(first: Machine) -> str:
    """`us-east-1/r-0123/20261122T102200Z`: where to look, what for, and whether it may be too young to be found."""
    return f"{first.region}/{first.reservation}/{first.launched_at.strftime(STAMP)}"


class Found(NamedTuple):
    """What a lease's id says."""

    region: str
    reservation: str
    launched_at: datetime


def of_id(lease: str) -> Found | None:
    """None for an id that was never ours."""
    match = ID.fullmatch(lease)
    if match is None:
        return None
    try:
        launched_at = datetime.strptime(match["launched"], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Found(match["region"], match["reservation"], launched_at)


def lease(
    held: Sequence[Machine],
    *,
    now: datetime,
    public: bool,
    keys: LeaseKeys | None,
    warned: frozenset[str],
    ssh_port: int = 22,
) -> Lease:
    """The lease that the machines of one reservation are; `warned` are ids of machines that AWS takes back."""
    first = min(held, key=lambda each: each.number)
    offer = unpacked(first)
    nodes = int(first.tags[NODES]) if first.tags.get(NODES, "").isdigit() else len(held)
    state = _state(held, nodes, warned, young=now - first.launched_at < SHOWS_WITHIN)
    reached = tuple(_endpoint(each, public, keys, ssh_port) for each in held if not each.dead)
    shown = state in {LeaseState.READY, LeaseState.RECLAIMING} and all(point.address for point in reached)
    if state is LeaseState.READY and not shown:
        state = LeaseState.BOOTING
    return Lease(
        id=lease_id(first),
        provider=NAME,
        token=first.tags.get(TOKEN, ""),
        owner=first.tags.get(OWNER, ""),
        offer=offer,
        nodes=nodes,
        state=state,
        usd_per_hour=nodes * offer.usd_per_hour,
        acquired_at=first.launched_at,
        endpoints=reached if shown else (),
    )


def _state(held: Sequence[Machine], nodes: int, warned: frozenset[str], *, young: bool) -> LeaseState:
    """A gang of which a node is gone or going is being taken back, but one just bought may not show whole yet."""
    if all(each.dead for each in held):
        return LeaseState.RELEASING
    lost = any(each.state not in {"pending", "running"} or each.id in warned for each in held)
    if lost or (len(held) < nodes and not young):
        return LeaseState.RECLAIMING
    whole = len(held) == nodes and all(each.state == "running" for each in held)
    return LeaseState.READY if whole else LeaseState.BOOTING


def _endpoint(seen: Machine, public: bool, keys: LeaseKeys | None, ssh_port: int) -> Endpoint:
    return Endpoint(
        launcher="ssh",
        address=seen.public_address if public else seen.private_address,
        port=ssh_port,
        user=USER,
        path=f"{FOLDER}/lease",
        identity=str(keys.login_file) if keys else "",
        host_key=keys.host_public if keys else "",
    )


def client_token(owner: str, token: str, generation: int) -> str:
    """The idempotency token of a launch, 64 characters: EC2 keeps it for a day after the machines have ended, so that
    the same token of ours, used again, needs another."""
    return hashlib.sha256(f"{owner}\x1f{token}\x1f{generation}".encode()).hexdigest()
