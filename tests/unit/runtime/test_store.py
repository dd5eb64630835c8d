"""The SQLite store: what goes wrong underneath it is said clearly, and loses nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.runtime.store import SqliteStore, open_store
from orchestrator.testing.clock import EPOCH
from orchestrator.testing.store_contract import leading, note, submitted


def fill(store: SqliteStore) -> str:
    """Append until the store refuses; returns what it said."""
    fence = leading(store)
    for number in range(10_000):
        try:
            store.append([note("run-1", f"{number} " + "x" * 1000)], fence=fence)
        except ConfigError as error:
            return str(error)
    raise AssertionError("the store never filled up")


def small(path: Path) -> SqliteStore:
    """A store whose disk holds little more than it does now."""
    store = SqliteStore(path)
    store.submit(submitted("run-1"))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    return store


def test_a_full_disk_says_what_to_do_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(small(path)) as store:
        said = fill(store)
        assert "disk is full" in said
        assert "isoflop up" in said
        assert str(path) in said
        kept = store.events()
    with closing(SqliteStore(path)) as again:
        assert again.events() == kept
        assert len(kept) > 1


def test_an_append_that_finds_no_room_stores_none_of_its_events(tmp_path: Path) -> None:
    with closing(small(tmp_path / "store.db")) as store:
        fence = leading(store)
        before = store.events()
        with pytest.raises(ConfigError):
            store.append([note("run-1", "small"), note("run-1", "x" * 1_000_000)], fence=fence)
        assert store.events() == before


def test_the_store_goes_on_once_there_is_room_again(tmp_path: Path) -> None:
    with closing(small(tmp_path / "store.db")) as store:
        fill(store)
        store._db.execute("PRAGMA max_page_count = 1000000")
        store.append([note("run-1", "after")], fence=leading(store))
        assert store.events()[-1].event == note("run-1", "after")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("my thesis, the only copy " * 100)
    with pytest.raises(ConfigError, match="not a store of isoflop"):
        SqliteStore(path)
    assert path.read_text() == "my thesis, the only copy " * 100


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(ConfigError, match="another program"):
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_store_of_a_newer_isoflop_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="version 99"):
        SqliteStore(path)


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(SqliteStore(path)) as store:
        fence = leading(store)
        for number in range(50):
            store.append([note("", "x" * 500 + str(number))], fence=fence)
    body = bytearray(path.read_bytes())
    body[4096 * 3 :] = b"\xff" * (len(body) - 4096 * 3)
    path.write_bytes(body)
    with pytest.raises(ConfigError, match=r"damaged|not a store"), closing(SqliteStore(path)) as store:
        store.events()


def test_an_event_that_cannot_be_read_names_its_place(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(SqliteStore(path)) as store:
        store.submit(submitted("run-1"))
        store._db.execute('UPDATE events SET body = \'{"kind": "of magic"}\'')
        with pytest.raises(ConfigError, match="event 1"):
            store.events()


def test_a_folder_that_is_not_there_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder exists"):
        SqliteStore(tmp_path / "nowhere" / "store.db")


def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store.db")) as store:
        store._db.execute("PRAGMA query_only = 1")  # file modes do not bind the superuser, who may run this
        with pytest.raises(ConfigError, match="read-only"):
            store.lead("a", now=EPOCH, ttl_s=1.0)


def test_a_transaction_of_another_process_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.runtime.store.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "store.db"
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="locked"):
            store.lead("a", now=EPOCH, ttl_s=1.0)
        other.execute("ROLLBACK")
        assert store.lead("a", now=EPOCH, ttl_s=1.0) == 1


@pytest.mark.parametrize("form", ["{path}", "sqlite:///{path}"])
def test_a_store_is_opened_by_path_or_url(tmp_path: Path, form: str) -> None:
    path = tmp_path / "store.db"
    open_store(form.format(path=path)).close()
    assert path.is_file()


@pytest.mark.parametrize(
    ("url", "said"),
    [("postgresql://db/isoflop", "not in this release"), ("postgres://db", "not in this"), ("mysql://db", "no kind")],
)
def test_other_urls_are_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_store(url)
