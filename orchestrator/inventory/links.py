"""Imported round trips and bandwidths on disk: one file of columns for each import, in the state folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from orchestrator.catalog import framing
from orchestrator.catalog.cache import NAME
from orchestrator.catalog.framing import Damaged
from orchestrator.catalog.removal import removed
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.network import Link

MAGIC = b"isoflop links 1\n"
SUFFIX = ".links"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTable:
    """What was imported as `name` from the file `source` at `at`: links that all have one origin.

    `dated` says that `at` is when they were measured, as the user said, not when they were imported.
    """

    name: str
    source: str
    at: datetime
    links: tuple[Link, ...]
    dated: bool = False


def origin(source: str, at: datetime, *, dated: bool = False) -> str:
    """What plans say of a link that was imported."""
    return f"imported from {source}{', measured' if dated else ' on'} {at:%Y-%m-%d}"


def store(folder: Path, table: LinkTable) -> Path:
    """Write `table` in place of the import of that name; readers see the old one or the new.

    Raises: ConfigError for a name that makes no file name, and where the folder cannot be written.
    """
    if not NAME.fullmatch(table.name):
        raise ConfigError(f"{table.name!r} cannot name an import: use letters, digits, '.', '_' and '-', not '.' first")
    keys = sorted({end for link in table.links for end in (link.a, link.b)})
    code = {key: index for index, key in enumerate(keys)}
    header = {
        "source": table.source,
        "at": table.at.isoformat(),
        "dated": table.dated,
        "keys": keys,
        "links": len(table.links),
    }
    columns = (
        np.array([link.rtt_ms for link in table.links], "<f8"),
        np.array([link.gbit_s for link in table.links], "<f8"),
        np.array([code[link.a] for link in table.links], "<i4"),
        np.array([code[link.b] for link in table.links], "<i4"),
    )
    path = folder / f"{table.name}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        framing.replace(path, framing.pack(MAGIC, header, columns))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def load(folder: Path) -> tuple[LinkTable, ...]:
    """Every import, the newest first and then by name; no folder is none.

    Raises: ConfigError naming a file that is damaged, and the remedy.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"the network folder {folder} cannot be read: {error.strerror or error}") from error
    found = [table for path in paths if (table := _load(path)) is not None]
    return tuple(sorted(found, key=lambda table: (-table.at.timestamp(), table.name)))


def links(folder: Path) -> tuple[Link, ...]:
    """All imported links: of two about one pair, the newer one comes first, and the first counts."""
    return tuple(link for table in load(folder) for link in table.links)


def remove(folder: Path, name: str) -> bool:
    """Remove an import; whether there was one. Raises: ConfigError where it cannot be removed."""
    if not NAME.fullmatch(name):
        return False
    return removed(folder / f"{name}{SUFFIX}")


def _load(path: Path) -> LinkTable | None:
    try:
        data = path.read_bytes()
        header, offset = framing.unpack(MAGIC, data)
        rows, keys, source = int(header["links"]), header["keys"], str(header["source"])
        at = datetime.fromisoformat(header["at"]).astimezone(UTC)
        figures = np.frombuffer(data, "<f8", 2 * rows, offset).reshape(2, rows).tolist()
        codes = np.frombuffer(data, "<i4", 2 * rows, offset + 16 * rows).reshape(2, rows).tolist()
        dated = bool(header["dated"])
        made = _links(keys, figures, codes, origin(source, at, dated=dated))
    except FileNotFoundError:
        return None  # forgotten by another process since it was listed
    except (Damaged, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        remedy = "Import it again with `isoflop network import`, or remove the file"
        raise ConfigError(f"{path} cannot be read as imported links: {error}. {remedy}") from error
    return LinkTable(name=path.name.removesuffix(SUFFIX), source=source, at=at, links=made, dated=dated)


def _links(
    keys: Sequence[str], figures: Sequence[Sequence[float]], codes: Sequence[Sequence[int]], told: str
) -> tuple[Link, ...]:
    return tuple(
        Link(a=keys[a], b=keys[b], rtt_ms=rtt_ms, gbit_s=gbit_s, origin=told)
        for rtt_ms, gbit_s, a, b in zip(*figures, *codes, strict=True)
    )
