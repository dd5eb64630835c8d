"""What of a work directory stays at home: `.isoflopignore`, a small part of what `.gitignore` can say."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.domain.errors import UserError

FILE: Final = ".isoflopignore"
USUAL: Final = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.pyc",
    ".venv/",
    "venv/",
    "node_modules/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".DS_Store",
)


class _Rule(NamedTuple):
    pattern: str
    folder: bool  # of folders alone
    anchored: bool  # against the whole path, else against any name on it

    def hits(self, path: str, is_folder: bool) -> bool:
        if self.folder and not is_folder:
            return False
        return fnmatchcase(path if self.anchored else path.rpartition("/")[2], self.pattern)


class Ignore:
    """Says what is left out; call it with a relative path and whether it is a folder."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self._rules = tuple(_rule(line) for line in lines)

    def __call__(self, path: str, is_folder: bool) -> bool:
        return any(rule.hits(path, is_folder) for rule in self._rules)


def of(folder: Path) -> Ignore:
    """The rules of a work directory: the usual ones, and those of its `.isoflopignore`.

    Raises: UserError for a line that this does not know.
    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / FILE} cannot be read: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if line.startswith("!") or "**" in line:
            raise UserError(f"{folder / FILE}, line {number}: {line!r}: neither `!` nor `**` is known here")
    return Ignore((*USUAL, *(line for line in lines if line and not line.startswith("#"))))


def _rule(line: str) -> _Rule:
    bare = line.rstrip("/")
    return _Rule(bare.lstrip("/"), line.endswith("/"), "/" in bare)
