"""Refusals of the recent past: what a provider said no to is passed over until it is asked again."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime
from typing import NamedTuple

import numpy as np

from orchestrator.domain.errors import QuotaError
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, IntArray, OfferBook, Words
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.standing import Block


class Blocked(NamedTuple):
    """The blocks that stand at `at` and the rows of a book that each is about."""

    at: datetime
    blocks: tuple[Block, ...]
    masks: tuple[BoolArray, ...]

    def among(self, rows: IntArray, nodes: FloatArray | None = None) -> BoolArray:
        """Where so many `nodes` of `rows` of the book are blocked, or where no number is given, any number."""
        found = np.zeros(len(rows), np.bool_)
        for block, mask in zip(self.blocks, self.masks, strict=True):
            found |= mask[rows] if nodes is None else mask[rows] & (nodes >= block.nodes)
        return found

    def sentence(self, row: int) -> str:
        """Who said no, when, and when it is asked again: the last of those that are about `row`."""
        about = [block for block, mask in zip(self.blocks, self.masks, strict=True) if mask[row]]
        return max(about, key=lambda block: (block.until, block.since)).sentence(self.at)

    def until(self, rows: IntArray) -> datetime | None:
        """The first moment at which anything of `rows` may be asked for again; None without any that is blocked."""
        over = [block.until for block, mask in zip(self.blocks, self.masks, strict=True) if mask[rows].any()]
        return min(over, default=None)


def blocked(book: OfferBook, snapshot: Snapshot) -> Blocked:
    """What of `book` is blocked at the moment of `snapshot`."""
    standing = tuple(block for block in snapshot.blocks if block.until > snapshot.taken_at)
    return Blocked(snapshot.taken_at, standing, tuple(_about(block, book) for block in standing))


def _about(block: Block, book: OfferBook) -> BoolArray:
    mask = np.ones(len(book), np.bool_)
    for name, word in block.reach():
        mask &= _is(getattr(book, name), word)
    if block.error == QuotaError.__name__ and book.quota_nodes is not None:
        mask &= ~_raised(block, book, book.quota_nodes)
    return mask


def _raised(block: Block, book: OfferBook, quota: IntArray) -> BoolArray:
    """Where the account may have more by now than when it was refused: of the same instance type in the same region."""
    same = quota > (UNKNOWN if block.quota_nodes is None else block.quota_nodes)
    for name in ("region", "instance_type", "billing"):
        same &= _is(getattr(book, name), str(getattr(block, name)))
    return same


def _is(column: Words, word: str) -> BoolArray:
    """Where the column has that one word, found by halves: there may be hundreds of blocks, and thousands of words."""
    code = bisect_left(column.vocab, word)
    if code == len(column.vocab) or column.vocab[code] != word:
        return np.zeros(len(column), np.bool_)
    found: BoolArray = column.codes == code
    return found
