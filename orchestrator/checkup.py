"""What `isoflop doctor` looks at: the installation, the settings, and every adapter, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator import registry
from orchestrator.app import App
from orchestrator.config import Settings
from orchestrator.domain.errors import IsoflopError


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `isoflop doctor`."""

    subject: str
    ok: bool
    detail: str


def check(subject: str, probe: partial[str]) -> Check:
    """Run one probe; what it returns or raises is the detail."""
    try:
        return Check(subject, True, probe())
    except IsoflopError as error:
        return Check(subject, False, str(error))


def checks(app: App) -> Sequence[Check]:
    """What `isoflop doctor` looks at in the settings and adapters, each on its own."""
    settings = app.settings
    lines = [check("state folder", partial(_owner_line, settings)), check("store", partial(_store_line, app))]
    lines += [check(f"provider {name}", partial(_provider_line, app, name)) for name in settings.providers]
    off = sorted(set(registry.installed(registry.PROVIDERS)) - set(settings.providers))
    lines += [Check(f"provider {name}", True, f"off: [providers.{name}] is not in the settings") for name in off]
    lines += [check("policies", partial(_policies_line, app)), check("launchers", partial(_launchers_line, app))]
    return lines


def _owner_line(settings: Settings) -> str:
    return f"{settings.home}, owner {settings.owner}"


def _store_line(app: App) -> str:
    store = app.store()
    try:
        events = store.events()
        return f"{app.settings.store_url or app.settings.home / 'store.db'}, {len(events)} events"
    finally:
        store.close()


def _provider_line(app: App, name: str) -> str:
    provider = app.provider(name)
    able = ", ".join(sorted(registry.capabilities(provider))) or "the four verbs"
    return f"{len(provider.offers())} offers; {able}"


def _policies_line(app: App) -> str:
    return ", ".join(policy.name for policy in app.policies())


def _launchers_line(app: App) -> str:
    return ", ".join(app.launchers())
