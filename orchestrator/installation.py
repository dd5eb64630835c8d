"""Whether the three generic package names of this installation are ours alone (ADR 0001)."""

from __future__ import annotations

from importlib import metadata

from orchestrator.domain.errors import ConfigError

NAME = "isoflop"
PACKAGES = ("orchestrator", "providers", "policies")


def check_names() -> str:
    """A line that says whose the packages are. Asking takes a look at every installed file list: not for a hot path.

    Raises: ConfigError where another distribution installs a package of one of our names.
    """
    owners = metadata.packages_distributions()
    strangers = {package: sorted(set(owners.get(package, ())) - {NAME}) for package in PACKAGES}
    clashes = [f"{package} is also installed by {', '.join(others)}" for package, others in strangers.items() if others]
    if clashes:
        raise ConfigError(f"{'; '.join(clashes)}: install isoflop into an environment of its own")
    return f"{NAME} {metadata.version(NAME)}; {', '.join(PACKAGES)} are ours alone"
