"""How a client finds the control plane: the connection file, the token file and the lock, all in `control/`."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.domain.errors import ConfigError
from orchestrator.interfaces.api import processes

# A killed process can hold its files for a moment after it is seen to be dead: its last threads are still ending.
DYING_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A control plane that says it runs; `identity` tells its process from a later one with the same pid."""

    url: str
    pid: int
    identity: str
    started_at: str  # ISO 8601, UTC

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return processes.runs(self.pid, self.identity)


def read(control: Path) -> Connection | None:
    """The connection file, or None where there is none; it may speak of a process that is gone.

    Raises: ConfigError where the file is damaged.
    """
    path = control / "connection.json"
    try:
        document = json.loads(path.read_text())
        return Connection(
            url=str(document["url"]),
            pid=int(document["pid"]),
            identity=str(document["identity"]),
            started_at=str(document["started_at"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): remove it and run `isoflop up`") from error


def write(control: Path, connection: Connection) -> None:
    """Publish the connection at once and whole, readable by its owner alone."""
    _replace(control / "connection.json", json.dumps(asdict(connection), indent=1) + "\n")


def remove(control: Path) -> None:
    """Take the connection file away, whoever wrote it: for the holder of the lock."""
    (control / "connection.json").unlink(missing_ok=True)


def read_token(control: Path) -> str:
    """The API's token. Raises: ConfigError where it cannot be read."""
    path = control / "token"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"the token {path} cannot be read: {error.strerror or error}") from error


def renew_token(control: Path, name: str = "token") -> str:
    """A fresh token of 256 bits in `control/<name>`, mode 0600; replaces the one before.

    Raises: ConfigError where the folder cannot be written.
    """
    token = secrets.token_hex(32)
    _replace(control / name, token + "\n")
    return token


class Lock:
    """The right to be the control plane of a state folder: a file lock that ends with the process that holds it."""

    def __init__(self, control: Path) -> None:
        self._path = control / "lock"
        self._descriptor: int | None = None

    def acquire(self, *, patience_s: float = 0.0) -> bool:
        """Take the lock, if it is or becomes free within `patience_s`.

        Raises: ConfigError where the file cannot be opened.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be opened: {error.strerror or error}") from error
        deadline = time.monotonic() + patience_s
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(0.05)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go; the file stays, for removing it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # O_EXCL with the mode in the call: there is no moment at which others could open it.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
