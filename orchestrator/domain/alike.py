"""Alike: rows that agree in every column that a formula looks at, so that it is worked out once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.domain.offerbook import IntArray

SLOTS_LOG2 = 16
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio (Knuth, The Art of Computer Programming 3, 6.4)
FEW = 256  # rows that are not worth the look


class Alike(NamedTuple):
    """`rows` stand for all, rising: row i is like `rows[place[i]]`."""

    rows: IntArray
    place: IntArray


def alike(columns: Sequence[npt.NDArray[Any]]) -> Alike:
    """Rows that stand for all others of `columns`, each of one shape (n,) and of 64-bit numbers or narrower integers.

    In time linear in n, without sorting. Rows of one group are the same bit by bit; two groups may be the same as well,
    where another shares their slot of the table.
    """
    count = len(columns[0])
    if count <= FEW:
        every = np.arange(count)
        return Alike(every, every)
    bits = [_bits(column) for column in columns]
    mixed = np.zeros(count, np.uint64)
    for column in bits:
        mixed ^= column
        mixed *= ODD
    slot = (mixed >> np.uint64(64 - SLOTS_LOG2)).astype(np.int64)
    rows = np.arange(count)
    table = np.zeros(1 << SLOTS_LOG2, np.int64)
    table[slot] = rows  # whoever comes last stands for the slot
    stands = table[slot]
    same = np.ones(count, np.bool_)
    for column in bits:
        same &= column[stands] == column
    stands = np.where(same, stands, rows)
    standing = np.zeros(count, np.bool_)
    standing[stands] = True
    return Alike(np.flatnonzero(standing), (np.cumsum(standing) - 1)[stands])


def _bits(column: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    wide = column if column.dtype.itemsize == 8 else column.astype(np.int64)
    return np.ascontiguousarray(wide).view(np.uint64)
