"""The books of this machine: one file per lease, safe between processes and across a kill at any moment."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Lease
from orchestrator.domain.records import dump_lease, load_lease

NAME = "local"
RETRY_AFTER_S = 5.0  # a full disk or a read-only mount seldom mends itself sooner

log = logging.getLogger(__name__)


class LeaseBook:
    """Leases as files `<digest of owner and token>.json` in `folder`.

    A file appears under its name whole or not at all: it is written under another name, flushed to the disk and linked.
    Looking needs no lock; deciding to sell does, and a lock dies with the process that held it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = folder / "lock"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else sells or takes back while this is held. Not re-entrant."""
        with troubles(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._lock.open("ab") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                yield

    def leases(self) -> list[Lease]:
        """Every lease of every owner, in the order of purchase."""
        with troubles(self._folder):
            found = [lease for path in self._files() if (lease := _read(path)) is not None]
        return sorted(found, key=lambda lease: (lease.acquired_at, lease.id))

    def add(self, lease: Lease) -> None:
        """Write `lease` for good; only inside `exclusive`, and only where no live lease has its owner and token."""
        path = self._path(lease)
        self._clear_remains()
        draft = self._folder / f".{path.name}.{uuid.uuid4().hex}"
        with draft.open("x") as stream:
            stream.write(dump_lease(lease))
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)  # refuses to replace a lease, which a rename would do
        draft.unlink()
        self._flush_folder()

    def remove(self, lease: Lease) -> None:
        """Strike `lease` off; only inside `exclusive`."""
        self._path(lease).unlink(missing_ok=True)
        self._flush_folder()

    def _files(self) -> list[Path]:
        """The lease files. Raises: OSError; a folder that cannot be read must not look like one without leases."""
        if self._folder.parent.is_dir() and not os.path.lexists(self._folder):
            return []  # nothing was ever sold here
        names = sorted(os.listdir(self._folder))  # a glob would take "permission denied" for "empty"
        return [self._folder / name for name in names if name.endswith(".json") and not name.startswith(".")]

    def _path(self, lease: Lease) -> Path:
        key = f"{lease.owner}\0{lease.token}".encode(errors="surrogatepass")
        return self._folder / f"{hashlib.blake2b(key, digest_size=16).hexdigest()}.json"

    def _clear_remains(self) -> None:
        """Drop drafts of writers that were killed, and set aside files that a failing disk left unreadable."""
        for draft in self._folder.glob(".*.json.*"):
            draft.unlink()
        for path in self._files():
            if _read(path) is None:
                log.warning("%s is no readable lease and was set aside; the machine counts it as free", path)
                path.replace(path.with_suffix(".damaged"))

    def _flush_folder(self) -> None:
        """A name is on the disk once its folder is."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def troubles(path: Path) -> Iterator[None]:
    """Turn what the file system raises into TransientError, naming the file and what to look at."""
    try:
        yield
    except OSError as error:
        detail = f"{error.filename or path}: {error.strerror or error}; see that the disk is writable and not full"
        raise TransientError(NAME, detail, RETRY_AFTER_S) from error


def _read(path: Path) -> Lease | None:
    """The lease in `path`; None where it was struck off meanwhile, or cannot be read as one."""
    try:
        return load_lease(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
