"""Machines as Azure writes them: what is asked for, and leases out of what is listed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.facts import Facts
from orchestrator.kit.keys import LeaseKeys
from orchestrator.kit.machine import FOLDER, USER, Identity, user_data
from orchestrator.kit.tags import OWNER, TOKEN
from providers.azure.settings import NAME, AzureSettings

LEASE, NODES, OFFER = "isoflop-lease", "isoflop-nodes", "isoflop-offer"  # tags beside the token's and the owner's
CUSTOM_DATA_BYTES = 49_000  # 65 535 as base64
LISTED_WITHIN = timedelta(seconds=60)
STOPPED = frozenset({"stopping", "stopped", "deallocating", "deallocated"})
METADATA = "http://169.254.169.254/metadata"


class Place(NamedTuple):
    """Resource ids of the subnet and the network security group of a region."""

    subnet: str
    guard: str


class Order(NamedTuple):
    """One purchase: what every node of it has in common."""

    offer: Offer
    nodes: int
    token: str
    owner: str
    lease_id: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of its machines."""
        stem = self.lease_id.partition(".")[0]
        return tuple(f"{stem}-{number}" for number in range(self.nodes))

    @property
    def tags(self) -> dict[str, str]:
        """On everything of it: enough to tell the lease from a listing alone."""
        offer = self.offer
        facts = [offer.accelerator, offer.gpus, offer.vcpus, offer.host_memory_gib, offer.usd_per_hour]
        return {
            TOKEN: self.token,
            OWNER: self.owner,
            LEASE: self.lease_id,
            NODES: str(self.nodes),
            OFFER: json.dumps(facts, separators=(",", ":")),
        }


def order(offer: Offer, nodes: int, *, token: str, owner: str, generation: str) -> Order:
    """A purchase. Names of machines follow from owner and token, so that the same purchase twice makes one set of them.

    `generation` makes the id one that was never used: machines of a token that was released have the same names.
    """
    stem = sha256(f"{owner}\x1f{token}".encode()).hexdigest()[:16]
    return Order(offer, nodes, token, owner, f"isoflop-{stem}.{nodes}.{generation}")


def again(bought: Node) -> Order:
    """The purchase that a machine was made by, as its tags say. Raises: Malformed."""
    offer = offered(bought, Facts(NAME), bought.created_at)
    return Order(offer, nodes_of(bought), bought.tags[TOKEN], bought.tags[OWNER], bought.lease_id)


def parts(lease_id: str) -> tuple[str, ...]:
    """Names of the machines of a lease by its id alone; none where it is no id of ours."""
    stem, _, rest = lease_id.partition(".")
    count, _, generation = rest.partition(".")
    if not stem.startswith("isoflop-") or not count.isdigit() or not generation:
        return ()
    return tuple(f"{stem}-{number}" for number in range(int(count)))


