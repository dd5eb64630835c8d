"""`isoflop hosts`: machines of one's own by name: how they are, whom they serve, by which keys they are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

import typer

from orchestrator.app import App
from orchestrator.domain.errors import UserError
from orchestrator.domain.hosts import KeepsHosts
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.hosts_view import HostsReport, KeyReport
from orchestrator.interfaces.views.page import good, warn
from orchestrator.interfaces.views.said_view import Said

USUAL = "ssh"
Names = Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="Names of the fleet file; default: all.")]
Name = Annotated[str, typer.Argument(metavar="HOST", help="A name of the fleet file.")]
Keeper = Annotated[
    str, typer.Option("--provider", "-p", metavar="NAME", help="The provider of the settings that has the hosts.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_hosts(names: Names = None, *, provider: Keeper = USUAL, as_json: AsJson = False) -> None:
    """List hosts: free, leased and by whom, unfit, silent; hardware as last looked at.

    Exit codes: 0 (also where hosts are silent), or 2 for bad input or settings.
    """
    app = session.open_app()
    with _keeper(app, provider) as keeper, waiting("asking the hosts"):
        found = keeper.hosts(tuple(names or ()))
    choose(as_json).show(HostsReport(tuple(found), app.clock.now(), app.settings.owner))


def probe(names: Names = None, *, provider: Keeper = USUAL, as_json: AsJson = False) -> None:
    """Look at hosts again: GPUs, memory, disk, Python, clock, and the network to them.

    Exit codes: 0 (also where hosts are silent), or 2 for bad input or settings.
    """
    app = session.open_app()
    with _keeper(app, provider) as keeper, waiting("looking at the hosts"):
        found = keeper.hosts(tuple(names or ()), probe=True)
    choose(as_json).show(HostsReport(tuple(found), app.clock.now(), app.settings.owner, details=True))


def trust(
    name: Name,
    *,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", metavar="SHA256:...", help="Pin the key if it has this fingerprint.")
    ] = None,
    as_seen: Annotated[bool, typer.Option("--as-seen", help="Pin whatever key the host shows now.")] = False,
    provider: Keeper = USUAL,
    as_json: AsJson = False,
) -> None:
    """Show the key by which a host proves itself, and pin it: the first contact, or after it was set up anew.

    Without --fingerprint or --as-seen the key is shown and nothing is pinned. Compare the fingerprint with what
    `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the host itself.

    Exit codes: 0, 2 where the host shows another key than the fingerprint says, 4 where it does not answer.
    """
    app = session.open_app()
    with _keeper(app, provider) as keeper:
        with waiting(f"asking {name}"):
            key = keeper.host_key(name)
        if fingerprint is not None and fingerprint.strip() != key.fingerprint:
            raise UserError(f"{name} at {key.address} shows the key {key.fingerprint}, not {fingerprint.strip()}")
        pinned = fingerprint is not None or as_seen
        if pinned:
            keeper.trust(key)
    choose(as_json).show(KeyReport(key, pinned=pinned))


def forget(
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also give up our leases on it, if it is silent.")] = False,
    provider: Keeper = USUAL,
    as_json: AsJson = False,
) -> None:
    """Forget a host: its pinned key, hardware, network; with --force the leases on a host that died for good.

    Exit codes: 0, or 2 where it is unknown, or leased and --force is not given, or it answers.
    """
    app = session.open_app()
    with _keeper(app, provider) as keeper:
        leases = keeper.forget(name, force=force)
    said = [good(f"forgot {name}")]
    said += [warn(f"lease {lease_id} is given up: its run goes on elsewhere") for lease_id in leases]
    choose(as_json).show(Said(tuple(said), {"forgotten": name, "leases": list(leases)}))


def unlock(
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Do it; without this the lock is shown.")] = False,
    provider: Keeper = USUAL,
    as_json: AsJson = False,
) -> None:
    """Break the lock of a host whose owner never comes back: what runs under it is ended and its files removed.

    Exit codes: 0 (also where there is no lock), 2 without --force where there is one, 4 where it does not answer.
    """
    app = session.open_app()
    with _keeper(app, provider) as keeper:
        (seen,) = keeper.hosts((name,))
        if seen.lock is not None and not force:
            since = f" since {seen.lock.since:%Y-%m-%d %H:%M} UTC" if seen.lock.since else ""
            held = f"lease {seen.lock.lease_id} of {seen.lock.owner}{since}" if seen.lock.lease_id else "nobody knows"
            raise UserError(f"{name} is locked: {held}; --force ends what runs there and breaks the lock")
        lock = keeper.unlock(name)
    if lock is None:
        choose(as_json).show(Said((f"{name} has no lock",), {"host": name, "broken": None}))
        return
    fields = {"host": name, "broken": {"lease": lock.lease_id, "owner": lock.owner}}
    choose(as_json).show(Said((good(f"{name} is free: lease {lock.lease_id or '?'} was ended"),), fields))


RUNS = {"list": list_hosts, "probe": probe, "trust": trust, "forget": forget, "unlock": unlock}


@contextmanager
def _keeper(app: App, name: str) -> Iterator[KeepsHosts]:
    """The provider that has the hosts; its connections are closed at the end.

    Raises: UserError where it is not in the settings or has none.
    """
    if name not in app.settings.providers:
        where = '[providers.ssh] with fleet = "FILE"' if name == USUAL else f"[providers.{name}]"
        raise UserError(f"the settings have no provider {name!r}: write {where} into {app.settings.file or 'them'}")
    # Without what is negotiated: prices are not asked for, and what puts them on would hide the hosts.
    bare = replace(app, settings=replace(app.settings, prices=()))
    found = bare.provider(name)
    if not isinstance(found, KeepsHosts):
        raise UserError(f"provider {name!r} has no hosts to look after")
    try:
        yield found
    finally:
        found.close()
