"""Which batch system a site has, and how it is reached, as its settings say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from orchestrator.domain.contracts import Clock
from orchestrator.domain.secret import Secret
from orchestrator.kit.shell.command import Forwards, Shell
from providers.slurm.batch import Batch
from providers.slurm.client import Client
from providers.slurm.pbs import PbsClient
from providers.slurm.restd import RestClient
from providers.slurm.settings import NO_TOKEN, PBS, SiteSettings, rest_place
from providers.slurm.tokens import GivenToken, MadeToken, NoToken, Tokens


def connect(site: SiteSettings, shell: Shell, *, secret: Callable[[str], Secret], clock: Clock) -> Batch:
    """The batch system of `site`, where `shell` runs commands."""
    if site.system == PBS:
        return PbsClient(site, shell)
    commands = Client(site, shell)
    if not site.rest:
        return commands
    way = None
    if isinstance(shell, Forwards):
        way = partial(shell.forward, rest_place(site.rest)[1])
    # Without a login node, commands are here only where one of them is to make the token.
    has_commands = bool(site.login) or not site.rest_token
    tokens = _tokens(site, commands, secret, clock)
    return RestClient(site, tokens, clock=clock, way=way, commands=commands if has_commands else None)


def _tokens(site: SiteSettings, commands: Client, secret: Callable[[str], Secret], clock: Clock) -> Tokens:
    if site.rest_token == NO_TOKEN:
        return NoToken(site.rest_user)
    if site.rest_token:
        return GivenToken(partial(secret, site.rest_token), site.rest_user, clock)
    return MadeToken(commands.token, site.rest_user, clock)
