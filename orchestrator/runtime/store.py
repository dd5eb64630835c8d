"""The event log in SQLite: appends are fenced and durable, and every failure says what to do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.domain.errors import ConfigError, Fenced, UserError
from orchestrator.domain.events import Approved, CancelAsked, Event, Recorded, Submitted
from orchestrator.spec.documents import dump_event, load_event

SCHEMA_VERSION = 1
APPLICATION_ID = 0x150F10  # marks the file as ours: PRAGMA application_id
BUSY_TIMEOUT_S = 15.0  # how long a writer waits for another process's transaction

SCHEMA = """
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX events_of_run ON events (run_id, seq);
CREATE TABLE submissions (key TEXT PRIMARY KEY, run_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leader (
  only INTEGER PRIMARY KEY CHECK (only = 1), holder TEXT NOT NULL, fence INTEGER NOT NULL, expires_at TEXT NOT NULL
);
INSERT INTO leader VALUES (1, '', 0, '');
"""

REMEDIES = (
    ("disk is full", "the disk is full: free some space and run `isoflop up` again; nothing that was stored is lost"),
    ("disk i/o error", "the disk refuses to read or write: check its space and health, then run `isoflop up` again"),
    ("readonly", "it is read-only: make the file and its folder writable for this user"),
    ("unable to open", "it cannot be opened: check that its folder exists and is writable for this user"),
    ("locked", "another process holds it locked: end that process (`isoflop doctor` names it) and try again"),
    (
        "malformed",
        "the file is damaged: move it away to start afresh, or restore a copy; leases are found by their tag",
    ),
    ("not a database", "the file is not a store of isoflop: move it away, or set another state folder"),
)


class SqliteStore:
    """A Store in one file; safe to use from many threads and processes on one machine.

    A write has reached the disk when the call returns. Raises on opening: ConfigError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._explained():
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def lead(self, holder: str, *, now: datetime, ttl_s: float) -> int | None:
        """See Store.lead. `holder` must be new for every incarnation of a controller, or two would share a token."""
        with self._transaction() as db:
            row = db.execute("SELECT holder, fence, expires_at FROM leader").fetchone()
            current, fence, expires_at = str(row[0]), int(row[1]), str(row[2])
            if current != holder:
                if current and now < datetime.fromisoformat(expires_at):
                    return None
                fence += 1
            expires = _stamp(now + timedelta(seconds=ttl_s))
            db.execute("UPDATE leader SET holder = ?, fence = ?, expires_at = ?", (holder, fence, expires))
            return fence

    def resign(self, holder: str) -> None:
        """See Store.resign."""
        with self._transaction() as db:
            db.execute("UPDATE leader SET holder = '' WHERE holder = ?", (holder,))

    def submit(self, event: Submitted) -> tuple[str, bool]:
        """See Store.submit. The same run id again is the same submission, whatever its key."""
        with self._transaction() as db:
            if event.key:
                row = db.execute("SELECT run_id FROM submissions WHERE key = ?", (event.key,)).fetchone()
                if row is not None:
                    return str(row[0]), False
            if _known(db, event.run_id):
                return event.run_id, False
            if event.key:
                db.execute("INSERT INTO submissions VALUES (?, ?)", (event.key, event.run_id))
            _insert(db, event)
            return event.run_id, True

    def request(self, event: Event) -> None:
        """See Store.request.

        Raises: UserError for a run that was never submitted; ValueError for an event that is not a user's to write.
        """
        if not isinstance(event, CancelAsked | Approved):
            raise ValueError(f"{event.kind} is not a request of a user")
        with self._transaction() as db:
            if not _known(db, event.run_id):
                raise UserError(f"no run is called {event.run_id!r}: `isoflop status` lists them")
            _insert(db, event)

    def append(self, events: Sequence[Event], *, fence: int) -> None:
        """See Store.append."""
        with self._transaction() as db:
            (newest,) = db.execute("SELECT fence FROM leader").fetchone()
            if newest != fence:
                raise Fenced(f"this controller holds fencing token {fence}, the newest is {newest}")
            for event in events:
                _insert(db, event)

    def events(self, *, run_id: str | None = None, since: int = 0) -> Sequence[Recorded]:
        """See Store.events."""
        query = "SELECT seq, body FROM events WHERE seq > ? ORDER BY seq"
        parameters: tuple[int | str, ...] = (since,)
        if run_id is not None:
            query = "SELECT seq, body FROM events WHERE seq > ? AND run_id = ? ORDER BY seq"
            parameters = (since, run_id)
        with self._lock, self._explained():
            rows = self._db.execute(query, parameters)  # one by one: of all texts at once there may be gigabytes
            return [Recorded(seq, self._event(seq, body)) for seq, body in rows]

    def close(self) -> None:
        """See Store.close. Closing twice is fine."""
        with self._lock:
            self._db.close()

    def _event(self, seq: int, body: str) -> Event:
        try:
            return load_event(body)
        except UserError as error:
            remedy = "use the isoflop that wrote it, or restore a copy"
            raise ConfigError(f"event {seq} of the store {self._path} cannot be read: {error}; {remedy}") from error

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            version = _pragma(db, "user_version")
            if version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif _pragma(db, "application_id") != APPLICATION_ID:
                raise ConfigError(f"{self._path} is a database of another program: set another state folder")
            elif version != SCHEMA_VERSION:
                raise ConfigError(
                    f"{self._path} has schema version {version}, this isoflop reads {SCHEMA_VERSION}: "
                    "use the isoflop that wrote it, or move the file away"
                )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # some failures have rolled back already
                    self._db.execute("ROLLBACK")
                raise
            self._commit()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # our own misuse, a closed store: a bug
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"the store {self._path} cannot be used: {_remedy(error)} ({error})") from error


def open_store(where: str | Path) -> SqliteStore:
    """The store at a path or a `sqlite:///` URL.

    Raises: ConfigError for another kind of URL, and where the file cannot be used.
    """
    text = str(where)
    if text.startswith(("postgresql:", "postgres:")):
        raise ConfigError("a PostgreSQL store is not in this release: give a path or a sqlite:/// URL")
    if text.startswith("sqlite:///"):
        return SqliteStore(Path(text.removeprefix("sqlite:///")))
    if "://" in text:
        raise ConfigError(f"{text.split('://', 1)[0]}:// is no kind of store: give a path or a sqlite:/// URL")
    return SqliteStore(Path(text))


def _insert(db: sqlite3.Connection, event: Event) -> None:
    row = (event.run_id, _stamp(event.at), event.kind, dump_event(event))
    db.execute("INSERT INTO events (run_id, at, kind, body) VALUES (?, ?, ?, ?)", row)


def _known(db: sqlite3.Connection, run_id: str) -> bool:
    query = "SELECT 1 FROM events WHERE run_id = ? AND kind = 'submitted' LIMIT 1"
    return db.execute(query, (run_id,)).fetchone() is not None


def _pragma(db: sqlite3.Connection, name: str) -> int:
    with closing(db.execute(f"PRAGMA {name}")) as cursor:
        return int(cursor.fetchone()[0])


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _remedy(error: sqlite3.Error) -> str:
    text = str(error).casefold()
    for sign, remedy in REMEDIES:
        if sign in text:
            return remedy
    return "SQLite refuses it"
