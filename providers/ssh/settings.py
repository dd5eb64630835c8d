"""Settings of the ssh provider: `[providers.ssh]` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

NAME = "ssh"


@dataclass(frozen=True, slots=True)
class SshSettings:
    """Where the fleet is written down, and how patient we are with it."""

    fleet: str = ""  # the file with the hosts, YAML
    probe_age_s: float = 600.0  # hardware is looked at again when its last look is older
    command_timeout_s: float = 30.0  # a command on a host that takes longer counts as no answer
    quiet_s: float = 20.0  # a host that did not answer is left alone for so long
    lost_after_s: float = 300.0  # a host silent for so long, while others answer, is given up with what runs there
    min_disk_gib: float = 1.0  # a host with less free takes no job
    link_age_s: float = 3600.0  # round trips are measured again after this
    bandwidth_age_s: float = 86400.0  # and bandwidth after this
    bandwidth_mib: float = 4.0  # sent each way for a measurement; 0 measures none
    here: str = ""  # the place of this control plane, such as "Frankfurt"; links then end there

    def __post_init__(self) -> None:
        if not self.fleet:
            raise ValueError("fleet is the path of the file with the hosts; docs/providers/ssh.md has an example")
        for name in ("probe_age_s", "quiet_s", "min_disk_gib", "link_age_s", "bandwidth_age_s", "bandwidth_mib"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"{name} is at least 0, not {value}")
        for name in ("command_timeout_s", "lost_after_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{name} is above 0, not {value}")
        if self.bandwidth_mib > 256:
            raise ValueError(f"bandwidth_mib is at most 256, not {self.bandwidth_mib:g}: a measurement is no load test")
