"""Settings of Azure: `[providers.azure]` of the configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from orchestrator.domain.errors import ConfigError

NAME = "azure"
AMBIENT = "ambient"
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
SUBNET = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/.+", re.I)
IDENTITY = re.compile(
    r"/subscriptions/[\w/.() -]+/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/[\w-]+", re.I
)
HTTPS = re.compile(r"https://[^/\s]+\S*")
IMAGE = re.compile(r"/\S+|[^:\s]+(:[^:\s]+){3}")
GROUP = re.compile(r"[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]")


def _regions(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item.isalnum() for item in value):
        raise ConfigError(f"{place} is a list of regions such as eastus, not {value!r}")
    return tuple(dict.fromkeys(item.lower() for item in value))


def _subnets(value: object, place: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place} is a table of regions and resource ids of subnets, not {value!r}")
    for region, subnet in value.items():
        if not isinstance(subnet, str) or not SUBNET.fullmatch(subnet):
            raise ConfigError(f"{place}.{region} is the resource id of a subnet, not {subnet!r}")
    return {str(region).lower(): subnet for region, subnet in value.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSettings:
    """Where and as whom we ask, what is read, and how machines are made.

    Without `subscription_id` there is the public price list to look at and nothing to buy.

    `client_secret` is a reference such as `env:AZURE_CLIENT_SECRET`; `ambient` is the SDK's own chain (environment,
    managed identity, `az login`). `regions` empty stands for all that the subscription has. `control_cidr` is the one
    address range that may reach a machine, at its SSH port alone; nothing is bought without it.
    """

    subscription_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    client_secret: str = AMBIENT
    authority: str = ""  # of the login; the public cloud's where empty
    endpoint_url: str = "https://management.azure.com"
    retail_url: str = "https://prices.azure.com"  # of the price list
    ca_file: str = ""  # PEM: whom to trust at a private endpoint
    regions: tuple[str, ...] = field(default=(), metadata={"read": _regions})
    currency: str = "USD"  # of the price list; converted by a dated rate
    zonal: bool = False  # offer zone by zone; otherwise Azure chooses the zone
    resource_group: str = "isoflop"
    control_cidr: str = ""
    subnets: Mapping[str, str] = field(default_factory=dict, metadata={"read": _subnets})  # of one's own, by region
    image: str = "microsoft-dsvm:ubuntu-hpc:2204:latest"  # publisher:offer:sku:version or a resource id
    disk_gib: int = 128
    disk_type: str = "StandardSSD_LRS"
    ssh_port: int = 22
    spot_max_usd_per_hour: float = -1.0  # above which Azure takes a spot machine back; -1: only for want of capacity
    end_identity: str = ""  # a user-assigned identity that may delete machines of the group: what ends them for good
    allocation_s: float = 60.0  # how long a purchase waits to hear whether there was capacity

    def __post_init__(self) -> None:
        for name, pattern, what in _FORMS:
            value = getattr(self, name)
            if value and not pattern.fullmatch(value):
                raise ValueError(f"{name} is {what}, not {value!r}")
        if self.client_secret != AMBIENT and not (self.tenant_id and self.client_id):
            raise ValueError("client_secret needs tenant_id and client_id; without them it is ambient")
        if self.control_cidr and ip_network(self.control_cidr).prefixlen == 0:
            raise ValueError("control_cidr is the address range of the control plane, not everybody's")
        if not 1 <= self.ssh_port <= 65535:
            raise ValueError(f"ssh_port is from 1 to 65535, not {self.ssh_port}")
        for number in ("disk_gib", "allocation_s"):
            if getattr(self, number) <= 0:
                raise ValueError(f"{number} is above 0, not {getattr(self, number)}")


_FORMS = (
    ("subscription_id", GUID, "a GUID"),
    ("endpoint_url", HTTPS, "an address with https:// (Azure's SDK sends no token without TLS)"),
    ("retail_url", HTTPS, "an address with https://"),
    ("resource_group", GROUP, "a name of up to 90 letters, digits and ._-()"),
    ("end_identity", IDENTITY, "the resource id of a user-assigned identity"),
    ("image", IMAGE, "publisher:offer:sku:version or a resource id"),
)
