"""Commands on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from orchestrator.domain.errors import TransientError
from orchestrator.kit.shell.command import Done

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # what shells exit with


class LocalShell:
    """Runs commands here."""

    name = "this machine"

    def __init__(self, provider: str) -> None:
        self._provider = provider  # whom errors name

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        """See Shell. A command that takes too long is ended."""
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                env={**os.environ, **(env or {})},
                cwd=folder or None,
            )
        except subprocess.TimeoutExpired:
            raise TransientError(self._provider, f"{argv[0]} took longer than {timeout_s:g} s") from None
        except FileNotFoundError as error:
            return Done(NOT_FOUND, b"", f"{error.filename}: not found".encode())
        except PermissionError as error:  # also where a folder of PATH may not be looked into
            return Done(NOT_EXECUTABLE, b"", f"{error.filename}: cannot be executed".encode())
        except OSError as error:
            raise TransientError(self._provider, f"{argv[0]}: {error.strerror or error}") from error
        return Done(done.returncode, done.stdout, done.stderr)
