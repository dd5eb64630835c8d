"""Starts the simulated clouds on this machine and says how to point every adapter at them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Protocol, Self

from orchestrator.simulation.clouds.control import Control, application
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.serving import Servers, Tls, make_tls
from orchestrator.simulation.clouds.wire import Asgi, Wire

CONTROL = "control"
LOOK_S = 60.0  # for a look at every region of every cloud, which one machine serves
# The module of each cloud: it has `create` and `settings` of VendorModule.
VENDORS: Mapping[str, str] = MappingProxyType(
    {
        "aws": "orchestrator.simulation.clouds.aws.app",
        "azure": "orchestrator.simulation.clouds.azure.app",
        "coreweave": "orchestrator.simulation.clouds.coreweave.app",
        "gcp": "orchestrator.simulation.clouds.gcp.app",
        "lambda": "orchestrator.simulation.clouds.lambda_cloud.app",
    }
)
SECURED = frozenset({"azure"})  # its SDK sends a token over TLS alone


class VendorModule(Protocol):
    """What the module of a simulated cloud has."""

    def create(self, market: Market, *, specs: Path | None = None) -> Wire:
        """The cloud in front of `market`; `specs` is the folder with vendors' specifications, if there is one."""
        ...

    def settings(self, url: str, folder: Path, *, ca_file: str = "") -> Mapping[str, object]:
        """The adapter's table of the configuration file for this cloud at `url`.

        Credentials are references to files that it writes into `folder`; they open nothing but this simulation.
        """
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """Where the clouds are."""

    urls: Mapping[str, str]  # by cloud, and of the levers as "control"
    tables: Mapping[str, Mapping[str, object]]  # of the configuration file, by provider

    def configuration(self) -> str:
        """The tables as TOML, to be put into a configuration file."""
        lines = [f"# Simulated clouds; their levers: {self.urls[CONTROL]}", "", "[market]", f"deadline_s = {LOOK_S:g}"]
        for name, table in self.tables.items():
            lines += ["", f"[providers.{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
        return "\n".join(lines) + "\n"


class Clouds:
    """The simulated clouds of one market; use it in a `with`."""

    def __init__(
        self,
        market: Market,
        folder: Path,
        *,
        names: Iterable[str] = VENDORS,
        specs: Path | None = None,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        """`folder` gets certificates and credentials; `ports` fixes ports by cloud, "control" among them."""
        self._folder, self._ports = folder, ports or {}
        self._modules: dict[str, VendorModule] = {name: importlib.import_module(VENDORS[name]) for name in names}
        self.market = market
        self.wires = {name: module.create(market, specs=specs) for name, module in self._modules.items()}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tls: dict[str, Tls] = {}
        if SECURED & self.wires.keys():
            made = make_tls(self._folder / "tls")
            tls = dict.fromkeys(SECURED, made)
        apps: dict[str, Asgi] = {**self.wires, CONTROL: application(Control(self.market, self.wires))}
        self._servers = self._open.enter_context(Servers(apps, ports=self._ports, tls=tls))
        self._tls = tls
        return self

    def served(self) -> Served:
        """Where everything is."""
        urls = self._servers.urls
        tables = {
            name: module.settings(
                urls[name],
                self._folder,
                ca_file=str(self._tls[name].authority) if name in self._tls else "",
            )
            for name, module in self._modules.items()
        }
        return Served(urls, tables)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def toml(value: object) -> str:
    """A value of a configuration table as TOML writes it. Raises: TypeError for what no table holds."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case list() | tuple():
            return f"[{', '.join(toml(item) for item in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{toml(str(key))} = {toml(item)}' for key, item in value.items())}}}"
    raise TypeError(f"{type(value).__name__} has no place in a configuration file")
