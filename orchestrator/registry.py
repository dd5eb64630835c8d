"""Finds providers, policies and launchers by entry point: the core knows none of them by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Protocol, cast

from orchestrator.domain.contracts import (
    Capability,
    DescribesAccelerators,
    LauncherFactory,
    PolicyFactory,
    Provider,
    ProviderFactory,
    Surveys,
    WarnsOfReclaim,
)
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.spelling import hint

PROVIDERS = "isoflop.providers"
POLICIES = "isoflop.policies"
LAUNCHERS = "isoflop.launchers"


def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of `group` by name.

    Raises: ConfigError where two installed packages claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in _points().select(group=group):
        known = found.setdefault(point.name, point)
        if known.value != point.value:
            raise ConfigError(f"two installed packages call their {group} {point.name!r}: {known.value}, {point.value}")
    return found


class _Installed(Protocol):
    """What `entry_points` returns, by whatever class of Python's versions."""

    def select(self, *, group: str) -> EntryPoints: ...


@cache
def _points() -> _Installed:
    """Those of every installed package, looked for once: what is installed later is for the next process."""
    return entry_points()


def provider_factory(name: str) -> ProviderFactory:
    """The factory of the provider called `name`. Raises: ConfigError where none is installed."""
    return cast(ProviderFactory, _load(PROVIDERS, name))


def policy_factories() -> dict[str, PolicyFactory]:
    """Every installed policy's factory by name, in the order of names."""
    return {name: cast(PolicyFactory, point.load()) for name, point in sorted(installed(POLICIES).items())}


def launcher_factories() -> dict[str, LauncherFactory]:
    """Every installed launcher's factory by name."""
    return {name: cast(LauncherFactory, point.load()) for name, point in sorted(installed(LAUNCHERS).items())}


def capabilities(provider: Provider) -> frozenset[Capability]:
    """What `provider` can do beyond the four verbs."""
    offered = {
        Capability.WARNS_OF_RECLAIM: isinstance(provider, WarnsOfReclaim),
        Capability.DESCRIBES_ACCELERATORS: isinstance(provider, DescribesAccelerators),
        Capability.SURVEYS: isinstance(provider, Surveys),
    }
    return frozenset(capability for capability, has in offered.items() if has)


def _load(group: str, name: str) -> object:
    known = installed(group)
    if name not in known:
        kind = group.removeprefix("isoflop.").removesuffix("s")
        raise ConfigError(f"no {kind} is called {name!r} ({hint(name, known)})")
    return known[name].load()
