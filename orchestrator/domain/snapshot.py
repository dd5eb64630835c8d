"""Snapshot: everything a plan is made from, frozen at one moment; a bug report is a job file and a snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.network import EgressRate, Link, Network, Place
from orchestrator.domain.offerbook import FLOAT_COLUMNS, INT_COLUMNS, OPTIONAL, WORD_COLUMNS, OfferBook
from orchestrator.domain.sizing import Assumption
from orchestrator.domain.standing import Block, Commitment, Holding, ProviderScore, Spend


@dataclass(frozen=True, slots=True)
class Gap:
    """A source that could not be asked, and so may hide better offers."""

    provider: str
    detail: str  # "no credentials", "no answer within 5 s", "asked 3 h ago"


class _Known:
    """What a snapshot has worked out about itself."""

    __slots__ = ("_id",)

    _id: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Snapshot(_Known):
    """The market, the devices and the network at `taken_at`.

    `buyable` names the providers that an adapter with credentials stands behind; offers of the others are prices only.
    `calibration` holds the sizing's numbers that the user's own history gave, in place of the bundled ones. What is
    paid for, held, spent and learned already stands in `commitments`, `holdings`, `spends` and `scores`, and what was
    refused a short while ago in `blocks`.
    """

    taken_at: datetime
    book: OfferBook
    accelerators: tuple[Accelerator, ...]
    network: Network = Network()
    buyable: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    calibration: tuple[Assumption, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    holdings: tuple[Holding, ...] = ()
    spends: tuple[Spend, ...] = ()
    scores: tuple[ProviderScore, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def id(self) -> str:
        """Hash of the content: equal snapshots have equal ids. 16 hexadecimal digits."""
        if not hasattr(self, "_id"):  # milliseconds that a snapshot spends once, however many plans are made of it
            object.__setattr__(self, "_id", self._hash())
        return self._id

    def _hash(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.taken_at, self.buyable, self.gaps)).encode())
        if self.calibration:  # without one the id is what it was before there were any
            digest.update(repr(self.calibration).encode())
        standing = (self.commitments, self.holdings, self.spends, self.scores)
        if any(standing):
            digest.update(repr(standing).encode())
        if self.blocks:
            digest.update(repr(self.blocks).encode())
        for part in (self.accelerators, self.network.places, self.network.links, self.network.egress):
            digest.update(len(part).to_bytes(8) + _columns(part))
        for name in WORD_COLUMNS:
            column = getattr(self.book, name)
            digest.update("\0".join(column.vocab).encode())
            digest.update(column.codes.tobytes())
        for name in FLOAT_COLUMNS + INT_COLUMNS:
            digest.update(getattr(self.book, name).tobytes())
        for name in OPTIONAL:
            if (column := getattr(self.book, name)) is not None:
                digest.update(name.encode() + column.tobytes())
        return digest.hexdigest()


def _columns(values: Sequence[Accelerator] | Sequence[Place] | Sequence[Link] | Sequence[EgressRate]) -> bytes:
    """The fields of every value, column by column: the repr of thousands of links would take longer than the plan."""
    names = [field.name for field in fields(values[0])] if values else []
    columns = ([getattr(value, name) for value in values] for name in names)
    # What nobody says leaves no mark: files from before there was such a field keep their id.
    return b"\1".join(_bytes(column) for column in columns if any(value is not None for value in column))


def _bytes(column: Sequence[object]) -> bytes:
    """A column of one type as bytes that differ where the values do."""
    if isinstance(column[0], float | int) and None not in column:
        return np.array(column, np.float64).tobytes()
    if isinstance(column[0], str):
        return "\0".join(map(str, column)).encode()
    return repr(column).encode()
