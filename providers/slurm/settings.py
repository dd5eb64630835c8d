"""Settings of the Slurm provider: `[providers.slurm]` of the configuration file, with one table for each site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAME = "slurm"
HOURS_PER_YEAR = 8766.0
SLURM, PBS = "slurm", "pbs"
NO_TOKEN = "none"  # noqa: S105 - a word of the settings
C = TypeVar("C", bound="DataclassInstance")


def _tables(kind: type[C]) -> Callable[[object, str], object]:
    """Reads an array of tables, each into a `kind`."""

    def reader(value: object, place: str) -> tuple[C, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(each, dict) for each in value):
            raise ConfigError(f"{place} is an array of tables, not {value!r}")
        tables = cast("list[dict[str, Any]]", value)
        return tuple(read(kind, table, where=f"{place}[{number}]") for number, table in enumerate(tables))

    return reader


def _keys(value: object, place: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) and each for each in (*value, *value.values())):
        raise ConfigError(f"{place} is a table of host keys by machine, not {value!r}")
    return dict(value)


def _words(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(f"{place} is a list of names, not {value!r}")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Rate:
    """What an hour of one GPU of a kind costs whoever owns it.

    `usd_per_gpu_hour` where it is known; else, with a year of 8 766 hours and `utilisation` the share of hours in use,

        (usd_per_gpu / years + staff_usd_per_year) / (8766 * utilisation) + watts / 1000 * pue * usd_per_kwh

    `usd_per_gpu` and `watts` are of one GPU with its share of the node, the network and the room.
    """

    gres: str = ""  # the site's word: "a100" of "gpu:a100:8"
    accelerator: str = ""  # what it is, where the word does not say: "A100-80GB"
    usd_per_gpu_hour: float = 0.0
    usd_per_gpu: float = 0.0
    years: float = 5.0
    utilisation: float = 0.7
    watts: float = 0.0
    pue: float = 1.3
    usd_per_kwh: float = 0.0
    staff_usd_per_year: float = 0.0  # for each GPU

    def __post_init__(self) -> None:
        for name in ("usd_per_gpu_hour", "usd_per_gpu", "watts", "usd_per_kwh", "staff_usd_per_year"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}")
        if not (self.years > 0 and 0 < self.utilisation <= 1 and self.pue >= 1):
            raise ValueError("years is above 0, utilisation above 0 and at most 1, pue at least 1")
        if not self.price > 0:
            raise ValueError(
                f"the rate of {self.gres or 'a GPU'} comes to nothing: a free offer would beat every other"
            )

    @property
    def price(self) -> float:
        """USD for an hour of one GPU."""
        if self.usd_per_gpu_hour:
            return self.usd_per_gpu_hour
        kept = (self.usd_per_gpu / self.years + self.staff_usd_per_year) / (HOURS_PER_YEAR * self.utilisation)
        return kept + self.watts / 1000.0 * self.pue * self.usd_per_kwh


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """One Slurm cluster, and how it is reached."""

    name: str = ""  # the region of its offers
    system: str = "slurm"  # or "pbs": docs/providers/pbs.md
    login: str = ""  # "user@host" or "user@host:port"; "" where Slurm's commands run on this machine
    identity: str = ""  # the file of the private key
    host_key: str = ""  # of the login node, "ssh-ed25519 AAAA..."
    jump: str = ""  # a machine on the way, "user@host:port"
    jump_identity: str = ""
    jump_host_key: str = ""
    folder: str = "~/.isoflop/slurm"  # on a file system that login node and compute nodes share
    slurm_conf: str = ""  # $SLURM_CONF, where the commands do not find it by themselves
    rest: str = ""  # slurmrestd, as the login node reaches it: "http://127.0.0.1:6820" or "unix:/path"; "" is commands
    rest_token: str = ""  # a reference; "" is one that `scontrol token` makes, "none" that the socket knows us
    rest_user: str = ""  # who we are there, where the token does not say
    gpu_resource: str = "ngpus"  # of PBS: the resource that counts GPUs
    gpu_kind: str = "gpu_model"  # of PBS: the resource that says which
    node_host_keys: Mapping[str, str] = field(
        default_factory=dict, metadata={"read": _keys}
    )  # of PBS: by machine, or "*"
    partitions: tuple[str, ...] = field(default=(), metadata={"read": _words})  # () is every one that is up
    account: str = ""
    qos: str = ""
    walltime_h: float = 24.0  # the longest that is asked for; the partition's limit bounds it, say a QOS's here
    queue_up_to_s: float = 0.0  # the longest wait to be put up with; 0 buys what is free now
    fabric: str = ""  # node-to-node network: "infiniband"
    boot_s: float = 15.0  # from submission to a usable allocation, where there is no queue
    warn_s: float = 600.0  # before its end an allocation is asked back; at most a quarter of its walltime
    command_timeout_s: float = 60.0
    rates: tuple[Rate, ...] = field(default=(), metadata={"read": _tables(Rate)})

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError(f"name is a word of letters, digits, '-', '_' and '.', not {self.name!r}")
        for name in ("walltime_h", "command_timeout_s"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")
        for name in ("queue_up_to_s", "boot_s", "warn_s"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}")
        for login, key in ((self.login, self.host_key), (self.jump, self.jump_host_key)):
            if login:
                parts(login)
                if not key:
                    raise ValueError(
                        f"the host key of {login} is needed: ssh-keyscan shows it; compare it with the site's"
                    )
        self._check_rest()
        self._check_system()
        words = [rate.gres for rate in self.rates]
        if len(words) != len(set(words)):
            raise ValueError("two rates are of the same gres")

    def node_host_key(self, node: str) -> str:
        """The host key of a machine that is logged in to, or ""."""
        return self.node_host_keys.get(node) or self.node_host_keys.get("*", "")

    def _check_system(self) -> None:
        if self.system not in {SLURM, PBS}:
            raise ValueError(f'system is "{SLURM}" or "{PBS}", not {self.system!r}')
        if self.system == SLURM and self.node_host_keys:
            raise ValueError(f'node_host_keys are of a site whose system is "{PBS}"')
        if self.system == PBS and (self.rest or self.qos or self.slurm_conf):
            raise ValueError("rest, qos and slurm_conf are Slurm's")
        if self.system == PBS and not self.login:
            raise ValueError("a site with PBS needs a login node: its machines are logged in to through it")
        for name in (self.gpu_resource, self.gpu_kind):
            if not name.replace("_", "").isalnum():
                raise ValueError(f"a resource of PBS is a word of letters, digits and '_', not {name!r}")

    def _check_rest(self) -> None:
        if not self.rest:
            return
        rest_place(self.rest)
        if not self.login and self.rest.startswith("http://") and not _here(self.rest):
            raise ValueError(f"{self.rest} would be shown our token in the clear: https, or through a login node")
        if self.rest_token == NO_TOKEN and not self.rest_user:
            raise ValueError("rest_user is needed: without a token nothing says who we are")


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """The sites."""

    sites: tuple[SiteSettings, ...] = field(default=(), metadata={"read": _tables(SiteSettings)})

    def __post_init__(self) -> None:
        if not self.sites:
            raise ValueError("sites is empty; docs/providers/slurm.md has an example")
        names = [site.name for site in self.sites]
        if len(names) != len(set(names)):
            raise ValueError("two sites have the same name")


def rest_place(rest: str) -> tuple[str, str]:
    """The base URL of a slurmrestd, and "host:port" or the socket's path to connect to. Raises: ValueError."""
    if rest.startswith("unix:/"):
        return "http://localhost", rest.removeprefix("unix:")
    found = urlsplit(rest)
    if found.scheme not in {"http", "https"} or not found.hostname or found.username or found.query or found.fragment:
        raise ValueError(f"rest is http://host:port, https://host:port or unix:/path, not {rest!r}")
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return rest.rstrip("/"), f"{host}:{found.port or (443 if found.scheme == 'https' else 80)}"


def _here(rest: str) -> bool:
    return urlsplit(rest).hostname in {"127.0.0.1", "::1", "localhost"}


def parts(login: str) -> tuple[str, str, int]:
    """User, host and port of "user@host:port". Raises: ValueError."""
    user, _, place = login.rpartition("@")
    host, _, port = place.partition(":")
    if not user or not host or not (port or "22").isdigit():
        raise ValueError(f"a login is user@host or user@host:port, not {login!r}")
    return user, host, int(port or "22")
