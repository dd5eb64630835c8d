"""Keeps to Lambda's limits of requests, together with every other process that has the same state folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import TransientError


@contextmanager
def locked(path: Path, provider: str) -> Iterator[int]:
    """Hold an exclusive lock on the file `path`, which is made; gives its descriptor.

    Raises: TransientError where the file cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise TransientError(provider, f"{path}: {error.strerror or error}", 30.0) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on the file `path` now."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Pace:
    """Gives out moments at least `spacing_s` apart, first come, first served.

    A moment is reserved under a lock and waited for without it, so that a slow waiter holds nobody up. Of two processes
    that share the folder none gets the other's moment; processes without a common folder know nothing of each other,
    and Lambda then refuses the quicker with 429.
    """

    def __init__(self, path: Path, clock: Clock, spacing_s: float, *, provider: str, longest_s: float) -> None:
        self._path, self._clock, self._spacing_s = path, clock, spacing_s
        self._provider, self._longest_s = provider, longest_s

    def wait(self) -> None:
        """Return when it is our turn. Raises: TransientError where that is more than `longest_s` away."""
        with locked(self._path, self._provider) as file:
            now = self._clock.now().timestamp()
            text = os.pread(file, 64, 0).decode(errors="replace").strip()
            turn = max(now, min(_number(text), now + 3600.0) + self._spacing_s)  # a clock that was set back
            if turn - now > self._longest_s:
                queue = f"{turn - now:.0f} s of calls are queued already"
                raise TransientError(self._provider, f"{queue}: {self._path.name}", turn - now - self._longest_s)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{turn:.3f}".encode(), 0)
        if turn > now:
            self._clock.sleep(turn - now)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
