"""The stores keep the promises of every store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Store
from orchestrator.runtime.store import SqliteStore
from orchestrator.testing.memory_store import MemoryStore, Shelf
from orchestrator.testing.store_contract import Reopen, StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Iterator[Reopen]:
        with ExitStack() as opened:
            yield lambda: opened.enter_context(closing(SqliteStore(tmp_path / "store.db")))


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def reopen(self) -> Reopen:
        shelf = Shelf()

        def open_again() -> Store:
            return MemoryStore(shelf)

        return open_again
