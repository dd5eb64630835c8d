"""The simulated market's books: leases and strikes of faults in SQLite, safe between processes and across a kill."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Lease, LeaseState
from orchestrator.domain.records import dump_lease, load_lease
from providers.simulated.market import NAME, key_of

BUSY_S = 30.0  # how long one process waits for another's transaction, which takes milliseconds
RETRY_AFTER_S = 5.0

# Times are seconds since the Unix epoch. AUTOINCREMENT never gives a number twice, not even after a delete.
SCHEMA = """
CREATE TABLE IF NOT EXISTS market (id TEXT NOT NULL, opened_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS strikes (fault TEXT PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS leases (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL, token TEXT NOT NULL, record TEXT NOT NULL,
    ready_at REAL NOT NULL, listed_at REAL NOT NULL, warned_at REAL, ends_at REAL, released_at REAL,
    UNIQUE (owner, token)
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One lease in the books: what was sold, and what is going to happen to it."""

    serial: int
    lease: Lease  # as sold: booting, with the endpoints it will have
    ready_at: datetime
    listed_at: datetime  # hidden from listings before
    warned_at: datetime | None = None  # a reclaim at `ends_at` is announced then
    ends_at: datetime | None = None  # the machine is taken back, or ends itself
    released_at: datetime | None = None  # a release asked for is done then

    def gone(self, now: datetime) -> bool:
        """Whether the lease is no more."""
        return any(end is not None and end <= now for end in (self.ends_at, self.released_at))

    def warned(self, now: datetime) -> bool:
        """Whether a reclaim is announced."""
        return self.warned_at is not None and self.warned_at <= now

    def seen(self, now: datetime) -> Lease:
        """The lease as the provider shows it at `now`."""
        ready = self.ready_at <= now
        if self.released_at is not None:
            state = LeaseState.RELEASING
        elif self.warned(now):
            state = LeaseState.RECLAIMING
        else:
            state = LeaseState.READY if ready else LeaseState.BOOTING
        return replace(self.lease, state=state, endpoints=self.lease.endpoints if ready else ())


class Page:
    """The books within one transaction: nobody else reads or writes meanwhile."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def opened(self, now: datetime) -> tuple[str, datetime]:
        """The books' own id and the moment they were opened: `now` on the first call ever."""
        row = self._connection.execute("SELECT id, opened_at FROM market").fetchone()
        if row is None:
            row = (uuid.uuid4().hex[:8], now.timestamp())
            self._connection.execute("INSERT INTO market VALUES (?, ?)", row)
        return str(row[0]), _moment(row[1])

    def entries(self) -> list[Entry]:
        """Every lease in the order of purchase, those included that are over and not yet struck off."""
        rows = self._connection.execute(
            "SELECT serial, record, ready_at, listed_at, warned_at, ends_at, released_at FROM leases ORDER BY serial"
        )
        try:
            return [_entry(row) for row in rows]
        except ValueError as error:
            raise sqlite3.DatabaseError(f"a record cannot be read: {error}") from error

    def next_serial(self) -> int:
        """The number that `add` will give: one that no lease ever had."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'leases'").fetchone()
        return int(row[0]) + 1 if row else 1

    def add(self, entry: Entry) -> None:
        """Enter a lease under its serial number."""
        self._connection.execute(
            "INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.serial,
                entry.lease.owner,
                entry.lease.token,
                dump_lease(entry.lease),
                entry.ready_at.timestamp(),
                entry.listed_at.timestamp(),
                _stamp(entry.warned_at),
                _stamp(entry.ends_at),
                _stamp(entry.released_at),
            ),
        )

    def release(self, serial: int, done_at: datetime) -> None:
        """Note that the lease is gone at `done_at`."""
        self._connection.execute("UPDATE leases SET released_at = ? WHERE serial = ?", (done_at.timestamp(), serial))

    def strike_off(self, serial: int) -> None:
        """Remove a lease."""
        self._connection.execute("DELETE FROM leases WHERE serial = ?", (serial,))

    def strike(self, fault: str, most: float) -> bool:
        """Count one strike of `fault`, unless it has struck `most` times; whether it strikes."""
        row = self._connection.execute("SELECT times FROM strikes WHERE fault = ?", (fault,)).fetchone()
        if row is not None and row[0] >= most:
            return False
        self._connection.execute(
            "INSERT INTO strikes VALUES (?, 1) ON CONFLICT (fault) DO UPDATE SET times = times + 1", (fault,)
        )
        return True


class Books:
    """The file `path`. Every transaction has a connection of its own: any thread of any process may open one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def page(self) -> Iterator[Page]:
        """One exclusive transaction: all that is written is kept, or nothing where the body raises.

        Raises: TransientError where the file cannot be used.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)) as connection:
                # The kernel keeps what a killed process wrote. A power cut can lose it, with the machines, which are
                # processes here; waiting for the disk would make every call several times slower.
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                    yield Page(connection)
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
        except (sqlite3.Error, OSError) as error:
            remedy = "see that the disk is writable and not full, or set the file aside to begin anew"
            raise TransientError(NAME, f"{self._path}: {error}; {remedy}", RETRY_AFTER_S) from error


def held(entries: Iterable[Entry]) -> Counter[str]:
    """Nodes sold, by the key of their pool."""
    nodes: Counter[str] = Counter()
    for entry in entries:
        nodes[key_of(entry.lease.offer)] += entry.lease.nodes
    return nodes


def _entry(row: tuple[int, str, float, float, float | None, float | None, float | None]) -> Entry:
    serial, record, ready_at, listed_at, *moments = row
    warned_at, ends_at, released_at = (None if moment is None else _moment(moment) for moment in moments)
    return Entry(
        serial=serial,
        lease=load_lease(record),
        ready_at=_moment(ready_at),
        listed_at=_moment(listed_at),
        warned_at=warned_at,
        ends_at=ends_at,
        released_at=released_at,
    )


def _stamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)
