"""Snapshot: everything a plan is made from, frozen at one moment; a bug report is a job file and a snapshot."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.network import Network
from orchestrator.domain.offerbook import FLOAT_COLUMNS, INT_COLUMNS, WORD_COLUMNS, OfferBook


@dataclass(frozen=True, slots=True)
class Gap:
    """A source that could not be asked, and so may hide better offers."""

    provider: str
    detail: str  # "no credentials", "no answer within 5 s", "asked 3 h ago"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Snapshot:
    """The market, the devices and the network at `taken_at`.

    `buyable` names the providers that an adapter with credentials stands behind; offers of the others are prices only.
    """

    taken_at: datetime
    book: OfferBook
    accelerators: tuple[Accelerator, ...]
    network: Network = Network()
    buyable: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def id(self) -> str:
        """Hash of the content: equal snapshots have equal ids. 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        facts = (self.taken_at, self.accelerators, self.network, self.buyable, self.gaps)
        digest.update(repr(facts).encode())
        for name in WORD_COLUMNS:
            column = getattr(self.book, name)
            digest.update("\0".join(column.vocab).encode())
            digest.update(column.codes.tobytes())
        for name in FLOAT_COLUMNS + INT_COLUMNS:
            digest.update(getattr(self.book, name).tobytes())
        return digest.hexdigest()
