"""The settings of the Google Cloud provider: the table `[providers.gcp]` of the configuration file."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from orchestrator.domain.errors import ConfigError

AMBIENT, NONE = "ambient", "none"
PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
WORD = re.compile(r"[a-z0-9-]+")
FAMILIES = ("a2", "a3", "a4", "a4x", "g2", "g4", "n1")
# From memory of Google's Deep Learning VM images; any image with cloud-init and NVIDIA's driver will do.
IMAGE = "projects/deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2204-nvidia-580"


def _words(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) and WORD.fullmatch(word) for word in value):
        raise ConfigError(f"{place} is a list of names in lower case, not {value!r}")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """Where, as whom and in which project to buy, and what to open.

    `credentials` is a reference to a service account's key in JSON; "ambient" is Google's own search for credentials;
    "none" sends none, which a simulator takes. `advise` names machine types whose capacity as spot is asked about in
    every region: one call for each of them in each region.
    """

    project: str = ""
    credentials: str = AMBIENT
    compute_endpoint: str = "https://compute.googleapis.com"
    billing_endpoint: str = "https://cloudbilling.googleapis.com"
    ca_file: str = ""  # certificates to trust instead of the system's
    regions: tuple[str, ...] = field(default=(), metadata={"read": _words})  # none named: all
    families: tuple[str, ...] = field(default=FAMILIES, metadata={"read": _words})
    advise: tuple[str, ...] = field(default=(), metadata={"read": _words})
    control_cidr: str = ""  # IPv4 network that may log in by SSH; "" leaves it to the network's own rules
    network: str = "global/networks/default"
    subnetwork: str = ""  # "regions/R/subnetworks/S"; "" is the network's own in each region
    public_ip: bool = True
    ssh_port: int = 22
    image: str = IMAGE
    disk_gib: int = 100
    prices_kept_s: float = 3600.0  # Google renews its price list twice a day

    def __post_init__(self) -> None:
        if not PROJECT.fullmatch(self.project):
            raise ValueError(f"project is the id of a Google Cloud project, not {self.project!r}")
        if self.control_cidr:
            try:
                ipaddress.IPv4Network(self.control_cidr)
            except ValueError as error:
                raise ValueError(f"control_cidr is an IPv4 network such as 203.0.113.7/32: {error}") from error
        for name in ("compute_endpoint", "billing_endpoint"):
            if not getattr(self, name).startswith(("https://", "http://")):
                raise ValueError(f"{name} begins with https://, not {getattr(self, name)!r}")
        if not self.families:
            raise ValueError(f"families names at least one of {', '.join(FAMILIES)}")
        if not 0 < self.ssh_port < 65536:
            raise ValueError(f"ssh_port is from 1 to 65535, not {self.ssh_port}")
        if self.disk_gib < 50:
            raise ValueError(f"disk_gib is at least 50, which images with drivers take, not {self.disk_gib}")
        if self.prices_kept_s < 0:
            raise ValueError(f"prices_kept_s is at least 0, not {self.prices_kept_s}")
