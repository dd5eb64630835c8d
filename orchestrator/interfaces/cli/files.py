"""Reading and writing the user's files: all or nothing, and a clear error where that cannot be."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from orchestrator.domain.errors import UserError


def read(path: Path) -> str:
    """The text of `path`. Raises: UserError naming the file."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def write(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the new one, never a part.

    Raises: UserError naming the file.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, all or nothing. Raises: UserError naming the file."""
    draft = ""
    try:
        target = path.resolve() if path.is_symlink() else path
        if target.exists() and not target.is_file():  # /dev/stdout, a pipe: nothing to replace
            target.write_bytes(data)
            return
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(draft).chmod(0o644 if not target.exists() else target.stat().st_mode & 0o777)
        Path(draft).replace(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        if draft:
            with contextlib.suppress(OSError):
                Path(draft).unlink()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{path} cannot be written: {reason}") from error
