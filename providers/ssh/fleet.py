"""The fleet file: hosts, sites and reference points in YAML, read strictly and with the line of every fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import yaml

from orchestrator.domain.errors import ConfigError, Problem
from orchestrator.domain.offer import Tier
from orchestrator.domain.spelling import hint

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
KEY = re.compile(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*( .*)?")
FOLDER = ".isoflop-host"
LARGEST = 4 << 20  # bytes; ten thousand hosts take two

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHost:
    """One host as its owner wrote it down."""

    name: str
    line: int
    address: str
    user: str
    port: int = 22
    site: str = ""  # the region of its offers
    identity: str = ""  # a private key's file; "" leaves it to the SSH agent
    host_key: str = ""  # "" where it is pinned by `isoflop hosts trust`
    jump: str = ""  # the name of the host that it is reached through
    usd_per_hour: float = 0.0  # the owner's price for the whole host
    folder: str = FOLDER  # of ours there; relative to the user's home
    gateway: bool = False  # others are reached through it; it takes no jobs itself
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def label(self) -> str:
        """`user@host:port`."""
        return f"{self.user}@{self.address}" + (f":{self.port}" if self.port != 22 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSite:
    """Where hosts stand; the coordinates are None where nobody wrote them down."""

    name: str
    latitude: float | None = None
    longitude: float | None = None
    country: str = ""
    jurisdictions: tuple[str, ...] = ()
    tier: Tier = Tier.EDGE
    fabric: str = ""  # between the hosts of the site: "ethernet", "infiniband"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts by name, sites by name, and addresses (host, port) to which hosts measure round trips, by place."""

    hosts: Mapping[str, FleetHost]
    sites: Mapping[str, FleetSite]
    reference: Mapping[str, tuple[str, int]]


class _Fault(Exception):
    """One thing wrong at a node of the file."""

    def __init__(self, node: yaml.Node, field_: str, message: str, advice: str = "") -> None:
        mark = node.start_mark
        super().__init__(message)
        self.problem = Problem(mark.line + 1, mark.column + 1, field_, message, advice)


class _Field(NamedTuple):
    read: Callable[[yaml.Node, str], object]
    needed: bool = False


