"""Offer books on disk: whole or refused, replaced in one piece, read without running anything."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from orchestrator.catalog import cache
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.testing.builders import offer


def same(a: OfferBook, b: OfferBook) -> bool:
    for field in fields(OfferBook):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, Words):
            if left.vocab != right.vocab or not np.array_equal(left.codes, right.codes):
                return False
        elif left is None or right is None:
            if left is not right:
                return False
        elif not np.array_equal(left, right, equal_nan=left.dtype.kind == "f"):
            return False
    return True


@pytest.fixture
def book() -> OfferBook:
    return OfferBook.of(
        [
            offer(),
            offer(region="eu-west-1", zone="a", source="naïve “list”", available=None),
            offer(billing=Billing.SPOT, interruption_rate=None, usd_per_hour=0.1 + 0.2),
        ]
    )


def test_a_book_comes_back_as_it_was_stored(tmp_path: Path, book: OfferBook) -> None:
    cache.store(book, tmp_path / "new" / "folder", "mine")
    [back] = cache.load(tmp_path / "new" / "folder")
    assert same(back, book)
    assert list(back) == list(book)


def test_quotas_and_advice_come_back_with_the_book_and_take_no_room_without(tmp_path: Path, book: OfferBook) -> None:
    told = OfferBook.of([*book, offer(region="eu-west-3", quota_nodes=2), offer(region="eu-west-4", obtainability=0.7)])
    plain, full = cache.store(book, tmp_path, "plain"), cache.store(told, tmp_path, "told")
    back, again = cache.load(tmp_path)
    assert same(back, book)
    assert same(again, told)
    assert list(again) == list(told)
    assert b"quota_nodes" not in plain.read_bytes()
    assert b"quota_nodes" in full.read_bytes()


def test_the_empty_book_comes_back_empty(tmp_path: Path) -> None:
    cache.store(OfferBook.empty(), tmp_path, "none")
    [back] = cache.load(tmp_path)
    assert len(back) == 0


def test_books_come_in_the_order_of_their_names_and_a_name_is_replaced(tmp_path: Path, book: OfferBook) -> None:
    cache.store(book, tmp_path, "b")
    cache.store(OfferBook.empty(), tmp_path, "a")
    assert [len(found) for found in cache.load(tmp_path)] == [0, 3]
    cache.store(OfferBook.empty(), tmp_path, "b")
    assert [len(found) for found in cache.load(tmp_path)] == [0, 0]


def test_no_folder_and_foreign_files_beside_are_no_books(tmp_path: Path, book: OfferBook) -> None:
    assert cache.load(tmp_path / "absent") == []
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / f".half{cache.SUFFIX}").write_text("a hidden file is none of the user's imports")
    assert cache.load(tmp_path) == []


def test_storing_leaves_nothing_behind_but_the_book(tmp_path: Path, book: OfferBook) -> None:
    cache.store(book, tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir()] == [f"mine{cache.SUFFIX}"]


def test_a_failed_write_keeps_the_old_book_and_leaves_nothing(
    tmp_path: Path, book: OfferBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.store(book, tmp_path, "mine")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        cache.store(OfferBook.empty(), tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir()] == [f"mine{cache.SUFFIX}"]
    assert len(cache.load(tmp_path)[0]) == 3


@pytest.mark.parametrize("name", ["", ".hidden", "../escape", "a/b", "a b", "ü", "x" * 101])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, book: OfferBook, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name an import"):
        cache.store(book, tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_every_cut_and_every_flipped_byte_is_noticed_and_the_file_and_the_remedy_are_named(
    tmp_path: Path, book: OfferBook
) -> None:
    path = cache.store(book, tmp_path, "mine")
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 7)] + [whole + b"x"]
    for position in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[position] ^= 0x40
        damaged.append(bytes(changed))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ConfigError) as caught:
            cache.load(tmp_path)
        assert str(path) in str(caught.value)
        assert "isoflop catalog import" in str(caught.value)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / f"evil{cache.SUFFIX}").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ConfigError, match="no such file"):
        cache.load(tmp_path)


def test_what_is_read_cannot_be_changed_by_accident(tmp_path: Path, book: OfferBook) -> None:
    cache.store(book, tmp_path, "mine")
    [back] = cache.load(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        back.usd_per_hour[0] = 1.0


def test_removing_tells_whether_there_was_a_book(tmp_path: Path, book: OfferBook) -> None:
    cache.store(book, tmp_path, "mine")
    assert cache.remove(tmp_path, "mine")
    assert not cache.remove(tmp_path, "mine")
    assert cache.load(tmp_path) == []


def test_a_folder_that_is_a_file_is_the_users_to_mend(tmp_path: Path, book: OfferBook) -> None:
    (tmp_path / "catalog").write_text("")
    with pytest.raises(ConfigError, match="catalog"):
        cache.load(tmp_path / "catalog")
    with pytest.raises(ConfigError, match="cannot be written"):
        cache.store(book, tmp_path / "catalog", "mine")
