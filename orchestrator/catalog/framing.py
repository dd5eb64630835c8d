"""Files of columns: a magic line, length and CRC-32 of the rest, a JSON header, and the columns one after the other."""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

PREFIX = struct.Struct("<QI")  # length of the rest and its CRC-32
LENGTH = struct.Struct("<Q")  # of the header

Column: TypeAlias = npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.int32] | npt.NDArray[np.int8]


class Damaged(Exception):
    """The bytes are not a whole file of ours; the message says how."""


def pack(magic: bytes, header: Mapping[str, object], columns: Sequence[Column]) -> list[bytes]:
    """The pieces of a file, each column in its own dtype."""
    start = len(magic) + PREFIX.size + LENGTH.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(start + len(text)) % 8)
    pieces = [LENGTH.pack(len(text)), text, *(np.ascontiguousarray(column).tobytes() for column in columns)]
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return [magic, PREFIX.pack(sum(map(len, pieces)), crc), *pieces]


def unpack(magic: bytes, data: bytes) -> tuple[Mapping[str, Any], int]:
    """The header, and where the columns begin.

    Raises: Damaged where these are not the bytes that were written: no other check is needed against accidents.
    """
    start = len(magic) + PREFIX.size
    if not data.startswith(magic):
        raise Damaged("it is no such file of this version of isoflop")
    if len(data) < start:
        raise Damaged("it ends too early")
    length, crc = PREFIX.unpack_from(data, len(magic))
    if len(data) - start != length:
        raise Damaged(f"it holds {len(data) - start} of {length} bytes")
    if zlib.crc32(memoryview(data)[start:]) != crc:
        raise Damaged("its checksum does not match")
    (size,) = LENGTH.unpack_from(data, start)
    begin = start + LENGTH.size
    header: Mapping[str, Any] = json.loads(data[begin : begin + size])
    return header, begin + size


def replace(path: Path, pieces: Iterable[bytes]) -> None:
    """Write `pieces` to `path` atomically and durably: a reader sees the file before or the file after.

    Raises: OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
