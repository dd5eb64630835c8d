"""Opens the shell of a login node over SSH; loaded only where a site is reached so, for it needs an SSH library."""

from __future__ import annotations

import os

from orchestrator.kit.shell.command import Shell
from orchestrator.kit.shell.ssh import Address, Hub, SshShell
from providers.slurm.settings import NAME, SiteSettings, parts


def shell(site: SiteSettings) -> Shell:
    """Commands on the login node of `site`; the connection is made at the first and kept."""
    return SshShell(Hub(NAME), address(site))


def address(site: SiteSettings) -> Address:
    """The login node of `site`, and the machine on the way to it."""
    jump = None
    if site.jump:
        jump = _address(site.jump, site.jump_host_key, site.jump_identity or site.identity)
    return _address(site.login, site.host_key, site.identity, jump)


def _address(login: str, host_key: str, identity: str, jump: Address | None = None) -> Address:
    user, host, port = parts(login)
    return Address(host=host, port=port, user=user, host_key=host_key, identity=os.path.expanduser(identity), jump=jump)