def load(path: Path) -> Fleet:
    """The fleet in a file. Raises: ConfigError with every fault, each with file, line and column."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the fleet file {path} cannot be read: {error.strerror or error}") from error
    if len(data) > LARGEST:
        raise ConfigError(f"the fleet file {path} is larger than {LARGEST >> 20} MiB")
    try:
        return parse(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"the fleet file {path} is no UTF-8 text") from error


def parse(text: str, file: str) -> Fleet:
    """The fleet that `text` says. Raises: ConfigError, as `load`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
        raise ConfigError(f"{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file}: {error}") from error
    reader = _Reader()
    fleet = reader.fleet(root) if root is not None else None
    if fleet is None or reader.problems:
        if not reader.problems:
            raise ConfigError(f"{file}: there are no hosts in it; docs/providers/ssh.md has an example")
        raise ConfigError("\n".join(problem.render(file) for problem in reader.problems))
    return fleet


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def fleet(self, root: yaml.Node) -> Fleet | None:
        try:
            parts = dict(_pairs(root, "", ("hosts", "sites", "defaults", "reference")))
        except _Fault as fault:
            self.problems.append(fault.problem)
            return None
        defaults = self._fields(parts.get("defaults"), "defaults", DEFAULTS)
        sites = {}
        for name, node in self._items(parts.get("sites"), "sites"):
            found = self._fields(node, f"sites.{name}", SITE)
            sites[name] = self._site(name, node, found)
        hosts = {}
        for name, node in self._items(parts.get("hosts"), "hosts"):
            hosts[name] = self._host(name, node, defaults)
        reference = {}
        for name, node in self._items(parts.get("reference"), "reference"):
            with _collected(self.problems):
                reference[name] = _target(node, f"reference.{name}")
        if "hosts" not in parts or not hosts:
            self._add(root, "hosts", "there are no hosts")
        self._check_jumps(hosts, parts)
        for host in hosts.values():
            if host.site not in sites:
                sites[host.site] = FleetSite(name=host.site)
        return Fleet(hosts, sites, reference)

    def _add(self, node: yaml.Node, field_: str, message: str, advice: str = "") -> None:
        self.problems.append(_Fault(node, field_, message, advice).problem)

    def _items(self, node: yaml.Node | None, place: str) -> Iterator[tuple[str, yaml.Node]]:
        """Names and what stands under them."""
        if node is None:
            return
        try:
            pairs = _pairs(node, place)
        except _Fault as fault:
            self.problems.append(fault.problem)
            return
        for name, value in pairs:
            good = HOST_NAME.fullmatch(name) if place == "hosts" else name and not (CONTROL.search(name) or "/" in name)
            if good:
                yield name, value
            else:
                rule = "letters, digits, '.', '_' and '-'" if place == "hosts" else "printable text without '/'"
                self._add(value, place, f"{name!r} is no name", f"a name is {rule}")

    def _fields(self, node: yaml.Node | None, place: str, known: Mapping[str, _Field]) -> dict[str, object]:
        found: dict[str, object] = {}
        if node is None or _is_null(node):
            pairs: list[tuple[str, yaml.Node]] = []
        else:
            try:
                pairs = _pairs(node, place, known)
            except _Fault as fault:
                self.problems.append(fault.problem)
                return found
        for name, value in pairs:
            with _collected(self.problems):
                found[name] = known[name].read(value, f"{place}.{name}")
        if node is not None:
            written = {name for name, _ in pairs}
            for name, each in known.items():
                if each.needed and name not in written:
                    self._add(node, f"{place}.{name}", "is missing")
        return found

    def _site(self, name: str, node: yaml.Node, found: Mapping[str, object]) -> FleetSite:
        if ("latitude" in found) != ("longitude" in found):
            self._add(node, f"sites.{name}", "latitude and longitude come together")
        return FleetSite(name=name, **found)  # type: ignore[arg-type]  # read by SITE, field by field

    def _host(self, name: str, node: yaml.Node, defaults: Mapping[str, object]) -> FleetHost:
        found = {**defaults, **self._fields(node, f"hosts.{name}", HOST)}
        labels = {**_labels_of(defaults), **_labels_of(found)}
        for need in ("user", "site"):
            if not found.get(need) and not (need == "site" and found.get("gateway")):
                self._add(node, f"hosts.{name}.{need}", "is missing", "on the host, or under defaults")
        if not found.get("usd_per_hour") and not found.get("gateway"):
            message, why = "is missing", "what its owner wants for an hour of it, above 0: power, wear and work"
            self._add(node, f"hosts.{name}.usd_per_hour", message, why)
        given = {"address": "", "user": "", **found, "labels": MappingProxyType(labels)}
        return FleetHost(name=name, line=node.start_mark.line + 1, **given)  # type: ignore[arg-type]  # by HOST

    def _check_jumps(self, hosts: Mapping[str, FleetHost], parts: Mapping[str, yaml.Node]) -> None:
        nodes = dict(_pairs(parts["hosts"], "hosts")) if hosts else {}
        for host in hosts.values():
            seen, at = {host.name}, host
            while at.jump:
                if at.jump not in hosts:
                    if at is host:
                        advice = hint(at.jump, hosts)
                        self._add(nodes[host.name], f"hosts.{host.name}.jump", f"no host is called {at.jump!r}", advice)
                    break
                if at.jump in seen:
                    self._add(nodes[host.name], f"hosts.{host.name}.jump", "leads back to itself")
                    break
                seen.add(at.jump)
                at = hosts[at.jump]


