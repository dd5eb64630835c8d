"""What we asked Lambda for, written down before we asked: the memory that an API without idempotency keys lacks."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.errors import TransientError
from providers.lambda_cloud.names import owner_digest, token_digest


@dataclass(slots=True, kw_only=True)
class Entry:
    """One purchase: what was asked for and what came of it. Times are seconds since the epoch."""

    token: str
    lease_id: str
    nodes: int
    cents: int
    ids: dict[int, str] = field(default_factory=dict)  # node -> id of its instance
    asked_at: dict[int, float] = field(default_factory=dict)  # node -> when; of launches whose answer is not known
    launched_at: float = 0.0  # the last launch that was answered with an id
    complete: bool = False  # all nodes were bought


class Journal:
    """Purchases of one owner by token, in files; whoever changes an entry holds its lock."""

    def __init__(self, folder: Path, owner: str, provider: str) -> None:
        self._folder, self._owner, self._provider = folder / owner_digest(owner), owner, provider

    def lock(self, digest: str) -> Path:
        """The file whose lock guards the purchase of the token with this digest."""
        return self._folder / f"{digest}.lock"

    def read(self, digest: str) -> Entry | None:
        """The entry of the token with this digest; None without one, and for one that cannot be read.

        A damaged entry is worth as little as a lost one: what Lambda lists is then all that is known.
        """
        try:
            raw = json.loads((self._folder / f"{digest}.json").read_text(encoding="utf-8"))
            return Entry(
                token=str(raw["token"]),
                lease_id=str(raw["lease_id"]),
                nodes=int(raw["nodes"]),
                cents=int(raw["cents"]),
                ids={int(node): str(identifier) for node, identifier in raw["ids"].items()},
                asked_at={int(node): float(at) for node, at in raw["asked_at"].items()},
                launched_at=float(raw["launched_at"]),
                complete=bool(raw["complete"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, entry: Entry) -> None:
        """Keep `entry`, on disk before this returns. Raises: TransientError."""
        path = self._folder / f"{token_digest(entry.token)}.json"
        fresh = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
        record = {
            "token": entry.token,
            "lease_id": entry.lease_id,
            "nodes": entry.nodes,
            "cents": entry.cents,
            "ids": entry.ids,
            "asked_at": entry.asked_at,
            "launched_at": entry.launched_at,
            "complete": entry.complete,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            detail = f"{path}: {error.strerror or error}; nothing is bought that cannot be written down first"
            raise TransientError(self._provider, detail, 30.0) from error

    def forget(self, digest: str) -> None:
        """Remove an entry. Its lock file stays: removing it would let two hold it."""
        (self._folder / f"{digest}.json").unlink(missing_ok=True)
