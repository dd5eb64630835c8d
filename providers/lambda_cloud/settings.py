"""The settings of the Lambda provider: the table `[providers.lambda]` of the configuration file."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LambdaSettings:
    """Where and as whom to call, what to open, and how quickly.

    `api_key` and `self_destruct_key` are references to credentials, never credentials.
    """

    api_key: str = "env:LAMBDA_API_KEY"
    endpoint_url: str = "https://cloud.lambda.ai"
    ca_file: str = ""  # certificates to trust instead of the system's
    control_cidr: str = ""  # IPv4 network that may log in by SSH; "" leaves it to the account's own firewall rules
    image_family: str = ""  # "" is Lambda's default, the newest Lambda Stack
    ssh_port: int = 22
    self_destruct_key: str = ""  # an API key that is put on the machine, so that it can end its own bill
    request_spacing_s: float = 1.05  # Lambda allows one request a second
    launch_spacing_s: float = 12.1  # and one launch every 12
    settle_s: float = 60.0  # how long a new instance may be missing from listings

    def __post_init__(self) -> None:
        if self.control_cidr:
            try:
                ipaddress.IPv4Network(self.control_cidr)
            except ValueError as error:
                raise ValueError(f"control_cidr is an IPv4 network such as 203.0.113.7/32: {error}") from error
        if not self.endpoint_url.startswith(("https://", "http://")):
            raise ValueError(f"endpoint_url begins with https://, not {self.endpoint_url!r}")
        if not 0 < self.ssh_port < 65536:
            raise ValueError(f"ssh_port is from 1 to 65535, not {self.ssh_port}")
        for name in ("request_spacing_s", "launch_spacing_s", "settle_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}")