class _collected:
    """Keeps a fault and goes on."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, _Fault):
            self._problems.append(error.problem)
            return True
        return False


def _pairs(node: yaml.Node, place: str, known: object = None) -> list[tuple[str, yaml.Node]]:
    """Keys and values of a mapping, each key once and, with `known`, a known one."""
    if not isinstance(node, yaml.MappingNode):
        raise _Fault(node, place, "is no table of `name: value`")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Fault(key, place, "a name is a text")
        name = str(key.value)
        if name in found:
            raise _Fault(key, place, f"{name!r} stands there twice")
        if known is not None and name not in known:  # type: ignore[operator]  # a collection of names
            raise _Fault(key, place, f"unknown field {name!r}", hint(name, known))  # type: ignore[arg-type]
        found[name] = value
    return list(found.items())


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _text(node: yaml.Node, place: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or _is_null(node):
        raise _Fault(node, place, "is a text")
    value = str(node.value)
    if CONTROL.search(value):
        raise _Fault(node, place, f"{value!r} holds a line break or another control character")
    return value


def _word(node: yaml.Node, place: str) -> str:
    value = _text(node, place)
    if not value or value.startswith("-") or any(letter.isspace() for letter in value):
        raise _Fault(node, place, f"{value!r} is no such thing", "one word that does not begin with '-'")
    return value


def _filled(node: yaml.Node, place: str) -> str:
    value = _text(node, place)
    if not value.strip():
        raise _Fault(node, place, "is empty")
    return value


def _region(node: yaml.Node, place: str) -> str:
    value = _filled(node, place)
    if "/" in value:
        raise _Fault(node, place, f"{value!r} holds a '/'", "places are called provider/site")
    return value


def _number(low: float, high: float) -> Callable[[yaml.Node, str], float]:
    def read(node: yaml.Node, place: str) -> float:
        try:
            value = float(_text(node, place))
        except ValueError:
            value = float("nan")
        if not (isfinite(value) and low <= value <= high):
            raise _Fault(node, place, f"is a number from {low:g} to {high:g}, not {_shown(node)}")
        return value

    return read


def _price(node: yaml.Node, place: str) -> float:
    value = _number(0.0, 1e6)(node, place)
    if value <= 0:
        raise _Fault(node, place, "is above 0", "a host that costs nothing would beat every other")
    return value


def _port(node: yaml.Node, place: str) -> int:
    value = _text(node, place)
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise _Fault(node, place, f"is a port, not {value!r}")
    return int(value)


def _flag(node: yaml.Node, place: str) -> bool:
    value = _text(node, place)
    if value not in {"true", "false"}:
        raise _Fault(node, place, f"is true or false, not {value!r}")
    return value == "true"


def _tier(node: yaml.Node, place: str) -> Tier:
    value = _text(node, place)
    if value not in set(Tier):
        raise _Fault(node, place, f"is one of {', '.join(Tier)}, not {value!r}")
    return Tier(value)


def _key(node: yaml.Node, place: str) -> str:
    value = _text(node, place).strip()
    if not KEY.fullmatch(value):
        raise _Fault(node, place, "is a public key, as in 'ssh-ed25519 AAAA...'", "`ssh-keyscan HOST` shows keys")
    return value


def _identity(node: yaml.Node, place: str) -> str:
    path = Path(_filled(node, place)).expanduser()
    if not path.is_file():
        raise _Fault(node, place, f"there is no file {str(path)!r}", "the private key that opens the host")
    return str(path.absolute())


def _labels(node: yaml.Node, place: str) -> Mapping[str, str]:
    return {name: _text(value, f"{place}.{name}") for name, value in _pairs(node, place)}


def _labels_of(found: Mapping[str, object]) -> Mapping[str, str]:
    labels = found.get("labels")
    return labels if isinstance(labels, Mapping) else {}


def _words(node: yaml.Node, place: str) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise _Fault(node, place, "is a list of texts")
    return tuple(_word(each, place) for each in node.value)


def _target(node: yaml.Node, place: str) -> tuple[str, int]:
    address, colon, port = _word(node, place).rpartition(":")
    if not (colon and address and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _Fault(node, place, f"is HOST:PORT, not {_shown(node)}")
    return address.strip("[]"), int(port)


def _shown(node: yaml.Node) -> str:
    return repr(str(node.value)[:40]) if isinstance(node, yaml.ScalarNode) else "a list or a table"


HOST: Mapping[str, _Field] = MappingProxyType(
    {
        "address": _Field(_word, needed=True),
        "user": _Field(_word),
        "port": _Field(_port),
        "site": _Field(_region),
        "identity": _Field(_identity),
        "host_key": _Field(_key),
        "jump": _Field(_word),
        "usd_per_hour": _Field(_price),
        "folder": _Field(_filled),
        "gateway": _Field(_flag),
        "labels": _Field(_labels),
    }
)
DEFAULTS: Mapping[str, _Field] = MappingProxyType({name: each for name, each in HOST.items() if name != "address"})
SITE: Mapping[str, _Field] = MappingProxyType(
    {
        "latitude": _Field(_number(-90.0, 90.0)),
        "longitude": _Field(_number(-180.0, 180.0)),
        "country": _Field(_word),
        "jurisdictions": _Field(_words),
        "tier": _Field(_tier),
        "fabric": _Field(_word),
    }
)
