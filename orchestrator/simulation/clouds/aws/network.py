"""The account's networks at the simulated AWS: default subnets, security groups, images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from orchestrator.simulation.clouds.aws.catalogue import Catalogue
from orchestrator.simulation.clouds.aws.paging import filtered, paged
from orchestrator.simulation.clouds.aws.protocol import AwsError, Call

ACCOUNT = "000000000001"
PARAMETERS: Mapping[str, str] = {  # public parameters of images, and the architecture of each
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": "x86_64",
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id": "x86_64",
    "/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": "arm64",
    "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id": "x86_64",
}


def made_id(kind: str, *words: object) -> str:
    """An id of AWS's form that the words decide: `subnet-0123456789abcdef0`."""
    return f"{kind}-{hashlib.sha256(repr(words).encode()).hexdigest()[:17]}"


@dataclass(slots=True)
class Group:
    """A security group; a rule is one permission with one source."""

    id: str
    name: str
    description: str
    region: str
    vpc: str
    tags: Mapping[str, str]
    rules: list[dict[str, Any]] = field(default_factory=list)


class Network:
    """One default network per region."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._groups: dict[str, Group] = {}
        self._lock = RLock()

    def vpc(self, region: str) -> str:
        """The default network."""
        return made_id("vpc", region)

    def zone_of(self, region: str, subnet: str) -> str | None:
        """The zone that a subnet is in; None where there is no such subnet."""
        zones = self._catalogue.zones.get(region, ())
        return next((zone for zone in zones if made_id("subnet", zone) == subnet), None)

    def subnets(self, call: Call) -> dict[str, Any]:
        """DescribeSubnets."""
        rows = [
            {
                "SubnetId": made_id("subnet", zone),
                "VpcId": self.vpc(call.region),
                "AvailabilityZone": zone,
                "AvailabilityZoneId": self._catalogue.zone_id(zone),
                "AvailableIpAddressCount": 4091,
                "CidrBlock": f"172.31.{16 * number}.0/20",
                "DefaultForAz": True,
                "MapPublicIpOnLaunch": True,
                "State": "available",
                "OwnerId": ACCOUNT,
            }
            for number, zone in enumerate(self._catalogue.zones.get(call.region, ()))
        ]
        fields = {
            "availability-zone": lambda row: [row["AvailabilityZone"]],
            "default-for-az": lambda _: ["true"],
            "subnet-id": lambda row: [row["SubnetId"]],
            "vpc-id": lambda row: [row["VpcId"]],
        }
        return paged(call, filtered(rows, call.params, fields), "Subnets", most=1000)

    # Images

    def parameter(self, call: Call) -> dict[str, Any]:
        """GetParameter of SSM, for the public parameters of images."""
        name = call.params["Name"]
        if name not in PARAMETERS:
            raise AwsError("ParameterNotFound", f"parameter {name} not found")
        parameter = {"Name": name, "Type": "String", "Value": made_id("ami", call.region, name), "Version": 7}
        return {"Parameter": {**parameter, "DataType": "aws:ec2:image"}}

    def architecture_of(self, region: str, image: str) -> str:
        """What an image runs on. Raises: AwsError for one that the region does not have."""
        for name, architecture in PARAMETERS.items():
            if made_id("ami", region, name) == image:
                return architecture
        if not image.startswith("ami-"):
            raise AwsError("InvalidAMIID.Malformed", f'Invalid id: "{image}" (expecting "ami-...")')
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")

    def images(self, call: Call) -> dict[str, Any]:
        """DescribeImages by id."""
        rows = [
            {
                "ImageId": image,
                "Architecture": self.architecture_of(call.region, image),
                "RootDeviceName": "/dev/sda1",
                "RootDeviceType": "ebs",
                "State": "available",
                "VirtualizationType": "hvm",
            }
            for image in call.params.get("ImageIds", ())
        ]
        return {"Images": rows}

    # Security groups

    def groups(self, call: Call) -> dict[str, Any]:
        """DescribeSecurityGroups."""
        with self._lock:
            held = [group for group in self._groups.values() if group.region == call.region]
            wanted = call.params.get("GroupIds")
            if wanted is not None:
                held = [self.group(call.region, each) for each in wanted]
            fields = {
                "group-name": lambda group: [group.name],
                "group-id": lambda group: [group.id],
                "vpc-id": lambda group: [group.vpc],
            }
            kept = filtered(held, call.params, fields, lambda group: group.tags)
            page = paged(call, kept, "SecurityGroups", most=1000)
            return {**page, "SecurityGroups": [_shown(group) for group in page["SecurityGroups"]]}

    def group(self, region: str, group_id: str) -> Group:
        """Raises: AwsError."""
        found = self._groups.get(group_id)
        if found is None or found.region != region:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        return found

    def create_group(self, call: Call) -> dict[str, Any]:
        """CreateSecurityGroup."""
        params, vpc = call.params, call.params.get("VpcId", self.vpc(call.region))
        if vpc != self.vpc(call.region):
            raise AwsError("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")
        with self._lock:
            for group in self._groups.values():
                if (group.region, group.vpc, group.name) == (call.region, vpc, params["GroupName"]):
                    text = f"The security group '{group.name}' already exists for VPC '{vpc}'"
                    raise AwsError("InvalidGroup.Duplicate", text)
            made = Group(
                id=made_id("sg", call.region, vpc, params["GroupName"], len(self._groups)),
                name=params["GroupName"],
                description=params["Description"],
                region=call.region,
                vpc=vpc,
                tags=tags_of(params, "security-group"),
            )
            self._groups[made.id] = made
        return {"GroupId": made.id, "Tags": _tag_list(made.tags)}

    def authorise(self, call: Call) -> dict[str, Any]:
        """AuthorizeSecurityGroupIngress."""
        with self._lock:
            group = self.group(call.region, call.params.get("GroupId", ""))
            rules = [rule for each in call.params.get("IpPermissions", ()) for rule in _single(each)]
            if any(rule in group.rules for rule in rules):
                raise AwsError("InvalidPermission.Duplicate", "the specified rule already exists")
            group.rules += rules
        return {"Return": True}

    def revoke(self, call: Call) -> dict[str, Any]:
        """RevokeSecurityGroupIngress."""
        with self._lock:
            group = self.group(call.region, call.params.get("GroupId", ""))
            rules = [rule for each in call.params.get("IpPermissions", ()) for rule in _single(each)]
            if any(rule not in group.rules for rule in rules):
                raise AwsError(
                    "InvalidPermission.NotFound", "The specified rule does not exist in this security group."
                )
            group.rules = [rule for rule in group.rules if rule not in rules]
        return {"Return": True}

    def opened(self) -> dict[str, list[dict[str, Any]]]:
        """The rules of every group by its name, for tests to look at."""
        with self._lock:
            return {group.name: list(group.rules) for group in self._groups.values()}


def tags_of(params: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The tags that a request gives what it makes. Raises: AwsError for tags that EC2 does not take."""
    tags: dict[str, str] = {}
    for each in params.get("TagSpecifications", ()):
        if each.get("ResourceType") == kind:
            tags |= {tag["Key"]: tag.get("Value", "") for tag in each.get("Tags", ())}
    check_tags(tags)
    return tags


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises: AwsError for tags that EC2 does not take."""
    if len(tags) > 50:
        raise AwsError("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    for key, value in tags.items():
        if not 0 < len(key) <= 128 or len(value) > 256:
            raise AwsError(
                "InvalidParameterValue", f"Tag {key[:20]!r} is too long: keys have 128 characters, values 256"
            )
        if key.startswith("aws:"):
            raise AwsError("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _single(permission: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One permission with one source each."""
    ports: dict[str, Any] = {
        name: permission[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in permission
    }
    kinds = ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds")
    rules = [{**ports, kind: [dict(source)]} for kind in kinds for source in permission.get(kind, ())]
    if not rules:
        raise AwsError("InvalidParameterValue", "a permission has at least one source")
    return rules


def _shown(group: Group) -> dict[str, Any]:
    """A group as EC2 describes it: rules of the same ports are one permission."""
    merged: dict[str, dict[str, Any]] = {}
    for rule in group.rules:
        ports: dict[str, Any] = {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in rule}
        one = merged.setdefault(
            repr(sorted(ports.items())),
            {**ports, "IpRanges": [], "Ipv6Ranges": [], "UserIdGroupPairs": [], "PrefixListIds": []},
        )
        for kind in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds"):
            for source in rule.get(kind, ()):
                owner = {"UserId": ACCOUNT} if kind == "UserIdGroupPairs" else {}
                one[kind].append({**owner, **source})
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": ACCOUNT,
        "VpcId": group.vpc,
        "IpPermissions": list(merged.values()),
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        "Tags": _tag_list(group.tags),
    }
