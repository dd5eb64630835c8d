"""The settings of the CoreWeave provider: the table `[providers.coreweave]` of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing


@dataclass(frozen=True, slots=True)
class Rate:
    """What you pay for a node of `instance_type` in the zones that match `zone`, by contract or by a price list.

    The facts of the type are needed where the bundled price book does not know it: its accelerator, and how many.
    """

    instance_type: str = ""
    zone: str = "*"  # a pattern: "US-EAST-04A", "EU-*"
    billing: Billing = Billing.ON_DEMAND  # or spot, reserved
    usd_per_hour: float = 0.0
    accelerator: str = ""
    gpus: float = 0.0
    vcpus: float = 0.0
    host_memory_gib: float = 0.0

    def __post_init__(self) -> None:
        if not self.instance_type:
            raise ValueError("instance_type is needed")
        if self.usd_per_hour <= 0:
            raise ValueError(f"usd_per_hour of {self.instance_type} is above 0, not {self.usd_per_hour}")
        if self.billing is Billing.OWNED:
            raise ValueError("billing is on-demand, spot or reserved")
        for name in ("gpus", "vcpus", "host_memory_gib"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}")

    def concerns(self, zone: str) -> bool:
        """Whether it is for `zone`."""
        return fnmatchcase(zone, self.zone)


def _rates(value: object, place: str) -> tuple[Rate, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{place} is a list of tables, not {value!r}")
    rates = []
    for number, item in enumerate(value, start=1):
        if not isinstance(item, Mapping):
            raise ConfigError(f"{place}[{number}] is a table, not {item!r}")
        rates.append(read(Rate, item, where=f"{place}[{number}]"))
    return tuple(rates)


def _names(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{place} is a list of texts, not {value!r}")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class CoreWeaveSettings:
    """Where and as whom to call, in which clusters, and what it costs.

    `access_token` is a reference to a credential, never a credential.
    """

    access_token: str = "env:COREWEAVE_API_TOKEN"  # noqa: S105 - a reference
    endpoint_url: str = "https://api.coreweave.com"
    ca_file: str = ""  # certificates to trust instead of the system's, for all of CoreWeave's APIs
    clusters: tuple[str, ...] = field(default=(), metadata={"read": _names})  # names; none is all
    rates: tuple[Rate, ...] = field(default=(), metadata={"read": _rates})  # the first that fits counts
    list_prices: bool = True  # offer what the bundled price book knows, besides `rates`
    decide_s: float = 90.0  # the longest wait for CoreWeave to say whether a pool gets its nodes

    def __post_init__(self) -> None:
        if not self.endpoint_url.startswith(("https://", "http://")):
            raise ValueError(f"endpoint_url begins with https://, not {self.endpoint_url!r}")
        if self.decide_s <= 0:
            raise ValueError(f"decide_s is above 0, not {self.decide_s}")
