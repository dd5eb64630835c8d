"""Machines of the market as EC2 instances: launched, described, ended."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.aws.catalogue import PROVIDER, Catalogue, architecture, quota_of
from orchestrator.simulation.clouds.aws.network import ACCOUNT, Network, check_tags, made_id, tags_of
from orchestrator.simulation.clouds.aws.paging import filtered, paged
from orchestrator.simulation.clouds.aws.protocol import AwsError, Call
from orchestrator.simulation.clouds.aws.states import NOTICE_S, STATES, id_of, reason_of, request_of, request_status
from orchestrator.simulation.clouds.bootup import own_end_s
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.market import Market, Purchase, Refusal, Refused
from orchestrator.simulation.clouds.pools import Pool

SHOWN_FOR = timedelta(hours=1)  # after its end
TOKEN_FOR = timedelta(hours=24)  # after its machines' end
MOST_USER_DATA = 16384  # bytes, before Base64


class Order(NamedTuple):
    """What a request of RunInstances asks for, checked."""

    pool: Pool
    zone: str
    groups: tuple[str, ...]
    public: bool
    user_data: str


class Instances:
    """EC2's instances of the one account."""

    def __init__(self, market: Market, catalogue: Catalogue, network: Network) -> None:
        self._market, self._catalogue, self._network = market, catalogue, network
        self._tokens: dict[tuple[str, str], tuple[str, str]] = {}  # (region, token) -> (parameters, reservation)

    # Buying

    def run(self, call: Call) -> dict[str, Any]:
        """RunInstances: the same client token with the same parameters buys once."""
        params = call.params
        token = params.get("ClientToken", "")
        meant = hashlib.sha256(json.dumps(_without_token(params), sort_keys=True, default=str).encode()).hexdigest()
        with self._market.lock:
            known = self._tokens.get((call.region, token)) if token else None
            if known is not None and not self._forgotten(known[1]):
                if known[0] != meant:
                    text = "Arguments on this idempotent request are inconsistent with those of a previous request."
                    raise AwsError("IdempotentParameterMismatch", text)
                return self._reservation(known[1], self._of_reservation(known[1]))
            order = self._order(call)
            if params.get("DryRun"):
                raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
            bought = self._buy(call, order)
            reservation = str(bought[0].extra["reservation"])
            if token:
                self._tokens[call.region, token] = (meant, reservation)
        return self._reservation(reservation, bought)

    def _order(self, call: Call) -> Order:
        """Raises: AwsError for everything that EC2 refuses before it looks for machines."""
        params = call.params
        if not 1 <= params["MinCount"] <= params["MaxCount"]:
            raise AwsError("InvalidParameterValue", "MinCount is at least 1 and at most MaxCount")
        interface: Mapping[str, Any] = next(iter(params.get("NetworkInterfaces", ())), {})
        if interface and (params.get("SubnetId") or params.get("SecurityGroupIds")):
            text = (
                "Network interfaces and an instance-level subnet ID or groups may not be specified on the same request"
            )
            raise AwsError("InvalidParameterCombination", text)
        zone = self._zone(call, interface.get("SubnetId") or params.get("SubnetId"))
        groups = tuple(interface.get("Groups") or params.get("SecurityGroupIds", ()))
        for group in groups:
            self._network.group(call.region, group)
        name = params.get("InstanceType", "m1.small")
        spot = params.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        pool = self._catalogue.pool(call.region, zone, name, Billing.SPOT if spot else Billing.ON_DEMAND)
        if pool is None:
            raise self._unsupported(call, zone, name)
        runs_on = self._network.architecture_of(call.region, params.get("ImageId", ""))
        if runs_on != architecture(self._catalogue.describe(call.region, name)):
            text = f"The architecture of the instance type does not match the architecture '{runs_on}' of the AMI"
            raise AwsError("InvalidParameterValue", text)
        _check_interfaces(params, self._catalogue.describe(call.region, name))
        most = params.get("InstanceMarketOptions", {}).get("SpotOptions", {}).get("MaxPrice")
        if most is not None and float(most) < self._market.price(pool.key):
            raise AwsError(
                "SpotMaxPriceTooLow", f"Your Spot request price of {most} is lower than the minimum required"
            )
        for kind in ("instance", "volume", "network-interface", "spot-instances-request"):
            tags_of(params, kind)
        return Order(
            pool,
            zone,
            groups,
            bool(interface.get("AssociatePublicIpAddress", len(params.get("NetworkInterfaces", ())) < 2)),
            _user_data(params),
        )

    def _unsupported(self, call: Call, zone: str, name: str) -> AwsError:
        if name not in self._catalogue.types_in(call.region):
            return AwsError("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
        text = f"Your requested instance type ({name}) is not supported in your requested Availability Zone ({zone})."
        return AwsError("Unsupported", text)

    def _zone(self, call: Call, subnet: str | None) -> str:
        zones = self._catalogue.zones.get(call.region, ())
        if subnet:
            zone = self._network.zone_of(call.region, subnet)
            if zone is None:
                raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
            return zone
        asked = str(call.params.get("Placement", {}).get("AvailabilityZone", zones[0]))
        if asked not in zones:
            raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{asked}]")
        return asked

    def _buy(self, call: Call, order: Order) -> Sequence[Machine]:
        params, key = call.params, order.pool.key
        code = quota_of(key.instance_type, key.billing)
        vcpus = self._catalogue.vcpus(call.region, key.instance_type)
        ends_itself = params.get("InstanceInitiatedShutdownBehavior") == "terminate"
        serial = len(self._market.machines(PROVIDER))
        try:
            return self._market.buy(
                Purchase(
                    key=key,
                    account=ACCOUNT,
                    count=params["MaxCount"],
                    least=params["MinCount"],
                    token=params.get("ClientToken", ""),
                    tags=tags_of(params, "instance"),
                    charges=((code, call.region, vcpus),) if code else (),
                    lifetime_s=own_end_s(order.user_data) if ends_itself else None,
                    notice_s=NOTICE_S,
                    user_data=order.user_data,
                    extra={
                        "reservation": made_id("r", self._market.seed, call.region, serial),
                        "zone": order.zone,
                        "image": params["ImageId"],
                        "groups": order.groups,
                        "public": order.public,
                        "interfaces": len(params.get("NetworkInterfaces", (1,))),
                        "user_data": order.user_data,
                    },
                )
            )
        except Refused as refused:
            raise _refusal(refused, key.billing, order) from refused

    # Looking

    def describe(self, call: Call) -> dict[str, Any]:
        """DescribeInstances: those that are visible yet, and those that ended within the last hour."""
        kept = self._wanted(call)
        by_reservation: dict[str, list[Machine]] = {}
        for machine in kept:
            by_reservation.setdefault(str(machine.extra["reservation"]), []).append(machine)
        page = paged(call, list(by_reservation.items()), "Reservations", most=1000)
        return {**page, "Reservations": [self._reservation(*each) for each in page["Reservations"]]}

    def statuses(self, call: Call) -> dict[str, Any]:
        """DescribeInstanceStatus: a machine on demand that is taken back is announced here."""
        now = self._market.clock.now()
        shown = [
            machine
            for machine in self._visible(call.region)
            if call.params.get("IncludeAllInstances") or machine.phase(now) is Phase.RUNNING
        ]
        fields = {
            "event.code": lambda machine: [event["Code"] for event in self._events(machine)],
            "instance-state-name": self._state_name,
        }
        page = paged(call, filtered(shown, call.params, fields), "InstanceStatuses", most=1000)
        return {**page, "InstanceStatuses": [self._status(machine) for machine in page["InstanceStatuses"]]}

    def spot_requests(self, call: Call) -> dict[str, Any]:
        """DescribeSpotInstanceRequests."""
        spot = [machine for machine in self._visible(call.region) if machine.key.billing is Billing.SPOT]
        wanted = call.params.get("SpotInstanceRequestIds")
        if wanted is not None:
            missing = [each for each in wanted if each not in {request_of(machine) for machine in spot}]
            if missing:
                text = f"The spot instance request ID '{missing[0]}' does not exist"
                raise AwsError("InvalidSpotInstanceRequestID.NotFound", text)
            spot = [machine for machine in spot if request_of(machine) in wanted]
        fields = {
            "spot-instance-request-id": lambda machine: [request_of(machine)],
            "instance-id": lambda machine: [id_of(machine)],
            "state": lambda machine: [self._request(machine)["State"]],
            "status-code": lambda machine: [self._request(machine)["Status"]["Code"]],
        }
        page = paged(call, filtered(spot, call.params, fields, lambda m: m.tags), "SpotInstanceRequests", most=1000)
        return {**page, "SpotInstanceRequests": [self._request(machine) for machine in page["SpotInstanceRequests"]]}

    # Changing

    def terminate(self, call: Call) -> dict[str, Any]:
        """TerminateInstances."""
        changes = []
        with self._market.lock:
            machines = [self._machine(call.region, each) for each in call.params["InstanceIds"]]
            for machine in machines:
                before = self._state(machine)
                after = self._market.end(machine.serial, End.USER)
                change = {"InstanceId": id_of(machine), "PreviousState": before, "CurrentState": self._state(after)}
                changes.append(change)
        return {"TerminatingInstances": changes}

    def tag(self, call: Call) -> dict[str, Any]:
        """CreateTags, on instances alone."""
        tags = {tag["Key"]: tag.get("Value", "") for tag in call.params["Tags"]}
        check_tags(tags)
        with self._market.lock:
            for resource in call.params["Resources"]:
                machine = self._machine(call.region, resource)
                self._market.change(machine.serial, tags={**machine.tags, **tags})
        return {}

    # Inside

    def warned(self, region: str) -> list[Machine]:
        """Spot machines whose interruption is announced."""
        now = self._market.clock.now()
        return [each for each in self._all(region) if each.key.billing is Billing.SPOT and each.warned(now)]

    def _all(self, region: str) -> list[Machine]:
        return [machine for machine in self._market.machines(PROVIDER, ACCOUNT) if machine.key.region == region]

    def _visible(self, region: str) -> list[Machine]:
        now = self._market.clock.now()
        return [
            machine
            for machine in self._all(region)
            if now >= machine.visible_at and (machine.gone_at is None or now < machine.gone_at + SHOWN_FOR)
        ]

    def _of_reservation(self, reservation: str) -> list[Machine]:
        return [each for each in self._market.machines(PROVIDER, ACCOUNT) if each.extra["reservation"] == reservation]

    def _forgotten(self, reservation: str) -> bool:
        now = self._market.clock.now()
        return all(
            each.gone_at is not None and now >= each.gone_at + TOKEN_FOR for each in self._of_reservation(reservation)
        )

    def _machine(self, region: str, instance: str) -> Machine:
        for machine in self._visible(region):
            if id_of(machine) == instance:
                return machine
        raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance}' does not exist")

    def _wanted(self, call: Call) -> list[Machine]:
        ids = call.params.get("InstanceIds")
        if ids is not None and "MaxResults" in call.params:
            text = "The parameter instancesSet cannot be used with the parameter maxResults"
            raise AwsError("InvalidParameterCombination", text)
        shown = self._visible(call.region) if ids is None else [self._machine(call.region, each) for each in ids]
        fields = {
            "availability-zone": lambda machine: [str(machine.extra["zone"])],
            "client-token": lambda machine: [machine.token],
            "instance-id": lambda machine: [id_of(machine)],
            "instance-lifecycle": lambda machine: ["spot"] if machine.key.billing is Billing.SPOT else [],
            "instance-state-name": self._state_name,
            "instance-type": lambda machine: [machine.key.instance_type],
            "reservation-id": lambda machine: [str(machine.extra["reservation"])],
        }
        return filtered(shown, call.params, fields, lambda machine: machine.tags)

    def _state(self, machine: Machine) -> dict[str, Any]:
        code, name = STATES[machine.phase(self._market.clock.now())]
        return {"Code": code, "Name": name}

    def _state_name(self, machine: Machine) -> list[str]:
        return [str(self._state(machine)["Name"])]

    def _reservation(self, reservation: str, machines: Sequence[Machine]) -> dict[str, Any]:
        first = min((each.serial for each in self._of_reservation(reservation)), default=0)
        shown = [self._instance(machine, machine.serial - first) for machine in machines]
        return {"ReservationId": reservation, "OwnerId": ACCOUNT, "Groups": [], "Instances": shown}

    def _instance(self, machine: Machine, index: int) -> dict[str, Any]:
        key, phase = machine.key, machine.phase(self._market.clock.now())
        row = self._catalogue.describe(key.region, key.instance_type)
        vcpus = int(row["VCpuInfo"]["DefaultVCpus"])
        threads = int(row["VCpuInfo"].get("DefaultThreadsPerCore", 1))
        shown: dict[str, Any] = {
            "InstanceId": id_of(machine),
            "ImageId": machine.extra["image"],
            "InstanceType": key.instance_type,
            "State": self._state(machine),
            "LaunchTime": machine.bought_at,
            "AmiLaunchIndex": index,
            "ClientToken": machine.token,
            "Placement": {"AvailabilityZone": machine.extra["zone"], "Tenancy": "default"},
            "Architecture": architecture(row),
            "CpuOptions": {"CoreCount": vcpus // threads, "ThreadsPerCore": threads},
            "SecurityGroups": [{"GroupId": group} for group in machine.extra["groups"]],  # type: ignore[attr-defined]
            "SubnetId": made_id("subnet", machine.extra["zone"]),
            "VpcId": self._network.vpc(key.region),
            "Tags": [{"Key": name, "Value": value} for name, value in machine.tags.items()],
        }
        if phase is not Phase.GONE:
            shown["PrivateIpAddress"] = machine.address
        if phase is Phase.RUNNING and machine.extra["public"]:
            shown["PublicIpAddress"] = machine.address
        if key.billing is Billing.SPOT:
            shown |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": request_of(machine)}
        if phase in {Phase.STOPPING, Phase.GONE} and machine.end is not None:
            code, message = reason_of(machine)
            shown["StateReason"] = {"Code": code, "Message": message}
        return shown

    def _status(self, machine: Machine) -> dict[str, Any]:
        running = machine.phase(self._market.clock.now()) is Phase.RUNNING
        health = {"Status": "ok" if running else "initializing"}
        return {
            "InstanceId": id_of(machine),
            "AvailabilityZone": machine.extra["zone"],
            "InstanceState": self._state(machine),
            "InstanceStatus": health,
            "SystemStatus": health,
            "Events": self._events(machine),
        }

    def _events(self, machine: Machine) -> list[dict[str, Any]]:
        now = self._market.clock.now()
        if machine.key.billing is Billing.SPOT or not machine.warned(now) or machine.ends_at is None:
            return []
        event = {"InstanceEventId": made_id("instance-event", machine.serial), "Code": "instance-retirement"}
        return [{**event, "Description": "The instance is running on degraded hardware", "NotBefore": machine.ends_at}]

    def _request(self, machine: Machine) -> dict[str, Any]:
        now = self._market.clock.now()
        code, at = request_status(machine, now)
        ended = machine.phase(now) is Phase.GONE
        return {
            "SpotInstanceRequestId": request_of(machine),
            "InstanceId": id_of(machine),
            "State": "closed" if ended else "active",
            "Status": {"Code": code, "Message": code, "UpdateTime": at},
            "Type": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "CreateTime": machine.bought_at,
            "LaunchedAvailabilityZone": machine.extra["zone"],
            "ProductDescription": "Linux/UNIX",
            "Tags": [],
        }


def _without_token(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "ClientToken"}


def _check_interfaces(params: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    interfaces = params.get("NetworkInterfaces", ())
    network = row["NetworkInfo"]
    efa = sum(each.get("InterfaceType") in {"efa", "efa-only"} for each in interfaces)
    if efa > (network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0) if network.get("EfaSupported") else 0):
        raise AwsError(
            "InvalidParameterCombination", f"{efa} EFA interfaces are not supported on {row['InstanceType']}"
        )
    if len(interfaces) > 1 and any(each.get("AssociatePublicIpAddress") for each in interfaces):
        text = "The associatePublicIPAddress parameter can only be specified for a single network interface"
        raise AwsError("InvalidParameterCombination", text)
    places = [(each.get("NetworkCardIndex", 0), each.get("DeviceIndex")) for each in interfaces]
    cards = network.get("MaximumNetworkCards", 1)
    if len(places) != len(set(places)) or any(card >= cards for card, _ in places):
        raise AwsError("InvalidParameterValue", "two interfaces at one place, or a network card that there is not")


def _user_data(params: Mapping[str, Any]) -> str:
    try:
        text = base64.b64decode(params.get("UserData", ""), validate=True)
    except binascii.Error:
        raise AwsError("InvalidUserData.Malformed", "User data is not valid Base64") from None
    if len(text) > MOST_USER_DATA:
        raise AwsError("InvalidParameterValue", f"User data is limited to {MOST_USER_DATA} bytes")
    return text.decode("utf-8", "replace")


def _refusal(refused: Refused, billing: Billing, order: Order) -> AwsError:
    if refused.why is Refusal.QUOTA and billing is Billing.SPOT:
        return AwsError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    if refused.why is Refusal.QUOTA:
        text = "You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket"
        return AwsError("VcpuLimitExceeded", f"{text} ({refused.detail}).")
    name = order.pool.key.instance_type
    text = f"We currently do not have sufficient {name} capacity in the Availability Zone you requested ({order.zone})."
    return AwsError("InsufficientInstanceCapacity", text, 500)
