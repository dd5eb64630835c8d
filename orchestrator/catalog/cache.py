"""Offer books on disk: one file per book, columns as they lie in memory, readable in milliseconds and without pickle.

A file is the magic line, the length and CRC-32 of what follows, the length of a JSON header, the header (vocabularies,
row count, notes) padded so that columns lie on eight bytes, and the columns one after the other, little-endian: floats
and integers of eight bytes, then the word codes of four.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.catalog import framing
from orchestrator.catalog.framing import Damaged
from orchestrator.catalog.removal import removed
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offerbook import (
    FLOAT_COLUMNS,
    INT_COLUMNS,
    OPTIONAL,
    WORD_COLUMNS,
    Column,
    FloatArray,
    IntArray,
    OfferBook,
    Words,
)

MAGIC = b"isoflop offers 1\n"
SUFFIX = ".offers"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
ORDER = (*FLOAT_COLUMNS, *INT_COLUMNS, *WORD_COLUMNS)  # those of OPTIONAL that a book has follow


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A book as read back, and the notes it was stored with."""

    book: OfferBook
    notes: Mapping[str, str]


def store(book: OfferBook, folder: Path, name: str) -> Path:
    """Write `book` into `folder` under `name`, replacing the book of that name; readers see the old one or the new.

    Raises: ConfigError for a name that makes no file name, and where the folder cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name an import: use letters, digits, '.', '_' and '-', not '.' first")
    path = folder / f"{name}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(path, book, {})
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def load(folder: Path) -> list[OfferBook]:
    """All books stored in `folder`, by name; no folder is no books.

    Raises: ConfigError naming a file that is damaged or foreign, and the remedy.
    """
    books = []
    for path in stored(folder):
        try:
            books.append(read(path).book)
        except FileNotFoundError:
            continue  # removed by another process since it was listed
        except (Damaged, OSError) as error:
            raise ConfigError(
                f"{path} cannot be read as imported offers: {error}. "
                f"Import the CSV again with `isoflop catalog import`, or remove the file"
            ) from error
    return books


def stored(folder: Path) -> tuple[Path, ...]:
    """The files that `load` reads, by name.

    Raises: ConfigError where the folder is there and cannot be listed.
    """
    try:
        found = [path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith(".")]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"the catalogue folder {folder} cannot be read: {error.strerror or error}") from error
    return tuple(sorted(found))


def remove(folder: Path, name: str) -> bool:
    """Remove the book stored as `name`; whether there was one.

    Raises: ConfigError where it is there and cannot be removed.
    """
    return removed(folder / f"{name}{SUFFIX}")


def write(path: Path, book: OfferBook, notes: Mapping[str, str]) -> None:
    """Write a book and its notes to `path` atomically and durably.

    Raises: OSError.
    """
    framing.replace(path, _encode(book, notes))


def read(path: Path) -> Stored:
    """The book at `path`; its columns are read-only views of the file's bytes.

    Raises: Damaged, OSError.
    """
    return _decode(path.read_bytes())


def _encode(book: OfferBook, notes: Mapping[str, str]) -> list[bytes]:
    vocab = {name: list(getattr(book, name).vocab) for name in WORD_COLUMNS}
    known: dict[str, object] = {"rows": len(book), "vocab": vocab, "notes": dict(notes)}
    more = [name for name in OPTIONAL if getattr(book, name) is not None]
    if more:
        known["more"] = more
    columns = []
    for name in (*ORDER, *more):
        column = getattr(book, name)
        columns.append(np.ascontiguousarray(column.codes if isinstance(column, Words) else column, _dtype(name)))
    return framing.pack(MAGIC, known, columns)


def _decode(data: bytes) -> Stored:
    header, offset = framing.unpack(MAGIC, data)
    rows = int(header["rows"])
    columns: dict[str, Column] = {}
    for name in (*ORDER, *header.get("more", ())):
        if name in WORD_COLUMNS:
            codes: npt.NDArray[np.int32] = np.frombuffer(data, "<i4", rows, offset)
            columns[name] = Words(codes, tuple(header["vocab"][name]))
            offset += codes.nbytes
        else:
            values: FloatArray | IntArray = np.frombuffer(data, _dtype(name), rows, offset)
            columns[name] = values
            offset += values.nbytes
    return Stored(OfferBook.from_columns(columns), header["notes"])


def _dtype(name: str) -> str:
    if name in FLOAT_COLUMNS or isinstance(OPTIONAL.get(name), float):
        return "<f8"
    return "<i8" if name in INT_COLUMNS or name in OPTIONAL else "<i4"
