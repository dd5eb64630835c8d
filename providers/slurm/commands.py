"""Commands of a batch system on one site's login node, and what they complain about as our errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.kit.shell.command import Done, Shell
from providers.slurm.settings import NAME, SiteSettings

NOT_FOUND = 127
# Holds the machines until it is cancelled or its time is up; what runs on them is beside it.
PILOT = b"#!/bin/sh\nexec sleep 2147483647\n"


class Judge(Protocol):
    """Makes an error of what a command `said`, `detail` being what is shown of it."""

    def __call__(self, said: str, detail: str, *, buying: bool) -> ProviderError: ...


class Commands:
    """`buy` names the command whose other complaints are about what was ordered."""

    def __init__(self, site: SiteSettings, shell: Shell, env: Mapping[str, str], *, judge: Judge, buy: str) -> None:
        self._site, self._shell, self._env, self._judge, self._buy = site, shell, env, judge, buy

    def attempt(self, argv: Sequence[str], *, stdin: bytes = b"") -> Done:
        """Run it, whatever comes of it. Raises: AuthError, TransientError where the login node is not reached."""
        return self._shell.run(argv, stdin=stdin, env=self._env, timeout_s=self._site.command_timeout_s)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Done:
        """Run it. Raises: as `attempt`, and what `error` makes of a failure."""
        done = self.attempt(argv, stdin=stdin)
        if not done.ok:
            raise self.error(argv[0], done)
        return done

    def error(self, command: str, done: Done) -> ProviderError:
        """Our error for what a command complains about."""
        said = done.stderr.decode(errors="replace").strip()
        detail = f"{self._site.name}: {command}: "
        if done.code == NOT_FOUND:
            where = f"the batch system's commands are not on the PATH of {self._shell.name}"
            return TransientError(NAME, f"{detail}{done.trouble}: {where}", 60.0)
        return self._judge(said or done.trouble, detail, buying=command == self._buy)
