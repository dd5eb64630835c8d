"""Carries trees of files to machines and back: what is missing alone, in pieces that a bad link can pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.runtime.launchers.ssh import files
from orchestrator.runtime.launchers.ssh.node import Node

PIECE_BYTES = files.PIECE_BYTES
TRIES = 3  # of a piece, and of a tree that changes while it is sent
PIECE_S = 300.0
LAY_S = 1800.0  # digests of what is there already are worked out

Entries = list[dict[str, Any]]


class Tree(NamedTuple):
    """A folder of this machine as it is to be elsewhere."""

    root: str
    entries: Entries


class Target(NamedTuple):
    """Where a tree goes. With `mirror` the folder holds nothing else afterwards."""

    tree: Tree
    folder: str
    mirror: bool


class Piece(NamedTuple):
    """Bytes of one content."""

    sha: str
    offset: int
    data: bytes


def read_tree(root: Path, leave_out: Callable[[str, bool], bool] | None = None) -> Tree:
    """What is in `root` now. Raises: OSError."""
    return Tree(str(root), files.with_digests(str(root), files.listing(str(root), leave_out)))


def wish(targets: Sequence[Target]) -> dict[str, object]:
    """The trees as the agent is asked for them."""
    return {"trees": [{"tree": to.folder, "entries": to.tree.entries, "mirror": to.mirror} for to in targets]}


def push(node: Node, targets: Sequence[Target], laid: Mapping[str, Any], *, provider: str) -> None:
    """Make folders of the node hold these trees; `laid` is what the agent's `want` has said of them.

    Raises: as Node.call; TransientError where files change while they are sent.
    """
    said = wish(targets)
    for _ in range(TRIES):
        if laid["missing"]:
            for batch in _batches(_pieces(targets, laid["missing"])):
                pieces = [{"sha": each.sha, "offset": each.offset, "bytes": len(each.data)} for each in batch]
                _patiently(node, "put", {"pieces": pieces}, b"".join(each.data for each in batch), PIECE_S)
            laid, _none = _patiently(node, "lay", said, b"", LAY_S)
        if not laid["broken"]:
            return
        laid, _none = _patiently(node, "want", said, b"", LAY_S)
    raise TransientError(provider, f"files change while they are sent to {node.name}", 10.0)


def fetch(node: Node, target: str, wanted: Entries, into: Path, incoming: Path) -> Entries:
    """Bring files of the node's folder `target` to the folder `into`; returns the entries that came whole.

    A file that changed meanwhile is not among them, and nothing of it is in `into`.

    Raises: as Node.call; OSError of this machine; Unsafe for names that lead outside.
    """
    by_sha = {entry["sha"]: entry for entry in wanted if "link" not in entry}
    for sha, come in files.missing(str(into), str(incoming), wanted).items():
        entry, offset = by_sha[sha], come
        if not entry["size"]:
            files.receive(str(incoming), sha, 0, b"")
        while offset < entry["size"]:
            said = {"tree": target, "path": entry["path"], "offset": offset}
            most = min(PIECE_BYTES, entry["size"] - offset)
            _, data = _patiently(node, "get", {**said, "bytes": most}, b"", PIECE_S)
            if not data:
                break
            files.receive(str(incoming), sha, offset, data)
            offset += len(data)
    broken = set(files.lay(str(into), str(incoming), wanted, False))
    whole = [entry for entry in wanted if entry.get("sha") not in broken]
    if broken and whole:
        files.lay(str(into), str(incoming), whole, False)
    return whole


def _patiently(
    node: Node, verb: str, said: Mapping[str, object], data: bytes, timeout_s: float
) -> tuple[dict[str, Any], bytes]:
    """A call that is made again over a new connection: every verb may be."""
    for left in range(TRIES - 1, -1, -1):
        try:
            return node.call(verb, said, data=data, timeout_s=timeout_s)
        except TransientError:
            if not left:
                raise
    raise AssertionError("unreachable")


def _pieces(targets: Sequence[Target], lacking: Mapping[str, int]) -> Iterator[Piece]:
    left = dict(lacking)
    for tree, entry in ((to.tree, entry) for to in targets for entry in to.tree.entries):
        offset = left.pop(entry.get("sha", ""), None)
        if offset is None:
            continue
        with open(Path(tree.root, entry["path"]), "rb") as file:
            file.seek(offset)
            first = True
            while (data := file.read(min(PIECE_BYTES, entry["size"] - offset))) or first:
                yield Piece(entry["sha"], offset, data)
                offset, first = offset + len(data), False


def _batches(pieces: Iterable[Piece]) -> Iterator[Sequence[Piece]]:
    batch: list[Piece] = []
    for piece in pieces:
        if batch and sum(len(each.data) for each in batch) + len(piece.data) > PIECE_BYTES:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def first_error(failed: Mapping[str, ProviderError]) -> ProviderError | None:
    """The error that says most of what to do: one that trying again does not mend, else any."""
    for_good = [error for error in failed.values() if not isinstance(error, TransientError)]
    return next(iter([*for_good, *failed.values()]), None)