def body(
    ordered: Order,
    name: str,
    start: str,
    settings: AzureSettings,
    *,
    keys: LeaseKeys,
    image: Mapping[str, str],
    place: Place,
) -> dict[str, object]:
    """The request for the machine called `name`: its disk, card and public address come and go with it.

    `start` is its start-up text, `image` an image reference.
    """
    offer = ordered.offer
    properties: dict[str, object] = {
        "hardwareProfile": {"vmSize": offer.instance_type},
        "storageProfile": {
            "imageReference": image,
            "osDisk": {
                "createOption": "FromImage",
                "deleteOption": "Delete",
                "diskSizeGB": settings.disk_gib,
                "managedDisk": {"storageAccountType": settings.disk_type},
            },
        },
        "osProfile": {
            "computerName": name,
            "adminUsername": USER,
            "customData": base64.b64encode(start.encode()).decode(),
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [{"path": f"/home/{USER}/.ssh/authorized_keys", "keyData": keys.login_public}]},
            },
        },
        "networkProfile": _network(name, place),
    }
    if offer.billing is Billing.SPOT:
        properties |= {
            "priority": "Spot",
            "evictionPolicy": "Delete",
            "billingProfile": {"maxPrice": settings.spot_max_usd_per_hour},
        }
    whole: dict[str, object] = {"location": offer.region, "tags": ordered.tags, "properties": properties}
    if offer.zone:
        whole["zones"] = [offer.zone]
    if settings.end_identity:
        whole["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {settings.end_identity: {}}}
    return whole


def start_up(boot: Boot, keys: LeaseKeys, settings: AzureSettings) -> str:
    """The start-up text of every machine of a purchase. Raises: UserError where it is too long."""
    identity = Identity((keys.login_public,), keys.host_public, keys.host_private)
    return user_data(boot, identity, end=own_end(settings), most=CUSTOM_DATA_BYTES)


def _network(name: str, place: Place) -> dict[str, object]:
    address = {
        "name": f"{name}-address",
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
    }
    main = {"primary": True, "subnet": {"id": place.subnet}, "publicIPAddressConfiguration": address}
    card = {
        "name": f"{name}-card",
        "properties": {
            "primary": True,
            "deleteOption": "Delete",
            "networkSecurityGroup": {"id": place.guard},
            "ipConfigurations": [{"name": "main", "properties": main}],
        },
    }
    return {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": [card]}


def image_reference(words: str) -> dict[str, str]:
    """An image reference: `publisher:offer:sku:version`, or the resource id of an image. Raises: Malformed."""
    if words.startswith("/"):
        return {"id": words}
    fields = words.split(":")
    if len(fields) != 4 or not all(fields):
        raise Malformed(f"{words!r} is no image: publisher:offer:sku:version or a resource id")
    return dict(zip(("publisher", "offer", "sku", "version"), fields, strict=True))


def own_end(settings: AzureSettings) -> Sequence[str]:
    """The command by which a machine ends itself.

    Azure bills a machine whose operating system has stopped as if it ran, so switching off ends the job and not the
    bill. With `end_identity` the machine asks Azure to delete it, and switches off where that fails.
    """
    off = "systemctl poweroff"
    if not settings.end_identity:
        return (off,)
    endpoint = settings.endpoint_url.rstrip("/")
    login = (
        f"{METADATA}/identity/oauth2/token?api-version=2018-02-01&resource={quote(endpoint + '/', safe='')}"
        f"&msi_res_id={quote(settings.end_identity, safe='')}"
    )
    own_id = f"{METADATA}/instance/compute/resourceId?api-version=2021-02-01&format=text"
    extract = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])'"
    return (
        f"token=$(curl -sf -H Metadata:true '{login}' | {extract})",
        f"&& self=$(curl -sf -H Metadata:true '{own_id}')",
        f'&& curl -sf -X DELETE -H "Authorization: Bearer $token" "{endpoint}$self?api-version=2023-07-01"',
        f"|| {off}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of ours as Azure lists it."""

    id: str  # resource id in lower case
    name: str
    size: str
    region: str
    zone: str
    spot: bool
    provisioning: str  # in lower case: "creating", "succeeded", "failed", "deleting"
    created_at: datetime
    tags: Mapping[str, str]

    @property
    def lease_id(self) -> str:
        """Of the lease that it belongs to."""
        return self.tags[LEASE]

    @property
    def usable(self) -> bool:
        """Whether it is there, or will be."""
        return self.provisioning not in {"failed", "deleting"}


def node(machine: Document) -> Node | None:
    """A machine, or None where its tags say that it is not ours to read. Raises: Malformed."""
    tags = machine.raw("tags")
    if not isinstance(tags, Mapping) or not {TOKEN, OWNER, LEASE, NODES, OFFER} <= set(tags):
        return None
    properties = machine.within("properties")
    zones = machine.texts("zones")
    return Node(
        id=machine.text("id").lower(),
        name=machine.text("name"),
        size=properties.within("hardwareProfile").text("vmSize"),
        region=machine.text("location").replace(" ", "").lower(),
        zone=zones[0] if zones else "",
        spot=properties.text("priority", "Regular") == "Spot",
        provisioning=properties.text("provisioningState", "").lower(),
        created_at=_moment(properties),
        tags={str(name): str(value) for name, value in tags.items()},
    )


def _moment(properties: Document) -> datetime:
    try:
        moment = datetime.fromisoformat(properties.text("timeCreated"))
    except ValueError as error:
        raise Malformed(f"{properties.place}.timeCreated: {error}") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def nodes_of(bought: Node) -> int:
    """How many machines its lease has. Raises: Malformed."""
    count = bought.tags[NODES]
    if not count.isdigit() or int(count) < 1:
        raise Malformed(f"{bought.name}: tag {NODES} is {count!r}")
    return int(count)


def by_lease(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """Machines by the lease they belong to, in the order of their names."""
    found: dict[str, list[Node]] = {}
    for each in sorted(nodes, key=lambda each: (each.created_at, each.name)):
        found.setdefault(each.lease_id, []).append(each)
    return found


def state(nodes: Sequence[Node], power: Mapping[str, str], addresses: Mapping[str, str], now: datetime) -> LeaseState:
    """How a lease stands, of which `nodes` are listed.

    One that has lost a machine, or whose machine has failed or stands still, is as good as given back: it is of no use
    and costs money.
    """
    wanted, born = nodes_of(nodes[0]), max(each.created_at for each in nodes)
    broken = any(not each.usable or power.get(each.id, "") in STOPPED for each in nodes)
    if broken or (len(nodes) < wanted and now - born > LISTED_WITHIN):
        return LeaseState.RELEASING
    ready = [
        each.provisioning == "succeeded" and power.get(each.id, "running") == "running" and each.id in addresses
        for each in nodes
    ]
    return LeaseState.READY if len(nodes) >= wanted and all(ready) else LeaseState.BOOTING


def lease(
    nodes: Sequence[Node], held: LeaseState, facts: Facts, endpoints: tuple[Endpoint, ...], now: datetime
) -> Lease:
    """The lease of `nodes`, at least one. Raises: Malformed where its tags were tampered with."""
    first, count = nodes[0], nodes_of(nodes[0])
    offer = offered(first, facts, now)
    return Lease(
        id=first.lease_id,
        provider=NAME,
        token=first.tags[TOKEN],
        owner=first.tags[OWNER],
        offer=offer,
        nodes=count,
        state=held,
        usd_per_hour=count * offer.usd_per_hour,
        acquired_at=min(each.created_at for each in nodes),
        endpoints=endpoints,
    )


def offered(bought: Node, facts: Facts, now: datetime) -> Offer:
    """What a machine was bought as: place and size by Azure, the rest by the tag of the purchase. Raises: Malformed."""
    try:
        accelerator, gpus, vcpus, memory, price = json.loads(bought.tags[OFFER])
        numbers = [float(value) for value in (gpus, vcpus, memory, price)]
    except (TypeError, ValueError) as error:
        raise Malformed(f"{bought.name}: tag {OFFER} is {bought.tags[OFFER]!r}") from error
    known = facts.of(bought.size)
    return Offer(
        provider=NAME,
        region=bought.region,
        zone=bought.zone,
        instance_type=bought.size,
        accelerator=str(accelerator),
        gpus=numbers[0],
        billing=Billing.SPOT if bought.spot else Billing.ON_DEMAND,
        usd_per_hour=numbers[3],
        available=None,
        tier=known.tier,
        fabric=known.fabric,
        vcpus=numbers[1],
        host_memory_gib=numbers[2],
        interruption_rate=None,
        boot_s=known.boot_s,
        min_billing_s=known.min_billing_s,
        observed_at=now,
        source="tags of the machine, as bought",
    )


def addresses(cards: Iterable[Document], public: Iterable[Document]) -> dict[str, str]:
    """Public address of every machine, by resource id in lower case: by its card, whose address names the card."""
    by_card: dict[str, str] = {}
    for row in public:
        properties = row.within("properties")
        address = properties.text("ipAddress", "")
        if address and "ipConfiguration" in properties:
            by_card[properties.within("ipConfiguration").text("id").lower().partition("/ipconfigurations/")[0]] = (
                address
            )
    found: dict[str, str] = {}
    for card in cards:
        properties = card.within("properties")
        card_id = card.text("id").lower()
        if card_id in by_card and "virtualMachine" in properties:
            found[properties.within("virtualMachine").text("id").lower()] = by_card[card_id]
    return found


def endpoints(nodes: Sequence[Node], found: Mapping[str, str], keys: LeaseKeys, ssh_port: int) -> tuple[Endpoint, ...]:
    """How to reach every machine of a lease that is ready, in the order of their names."""
    return tuple(
        Endpoint(
            launcher="ssh",
            address=found[each.id],
            port=ssh_port,
            user=USER,
            path=f"{FOLDER}/lease",
            identity=str(keys.login_file),
            host_key=keys.host_public,
        )
        for each in sorted(nodes, key=lambda each: int(each.name.rpartition("-")[2]))
    )
