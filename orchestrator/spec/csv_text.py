"""The text of a CSV file, plain or gzipped, and its records, so that no damage to it passes without a word."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.errors import ConfigError, Problem, SpecError

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
MAX_BYTES = 1 << 29  # unpacked; the whole market of all clouds is a hundredth of it
CHUNK = 1 << 20
MOST_LINES = 20  # of one record: a spreadsheet's cell may hold line breaks


class Record(NamedTuple):
    """One record: its first line in the file, from 1, and its fields, or why it has none."""

    line: int
    fields: Sequence[str]
    fault: str = ""


def read(path: Path) -> tuple[str, bool]:
    r"""The text of the file with `\n` between lines, and whether the file is whole.

    Bytes that are no UTF-8 become lone surrogates, which no field should accept: the fault stays in its line.

    Raises: ConfigError where it cannot be read; SpecError where it is too large, UTF-16 or a damaged archive.
    """
    data = _bytes(path)
    whole = True
    if data.startswith(GZIP):
        data, whole = _unpack(data, str(path))
    if len(data) > MAX_BYTES:
        raise SpecError(str(path), (Problem(0, 0, "", f"it unpacks to more than {MAX_BYTES >> 20} MiB"),))
    return decoded(data, str(path)), whole


def decoded(data: bytes, file: str) -> str:
    r"""The text in `data` with `\n` between lines; bytes that are no UTF-8 become lone surrogates, as by `read`.

    Raises: SpecError where it is UTF-16.
    """
    if data.startswith(UTF16):
        raise SpecError(file, (Problem(1, 1, "", "the text is UTF-16", hint="save it as UTF-8"),))
    text = data.removeprefix(BOM).decode("utf-8", errors="surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def records(lines: Sequence[str], width: int) -> Iterator[Record]:
    """The records of `lines` after the header, blank lines left out, every other line in exactly one record.

    A record of `width` fields may span lines where a quoted field holds line breaks. A quote that makes no such record
    spoils its own line, and not all that follow.
    """
    row = 1
    while row < len(lines):
        if lines[row].strip():
            record, taken = _record(lines, row, width)
            yield record
            row += taken
        else:
            row += 1


def _record(lines: Sequence[str], row: int, width: int) -> tuple[Record, int]:
    fault = ""
    for taken in range(1, min(MOST_LINES, len(lines) - row) + 1):
        try:
            fields = next(csv.reader(("\n".join(lines[row : row + taken]),), strict=True))
        except csv.Error as error:
            fault = fault or f"not a CSV line: {error}"
            if "unexpected end" in str(error):  # a quote is open still
                continue
            break
        if taken == 1 or len(fields) == width:
            return Record(row + 1, fields), taken
        break
    return Record(row + 1, (), fault), 1


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(str(path), (Problem(0, 0, "", f"it is larger than {MAX_BYTES >> 20} MiB"),))
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _unpack(data: bytes, file: str) -> tuple[bytes, bool]:
    """What the gzip members hold, and whether the last one is whole. Stops a byte past `MAX_BYTES`."""
    pieces: list[bytes] = []
    total = 0
    rest = data
    try:
        while rest.startswith(GZIP):
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            while not member.eof and rest and total <= MAX_BYTES:
                pieces.append(member.decompress(rest, CHUNK))
                total += len(pieces[-1])
                rest = member.unconsumed_tail
            if not member.eof:
                pieces.append(member.flush() if total <= MAX_BYTES else b" ")
                return b"".join(pieces), total > MAX_BYTES
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        message = "the archive is damaged: nothing in it can be trusted"
        raise SpecError(file, (Problem(0, 0, "", message, hint=f"fetch it again ({error})"),)) from error
    if rest:
        message = "the archive is followed by something that is no archive"
        raise SpecError(file, (Problem(0, 0, "", message, hint="fetch it again"),))
    return b"".join(pieces), True
