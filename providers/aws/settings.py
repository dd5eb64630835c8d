"""Settings of the AWS provider: `[providers.aws]` of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType

from orchestrator.domain.errors import ConfigError

AMBIENT = "ambient"
SERVICES = ("ec2", "pricing", "service-quotas", "ssm", "sqs")
# Families that carry an accelerator (G, P, Trn, Inf, DL), in EC2's wildcards.
FAMILIES = ("p*", "g*", "trn*", "inf*", "dl*")
# Types that are hard to come by: a placement score is worth one of the few questions a day.
SCORED = ("p4d.24xlarge", "p4de.24xlarge", "p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge")


def _texts(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise ConfigError(f"{place} is a list of texts, not {value!r}")
    return tuple(value)


def _endpoints(value: object, place: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(url, str) for url in value.values()):
        raise ConfigError(f"{place} is a table of addresses by service, not {value!r}")
    unknown = sorted(set(value) - set(SERVICES))
    if unknown:
        raise ConfigError(f"{place}: no service is called {unknown[0]!r} (known: {', '.join(SERVICES)})")
    return MappingProxyType(dict(value))


def _list(*default: str) -> tuple[str, ...]:
    return field(default=default, metadata={"read": _texts})


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """Which account, where in it, and what its machines are like.

    Credentials are references (`env:NAME`, `file:/path`); `ambient` leaves the choice to the SDK's own chain. Empty
    `regions` are all that are enabled for the account. Addresses of services are AWS's own where none is given.
    """

    access_key_id: str = AMBIENT
    secret_access_key: str = AMBIENT
    session_token: str = ""  # a reference too; "" where there is none
    regions: tuple[str, ...] = _list()
    home_region: str = ""  # where regions and placement scores are asked for; default: the first of `regions`
    pricing_region: str = "us-east-1"  # the price list is served in few regions
    instance_types: tuple[str, ...] = _list(*FAMILIES)  # EC2's wildcards
    endpoint_url: str = ""  # of every service, for a private endpoint or a simulated cloud
    endpoints: Mapping[str, str] = field(default_factory=dict, metadata={"read": _endpoints})  # by service
    ca_file: str = ""  # certificates to trust instead of the system's, for such an address
    image: str = ""  # "ami-...", or "ssm:/path" of a public parameter; "" is AWS's Deep Learning base image
    disk_gib: int = 0  # of the machine's first disk; 0 is the image's own size
    subnets: tuple[str, ...] = _list()  # "subnet-..."; empty is the default one of the zone
    security_group: str = ""  # "sg-..." of yours; "" makes one per owner and network
    control_cidr: str = ""  # the control plane's address, the only one that may open SSH: "203.0.113.7/32"
    ssh_port: int = 22  # of the image's SSH server
    public_addresses: bool = True  # machines are reached by a public address; else by their private one
    instance_profile: str = ""  # name of an IAM instance profile for the machines
    quotas: bool = True  # ask what the account may still buy
    placement_scores: tuple[str, ...] = _list(*SCORED)  # spot types to ask a placement score for; empty asks none
    placement_scores_age_h: float = 6.0  # AWS allows few such questions a day
    capacity_blocks: tuple[str, ...] = _list()  # types to list capacity blocks of; empty lists none
    capacity_block_hours: int = 24  # a multiple of 24
    spot_advisor_file: str = ""  # AWS's Spot Advisor feed as a file: how often spot machines are taken back
    reclaim_queue_url: str = ""  # an SQS queue that EventBridge's interruption warnings go to
    heed_rebalance: bool = False  # take a rebalance recommendation in that queue for a reclaim
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        if (self.access_key_id == AMBIENT) is not (self.secret_access_key == AMBIENT):
            raise ValueError("access_key_id and secret_access_key are given together, or both left to the SDK's chain")
        if self.control_cidr:
            ip_network(self.control_cidr)  # raises ValueError with a clear text
        if self.image and not self.image.startswith(("ami-", "ssm:/")):
            raise ValueError(f'image is "ami-..." or "ssm:/path", not {self.image!r}')
        if not 0 < self.ssh_port < 65536:
            raise ValueError(f"ssh_port is from 1 to 65535, not {self.ssh_port}")
        for name in ("connect_timeout_s", "read_timeout_s", "placement_scores_age_h"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")
        if self.disk_gib < 0:
            raise ValueError(f"disk_gib is at least 0, not {self.disk_gib}")
        if self.capacity_block_hours < 24 or self.capacity_block_hours % 24:
            raise ValueError(f"capacity_block_hours is a multiple of 24, not {self.capacity_block_hours}")
        if not self.instance_types:
            raise ValueError("instance_types names at least one type or pattern")

    @property
    def home(self) -> str:
        """The region that questions about all regions go to."""
        return self.home_region or (self.regions[0] if self.regions else "us-east-1")
