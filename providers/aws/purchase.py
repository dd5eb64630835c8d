"""Launches machines, all or none, once per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import CapacityError, ProviderError, Scope, TransientError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit.documents import readable
from orchestrator.kit.keys import LeaseKeys
from orchestrator.kit.machine import Identity, user_data
from orchestrator.kit.tags import OWNER, TOKEN
from providers.aws import records
from providers.aws.client import Client
from providers.aws.ground import Ground
from providers.aws.records import Machine
from providers.aws.refusals import NAME, Rejected, of_launch
from providers.aws.settings import AwsSettings
from providers.aws.translate import Type

GENERATIONS = 20  # leases of one token, one after another, that a day may see
MISMATCH = "IdempotentParameterMismatch"


class Order(NamedTuple):
    """What to buy, and how its machines come up as ours."""

    offer: Offer  # at the price of now
    nodes: int
    token: str
    boot: Boot
    kind: Type
    keys: LeaseKeys
    ended: int = 0  # leases of the same token that are known to have ended


class Launcher:
    """RunInstances with everything around it."""

    def __init__(self, client: Client, settings: AwsSettings, ground: Ground, owner: str, clock: Clock) -> None:
        self._client, self._settings, self._ground, self._owner, self._clock = client, settings, ground, owner, clock

    def held(self, region: str, token: str) -> list[list[Machine]]:
        """The machines bought with `token`, by reservation, those that have ended too while EC2 tells of them.

        Raises: AuthError, TransientError.
        """
        filters = [{"Name": f"tag:{TOKEN}", "Values": [token]}, {"Name": f"tag:{OWNER}", "Values": [self._owner]}]
        # A filter's value may hold wildcards, so what it lets pass is looked at again.
        return [
            machines
            for machines in self.described(region, filters)
            if (machines[0].tags.get(TOKEN), machines[0].tags.get(OWNER)) == (token, self._owner)
        ]

    def described(self, region: str, filters: Sequence[Mapping[str, object]]) -> list[list[Machine]]:
        """Machines by reservation. Raises: AuthError, TransientError."""
        rows = self._client.each(
            "ec2", region, "DescribeInstances", "Reservations", Filters=list(filters), MaxResults=1000
        )
        with readable(NAME, f"DescribeInstances in {region}"):
            found = [records.machines(row, region) for row in rows]
        return _whole([machines for machines in found if machines])

    def buy(self, order: Order) -> list[Machine]:
        """The machines of the order's token: bought now, or earlier.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which the purchase is in doubt; UserError.
        """
        token, region = order.token, order.offer.region
        held = self.held(region, token)
        for machines in held:
            if not all(each.gone for each in machines):
                return machines
        try:
            params = self._params(order)
        except Rejected as error:  # nothing is bought yet, and what is wrong will be so again
            raise of_launch(error) from error
        first = max(len(held), order.ended)
        for generation in range(first, first + GENERATIONS):
            bought = self._run(region, params, records.client_token(self._owner, token, generation))
            if bought is None:
                return self._of_another(region, token)
            if not self._over(region, bought):
                return bought
        raise TransientError(NAME, f"{GENERATIONS} leases of token {token} have ended within a day", 3600.0)

    def _run(self, region: str, params: Mapping[str, object], client_token: str) -> list[Machine] | None:
        """One launch; None where the same token was used with other parameters."""
        try:
            answer = self._client.once("ec2", region, "RunInstances", **params, ClientToken=client_token)
        except ProviderError as error:
            if isinstance(error, Rejected):
                self._ground.forget(region)
                if error.code == MISMATCH:
                    return None
            raise of_launch(error) from error.__cause__
        with readable(NAME, answer.place):
            bought = records.machines(answer, region)
        if not bought:
            raise TransientError(NAME, f"{answer.place}: a success without machines", 5.0)
        return bought

    def _of_another(self, region: str, token: str) -> list[Machine]:
        """What another process bought with the token while we were about to. Raises: TransientError."""
        for machines in self.held(region, token):
            if not all(each.gone for each in machines):
                return machines
        raise TransientError(NAME, f"another process is buying with token {token}", 5.0)

    def _over(self, region: str, bought: Sequence[Machine]) -> bool:
        """Whether `bought` are machines of an earlier purchase that have ended: EC2 keeps a token for longer.

        Raises: AuthError, TransientError where it cannot be told.
        """
        if all(each.gone for each in bought):
            return True
        age = self._clock.now() - bought[0].launched_at
        if age < records.SHOWS_WITHIN:
            return False
        now = self.described(region, [{"Name": "reservation-id", "Values": [bought[0].reservation]}])
        if not now and age < records.TOLD_FOR:
            raise TransientError(NAME, f"{bought[0].reservation} in {region} was bought and is not listed", 30.0)
        return all(each.gone for machines in now for each in machines)

    def _params(self, order: Order) -> dict[str, object]:
        offer, nodes, settings = order.offer, order.nodes, self._settings
        region, keys = offer.region, order.keys
        if offer.billing not in {Billing.ON_DEMAND, Billing.SPOT}:
            detail = f"{offer.label}: capacity blocks are listed and not bought; buy them in AWS's console"
            raise CapacityError(NAME, detail, Scope.ZONE)
        subnet = self._ground.subnet(region, offer.zone)
        image = self._ground.image(region, order.kind)
        identity = Identity((keys.login_public,), keys.host_public, keys.host_private)
        tags = records.tags(self._owner, order.token, offer, nodes, order.boot.run_id)
        kinds = ["instance", "volume", "network-interface"]
        if offer.billing is Billing.SPOT:
            kinds.append("spot-instances-request")
        params: dict[str, object] = {
            "ImageId": image,
            "InstanceType": offer.instance_type,
            "MinCount": nodes,
            "MaxCount": nodes,
            "UserData": user_data(order.boot, identity),
            "InstanceInitiatedShutdownBehavior": "terminate",  # so that the machine's own end ends the bill
            "NetworkInterfaces": self._interfaces(order, subnet.id, self._ground.group(region, subnet.vpc)),
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            "TagSpecifications": [{"ResourceType": each, "Tags": tags} for each in kinds],
        }
        if offer.billing is Billing.SPOT:
            spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
        if settings.disk_gib:
            disk = {"VolumeSize": settings.disk_gib, "VolumeType": "gp3", "DeleteOnTermination": True}
            params["BlockDeviceMappings"] = [{"DeviceName": self._ground.root_device(region, image), "Ebs": disk}]
        if settings.instance_profile:
            params["IamInstanceProfile"] = {"Name": settings.instance_profile}
        return params

    def _interfaces(self, order: Order, subnet: str, group: str) -> list[dict[str, object]]:
        """One interface; of a gang with EFA one per network card, unless it needs a public address.

        EC2 gives a public address to a machine with a single interface alone.
        """
        public = self._settings.public_addresses
        plain: dict[str, object] = {"SubnetId": subnet, "Groups": [group], "DeleteOnTermination": True}
        first = {**plain, "DeviceIndex": 0, "AssociatePublicIpAddress": public}
        if order.nodes == 1 or not order.kind.efa_interfaces:
            return [first]
        if public:
            return [{**first, "InterfaceType": "efa"}]
        return [
            {**plain, "NetworkCardIndex": card, "DeviceIndex": min(card, 1), "InterfaceType": "efa"}
            for card in range(order.kind.efa_interfaces)
        ]


def _whole(found: Sequence[list[Machine]]) -> list[list[Machine]]:
    """By reservation: one may be spread over two pages."""
    by_reservation: dict[str, list[Machine]] = {}
    for machines in found:
        by_reservation.setdefault(machines[0].reservation, []).extend(machines)
    return [sorted(machines, key=lambda each: each.number) for machines in by_reservation.values()]
