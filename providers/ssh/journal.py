"""What this control plane remembers on its own disk: leases it meant to take, hardware, links, and trusted host keys.

The truth about a lease is the lock on its host. A lease is written here before its first lock is taken and struck out
after its last is gone, so a host that does not answer holds no lease of ours but those that stand here.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Lease
from orchestrator.domain.records import dump_lease, load_lease
from providers.ssh.settings import NAME

RETRY_AFTER_S = 5.0

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """How far a lease has come."""

    TAKING = "taking"  # some locks may be ours
    HELD = "held"  # all are
    RELEASING = "releasing"  # some may still be


class Record(NamedTuple):
    """A lease and the hosts it is made of, in the order of its nodes."""

    lease: Lease
    hosts: tuple[str, ...]
    phase: Phase = Phase.HELD

    def dump(self, *, for_host: bool = False) -> str:
        """One line of JSON. What goes to a host does not tell where our keys lie."""
        lease = replace(self.lease, endpoints=()) if for_host else self.lease
        fields: dict[str, object] = {"hosts": list(self.hosts), "lease": json.loads(dump_lease(lease))}
        if not for_host:
            fields["phase"] = self.phase.value
        return json.dumps(fields)


def load_record(text: str | bytes) -> Record:
    """The record that `dump` wrote. Raises: ValueError where it is none."""
    try:
        fields = json.loads(text)
        hosts = tuple(str(name) for name in fields["hosts"])
        lease = load_lease(json.dumps(fields["lease"]))
        if len(hosts) != lease.nodes or not hosts:
            raise ValueError("a lease has one host for each of its nodes")
        return Record(lease, hosts, Phase(fields.get("phase", Phase.HELD)))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no record of a lease: {error}") from error


class Journal:
    """Files in the provider's own folder; each appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leases = folder / "leases"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No other thread or process of this control plane takes or gives back. Not re-entrant."""
        with _troubles(self._folder):
            self._leases.mkdir(parents=True, exist_ok=True)
            stream = (self._folder / "lock").open("ab")
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def records(self) -> dict[str, Record]:
        """Every lease that stands here, by id."""
        with _troubles(self._leases):
            try:
                names = sorted(os.listdir(self._leases))
            except FileNotFoundError:
                return {}
            names = [name for name in names if name.endswith(".json") and not name.startswith(".")]
            texts = [_read(self._leases / name) for name in names]
        found = {}
        for name, text in zip(names, texts, strict=True):
            try:
                record = load_record(text or "")
            except ValueError:
                if text is not None:  # struck out meanwhile otherwise
                    log.warning("%s is no readable lease: the locks on the hosts decide", self._leases / name)
                continue
            found[record.lease.id] = record
        return found

    def write(self, record: Record) -> Record:
        """Keep `record`, in place of what stood there of its lease; on the disk when this returns."""
        self._put(self._leases / f"{record.lease.id}.json", record.dump())
        return record

    def strike(self, lease_id: str) -> None:
        """Forget a lease."""
        with _troubles(self._leases):
            (self._leases / f"{lease_id}.json").unlink(missing_ok=True)

    def recall(self, kind: str, name: str) -> Mapping[str, object] | None:
        """What is remembered as `kind` of the host `name`; a damaged file counts as nothing."""
        with _troubles(self._folder):
            text = _read(self._folder / kind / f"{name}.json")
        try:
            found = json.loads(text or "null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def remember(self, kind: str, name: str, fields: Mapping[str, object]) -> None:
        """Keep `fields` as `kind` of the host `name`."""
        self._put(self._folder / kind / f"{name}.json", json.dumps(fields, sort_keys=True))

    def forget(self, kind: str, name: str) -> bool:
        """Remove it; whether there was something."""
        with _troubles(self._folder):
            try:
                (self._folder / kind / f"{name}.json").unlink()
            except FileNotFoundError:
                return False
        return True

    def _put(self, path: Path, text: str) -> None:
        with _troubles(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            with draft.open("x") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


@contextmanager
def _troubles(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        detail = f"{error.filename or path}: {error.strerror or error}; see that the disk is writable and not full"
        raise TransientError(NAME, detail, RETRY_AFTER_S) from error
