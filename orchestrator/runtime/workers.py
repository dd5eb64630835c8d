"""Processes that share the work of one command: a Ray of its own, which ends with the command."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar, cast

from orchestrator.domain.errors import ConfigError

RAY_HOST = "orchestrator.runtime.ray_host"  # imported with the first worker: Ray takes a second
LIBRARY = "ray"
PARENT = "/tmp"  # noqa: S108 - a folder of mode 0700 is made in it; a socket's path has 107 characters at most

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Pool(Protocol):
    """What `ray_host.RayPool` does."""

    def map(self, function: Callable[[Argument], Result], arguments: Iterable[Argument], /) -> list[Result]:
        """As `map`."""

    def close(self) -> None:
        """End the processes."""


class Host(Protocol):
    """The module `RAY_HOST`."""

    def RayPool(self, workers: int, folder: Path) -> Pool:
        """Start the processes."""


class Workers:
    """A `map` over processes of this machine, for stateless functions of importable modules.

    Answers come in the order of their tasks, so that nothing but the time depends on how many processes there are.
    """

    def __init__(self, count: int) -> None:
        """No process is started yet, and for one worker none ever: `map` of this process does as well.

        Raises: ConfigError where Ray is not installed.
        """
        self._count = min(count, os.cpu_count() or 1)
        self._pool: Pool | None = None
        self._open = contextlib.ExitStack()
        if count > 1 and find_spec(LIBRARY) is None:
            raise ConfigError("more than one worker needs ray: pip install 'isoflop[run]'")

    def begin(self) -> None:
        """Start the processes, if they do not run yet. Call it in the main thread. Raises: ConfigError."""
        if self._count < 2 or self._pool is not None:
            return
        with contextlib.ExitStack() as opened:
            folder = Path(opened.enter_context(_folder()))
            opened.enter_context(_environment(_settings(folder)))
            host = cast(Host, importlib.import_module(RAY_HOST))
            self._pool = host.RayPool(self._count, folder)
            opened.callback(self._pool.close)
            self._open = opened.pop_all()

    @property
    def running(self) -> bool:
        """Whether there are processes that take tasks."""
        return self._pool is not None

    def __call__(self, function: Callable[[Argument], Result], tasks: Iterable[Argument], /) -> Iterator[Result]:
        """The answers, in order; the tasks run at the same time once the processes run."""
        return map(function, tasks) if self._pool is None else iter(self._pool.map(function, tasks))

    def close(self) -> None:
        """End what was started; harmless when nothing was."""
        self._pool = None
        self._open.close()


def _folder() -> tempfile.TemporaryDirectory[str]:
    # Ray's processes may still write their last lines while it is removed.
    return tempfile.TemporaryDirectory(prefix="isoflop-", dir=PARENT, ignore_cleanup_errors=True)


def _settings(folder: Path) -> dict[str, str | None]:
    """What Ray reads when it is imported: nobody else can use it, it listens on loopback alone and joins nothing."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too: Ray then listens on loopback alone
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": None,
        "RAY_AUTH_TOKEN": None,
        "RAY_NAMESPACE": None,
    }


@contextlib.contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """This process's environment with `variables` (None: absent), and as it was afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
