"""The CSV texts that a path holds: a file, plain or gzipped, a zip of them or a folder of them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from orchestrator.domain.errors import ConfigError, Problem, SpecError
from orchestrator.spec import csv_text

ZIP = b"PK\x03\x04"
SUFFIXES = (".csv", ".csv.gz")
MOST_FILES = 1000  # in a zip or a folder; the community's catalogues have a few dozen
MOST_BYTES = 1 << 28  # unpacked, of all files of a zip together; the catalogues of all clouds have a tenth of it
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Text:
    r"""One CSV: `name` as people see it, its path in an archive or a folder, the text with `\n` between lines.

    `dated` is when the file says that it was written: the time in a zip, else the modification time.
    """

    name: str
    path: PurePosixPath
    text: str
    whole: bool
    dated: datetime


def texts(path: Path) -> Iterator[Text]:
    """Every CSV in `path`, by name.

    Raises: ConfigError where it cannot be read, SpecError where it is damaged, too large or holds no CSV.
    """
    try:
        if path.is_dir():
            yield from _folder(path)
        elif _is_zip(path):
            yield from _zipped(path)
        else:
            text, whole = csv_text.read(path)
            yield Text(str(path), PurePosixPath(path.absolute().as_posix()), text, whole, _modified(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def holds_several(path: Path) -> bool:
    """Whether `path` is a folder or a zip. Raises: ConfigError where it cannot be read."""
    try:
        return path.is_dir() or _is_zip(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(ZIP)) == ZIP


def _folder(folder: Path) -> Iterator[Text]:
    found = sorted(path for path in folder.rglob("*.csv*") if path.name.endswith(SUFFIXES) and path.is_file())
    _check_count(str(folder), len(found))
    for path in found:
        text, whole = csv_text.read(path)
        yield Text(str(path), PurePosixPath(path.absolute().as_posix()), text, whole, _modified(path))


def _zipped(path: Path) -> Iterator[Text]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if each.filename.endswith(".csv") and not each.is_dir()]
            _check_count(str(path), len(members))
            left = MOST_BYTES
            for member in sorted(members, key=lambda each: each.filename):
                data = _member(archive, member, path, left)
                left -= len(data)
                text = csv_text.decoded(data, f"{path}/{member.filename}")
                name = PurePosixPath(member.filename)
                yield Text(f"{path}/{member.filename}", name, text, whole=True, dated=_zip_date(member))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError and NotImplementedError: encrypted, or packed in a way that Python cannot unpack.
        message = "the archive is damaged or packed in an unknown way: nothing in it can be trusted"
        raise SpecError(str(path), (Problem(0, 0, "", message, hint=f"fetch it again ({error})"),)) from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> bytes:
    """The unpacked bytes; what the archive says of its own size is not believed."""
    pieces, total = [], 0
    with archive.open(member) as stream:
        while piece := stream.read(CHUNK):
            pieces.append(piece)
            total += len(piece)
            if total > most:
                message = f"it unpacks to more than {MOST_BYTES >> 20} MiB"
                raise SpecError(str(path), (Problem(0, 0, "", message),))
    return b"".join(pieces)


def _check_count(name: str, files: int) -> None:
    if not files:
        raise SpecError(name, (Problem(0, 0, "", "there is no CSV in it"),))
    if files > MOST_FILES:
        raise SpecError(name, (Problem(0, 0, "", f"it holds {files} CSVs, more than {MOST_FILES}"),))


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _zip_date(member: zipfile.ZipInfo) -> datetime:
    """A zip says no time zone: its first moment of the day is taken, so that no price looks younger than it may be."""
    year, month, day = member.date_time[:3]
    try:
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError:  # a zip may hold month 0
        return datetime(year, 1, 1, tzinfo=UTC)
