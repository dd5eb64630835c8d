"""What a launch stands on: an image, a subnet and a security group of ours, found or made."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from ipaddress import ip_network
from typing import NamedTuple

from orchestrator.domain.errors import CapacityError, Scope, TransientError
from orchestrator.kit.documents import Document, readable
from orchestrator.kit.tags import OWNER
from providers.aws.client import Client, settled
from providers.aws.refusals import NAME
from providers.aws.settings import AwsSettings
from providers.aws.translate import Type

# Public parameters as many use them in 2026; AWS lists them by `aws ssm get-parameters-by-path --path /aws/service`.
GPU_IMAGE = "/aws/service/deeplearning/ami/{architecture}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
NEURON_IMAGE = "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id"
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]")  # of a security group


class Subnet(NamedTuple):
    """Where the machine's network interface is."""

    id: str
    vpc: str


class Ground:
    """Looked up once per process and place; `forget` after a launch that was refused for its parameters."""

    def __init__(self, client: Client, settings: AwsSettings, owner: str) -> None:
        self._client, self._settings, self._owner = client, settings, owner
        self._known: dict[tuple[str, ...], object] = {}
        self._lock = threading.Lock()

    def forget(self, region: str) -> None:
        """Look everything of `region` up again."""
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if key[1] != region}

    def image(self, region: str, kind: Type) -> str:
        """The machine image for `kind`. Raises: AuthError, CapacityError, TransientError."""
        wanted = self._settings.image
        if wanted.startswith("ami-"):
            return wanted
        usual = NEURON_IMAGE if kind.neuron else GPU_IMAGE.format(architecture=kind.architecture)
        name = wanted.removeprefix("ssm:") or usual
        found = self._once(("image", region, name), lambda: self._parameter(region, name))
        assert isinstance(found, str)  # noqa: S101 - put there by the line above
        return found

    def root_device(self, region: str, image: str) -> str:
        """The name of the image's first disk. Raises: AuthError, TransientError."""
        found = self._once(("disk", region, image), lambda: self._root_device(region, image))
        assert isinstance(found, str)  # noqa: S101
        return found

    def subnet(self, region: str, zone: str) -> Subnet:
        """A subnet in `zone`. Raises: AuthError, CapacityError where there is none, TransientError."""
        found = self._once(("subnet", region, zone), lambda: self._subnet(region, zone))
        assert isinstance(found, Subnet)  # noqa: S101
        return found

    def group(self, region: str, vpc: str) -> str:
        """Our security group in `vpc`, which is made where there is none. Raises: AuthError, TransientError."""
        if self._settings.security_group:
            return self._settings.security_group
        found = self._once(("group", region, vpc), lambda: self._group(region, vpc))
        assert isinstance(found, str)  # noqa: S101
        return found

    def _once(self, key: tuple[str, ...], find: Callable[[], object]) -> object:
        with self._lock:
            if key in self._known:
                return self._known[key]
        found = find()
        with self._lock:
            return self._known.setdefault(key, found)

    def _parameter(self, region: str, name: str) -> str:
        answer = settled(
            lambda: self._client.read("ssm", region, "GetParameter", Name=name), frozenset({"ParameterNotFound"}), None
        )
        if answer is None:
            raise CapacityError(NAME, f"{region} has no image {name}; set `image`", Scope.REGION)
        with readable(NAME, answer.place):
            return answer.within("Parameter").text("Value")

    def _root_device(self, region: str, image: str) -> str:
        rows = self._client.each("ec2", region, "DescribeImages", "Images", ImageIds=[image])
        with readable(NAME, region):
            return next((row.text("RootDeviceName") for row in rows), "/dev/sda1")

    def _subnet(self, region: str, zone: str) -> Subnet:
        wanted = self._settings.subnets
        filters = [{"Name": "availability-zone", "Values": [zone]}]
        filters += (
            [{"Name": "subnet-id", "Values": list(wanted)}]
            if wanted
            else [{"Name": "default-for-az", "Values": ["true"]}]
        )
        with readable(NAME, f"DescribeSubnets in {region}"):
            rows = list(self._client.each("ec2", region, "DescribeSubnets", "Subnets", Filters=filters))
            roomy = [row for row in rows if row.number("AvailableIpAddressCount", 1.0) > 0]
            if not roomy:
                which = "one of `subnets`" if wanted else "a default subnet"
                raise CapacityError(NAME, f"{zone} has not {which} with a free address", Scope.ZONE)
            best = max(roomy, key=lambda row: row.number("AvailableIpAddressCount", 1.0))
            return Subnet(best.text("SubnetId"), best.text("VpcId"))

    # The security group: nodes of one owner reach each other, the control plane reaches SSH, nobody else anything.

    def _group(self, region: str, vpc: str) -> str:
        name = NOT_IN_A_NAME.sub("_", f"isoflop-{self._owner}")[:255]
        found = self._find_group(region, vpc, name)
        if found is None:
            settled(lambda: self._create_group(region, vpc, name), frozenset({"InvalidGroup.Duplicate"}), None)
            found = self._find_group(region, vpc, name)
        if found is None:
            raise TransientError(NAME, f"{region}: the security group {name} was made and does not show yet", 5.0)
        with readable(NAME, found.place):
            self._close_and_open(region, found)
            return found.text("GroupId")

    def _find_group(self, region: str, vpc: str, name: str) -> Document | None:
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        return next(self._client.each("ec2", region, "DescribeSecurityGroups", "SecurityGroups", Filters=filters), None)

    def _create_group(self, region: str, vpc: str, name: str) -> Document:
        tags = [{"ResourceType": "security-group", "Tags": [{"Key": OWNER, "Value": self._owner[:256]}]}]
        return self._client.once(
            "ec2",
            region,
            "CreateSecurityGroup",
            GroupName=name,
            Description="isoflop: SSH from the control plane; nodes among themselves",
            VpcId=vpc,
            TagSpecifications=tags,
        )

    def _close_and_open(self, region: str, group: Document) -> None:
        """Make the group's rules ours and no others."""
        own = group.text("GroupId")
        wanted = {_rule(rule) for rule in self._rules(own)}
        there = [_permission(row) for row in group.each("IpPermissions")]
        held = {_rule(permission) for each in there for permission in each}
        stale = [permission for each in there for permission in each if _rule(permission) not in wanted]
        missing = [rule for rule in self._rules(own) if _rule(rule) not in held]
        if stale:
            self._client.once("ec2", region, "RevokeSecurityGroupIngress", GroupId=own, IpPermissions=stale)
        if missing:
            settled(
                lambda: self._client.once(
                    "ec2", region, "AuthorizeSecurityGroupIngress", GroupId=own, IpPermissions=missing
                ),
                frozenset({"InvalidPermission.Duplicate"}),
                None,
            )

    def _rules(self, group: str) -> list[dict[str, object]]:
        rules: list[dict[str, object]] = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
        if self._settings.control_cidr:
            rules.append(_ssh(self._settings.control_cidr, self._settings.ssh_port))
        return rules


def _ssh(cidr: str, port: int) -> dict[str, object]:
    network = ip_network(cidr)
    ranges = {4: ("IpRanges", "CidrIp"), 6: ("Ipv6Ranges", "CidrIpv6")}[network.version]
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, ranges[0]: [{ranges[1]: str(network)}]}


def _permission(row: Document) -> list[dict[str, object]]:
    """One permission of a group as rules with one source each: EC2 merges those of the same port."""
    ports: dict[str, object] = {"IpProtocol": row.text("IpProtocol")}
    if row.text("IpProtocol") != "-1":
        ports |= {name: int(row.number(name)) for name in ("FromPort", "ToPort") if name in row}
    sources = (
        ("IpRanges", "CidrIp"),
        ("Ipv6Ranges", "CidrIpv6"),
        ("UserIdGroupPairs", "GroupId"),
        ("PrefixListIds", "PrefixListId"),
    )
    return [
        {**ports, kind: [{name: source.text(name)}]}
        for kind, name in sources
        for source in row.each(kind)
        if name in source
    ]


def _rule(rule: dict[str, object]) -> str:
    return repr(sorted(rule.items()))
