"""Trees of files that are the same at two places: what is there, what is missing, and putting it there whole.

Used on both ends of a connection, so it needs the standard library of Python 3.6 alone. A tree is described by entries:
`{"path", "mode", "size", "sha", "mtime_ns"}` of a file, `{"path", "link"}` of a symbolic link. Paths are relative, with
"/" between names; names that are no UTF-8 travel as surrogates. A tree is never written outside of its folder: entries
that would are refused.
"""

import contextlib
import hashlib
import os
import shutil
import stat
from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, Optional

PIECE_BYTES = 1 << 22
Entry = Dict[str, Any]


class Unsafe(ValueError):
    """An entry that would be written, or point, outside of its tree."""


def named(path: str) -> bytes:
    """A path as the file system has it, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def shown(path: bytes) -> str:
    """The reverse of `named`."""
    return path.decode("utf-8", "surrogateescape")


def digest(path: bytes) -> str:
    """SHA-256 of a file's content."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            found.update(piece)
    return found.hexdigest()


def inside(path: str) -> str:
    """`path`, which names a place within a tree. Raises: Unsafe."""
    names = path.split("/")
    if not path or path.startswith("/") or "\0" in path or any(name in ("", ".", "..") for name in names):
        raise Unsafe("%r is no path within a folder" % path)
    return path


def link_inside(path: str, target: str) -> bool:
    """Whether a link at `path` stays within the tree."""
    if not target or target.startswith("/") or "\0" in target:
        return False
    at = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return not (at == ".." or at.startswith("../"))


def listing(root: str, leave_out: Optional[Callable[[str, bool], bool]] = None) -> List[Entry]:
    """Every regular file and every link within `root` in order, without digests; nothing where it is no folder.

    `leave_out` is asked with a relative path and whether it is a folder. What goes away while we look is left out.
    """
    found: List[Entry] = []
    base = named(root)
    for folder, names, files in os.walk(base):
        within = b"" if folder == base else os.path.relpath(folder, base) + b"/"
        linked = [name for name in names if os.path.islink(os.path.join(folder, name))]
        names[:] = sorted(
            name
            for name in names
            if name not in linked and not (leave_out is not None and leave_out(shown(within + name), True))
        )
        for name in sorted(files + linked):
            path = shown(within + name)
            if leave_out is None or not leave_out(path, False):
                with contextlib.suppress(FileNotFoundError):
                    found += _entry(os.path.join(folder, name), path)
    return found


def _entry(at: bytes, path: str) -> List[Entry]:
    about = os.lstat(at)
    if stat.S_ISLNK(about.st_mode):
        target = shown(os.readlink(at))
        return [{"path": path, "link": target}] if link_inside(path, target) else []
    if not stat.S_ISREG(about.st_mode):
        return []
    mode = stat.S_IMODE(about.st_mode) & 0o777
    return [{"path": path, "mode": mode, "size": about.st_size, "mtime_ns": about.st_mtime_ns}]


def with_digests(root: str, entries: Iterable[Entry], known: Optional[Dict[str, Entry]] = None) -> List[Entry]:
    """The entries with the digests of their files; those of `known` that look unchanged are believed."""
    found = []
    for entry in entries:
        if "link" not in entry:
            before = (known or {}).get(entry["path"], {})
            same = all(before.get(name) == entry[name] for name in ("size", "mtime_ns"))
            sha = before.get("sha") if same else None
            found.append(dict(entry, sha=sha or digest(os.path.join(named(root), named(entry["path"])))))
        else:
            found.append(entry)
    return found


def _plain(root: str, path: str) -> bytes:
    """Where `path` is, with real folders alone above it. Raises: Unsafe."""
    at = named(root)
    for name in named(inside(path)).split(b"/")[:-1]:
        at = os.path.join(at, name)
        if os.path.islink(at):
            raise Unsafe("%r lies behind a link" % path)
    return os.path.join(named(root), named(path))


def missing(root: str, incoming: str, entries: Iterable[Entry]) -> Dict[str, int]:
    """Which contents `root` does not have for these entries, with how many of their bytes have come in already."""
    lacking: Dict[str, int] = {}
    for entry in entries:
        if "link" in entry or entry["sha"] in lacking:
            continue
        at = _plain(root, entry["path"])
        if _has(at, entry):
            continue
        try:
            come = os.path.getsize(os.path.join(incoming, entry["sha"]))
        except FileNotFoundError:
            come = 0
        lacking[entry["sha"]] = come if come <= entry["size"] else 0
    return lacking


def _has(at: bytes, entry: Entry) -> bool:
    try:
        about = os.lstat(at)
        same_size = stat.S_ISREG(about.st_mode) and about.st_size == entry["size"]
        return same_size and digest(at) == entry["sha"]
    except (FileNotFoundError, NotADirectoryError):
        return False


def receive(incoming: str, sha: str, offset: int, piece: bytes) -> None:
    """Put a piece of a content where it waits for the rest. Pieces that came before may come again."""
    if len(sha) != 64 or not all(letter in "0123456789abcdef" for letter in sha):
        raise Unsafe("%r is no digest" % sha)
    os.makedirs(incoming, mode=0o700, exist_ok=True)
    handle = os.open(os.path.join(incoming, sha), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.lseek(handle, offset, os.SEEK_SET)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.ftruncate(handle, offset + len(piece))
    finally:
        os.close(handle)


def lay(root: str, incoming: str, entries: List[Entry], mirror: bool) -> List[str]:
    """Make `root` hold the entries, each put in place whole; with `mirror` nothing else is left there.

    Returns digests of contents that came in damaged and were thrown away; then nothing was changed.
    """
    wanted = {inside(entry["path"]) for entry in entries}
    lacking = missing(root, incoming, entries)
    broken = [sha for sha in lacking if not _whole(os.path.join(incoming, sha), sha)]
    if broken:
        return broken
    os.makedirs(named(root), exist_ok=True)
    uses = Counter(entry["sha"] for entry in entries if "link" not in entry)
    for entry in entries:
        at = _plain(root, entry["path"])
        if "link" in entry:
            _make_room(at)
            _link(at, entry)
            continue
        uses[entry["sha"]] -= 1
        if entry["sha"] in lacking:
            _make_room(at)
            draft = os.path.join(named(incoming), entry["sha"].encode())
            if uses[entry["sha"]]:  # another file has the same content
                draft = os.path.join(os.path.dirname(at), b".isoflop-%d" % os.getpid())
                shutil.copyfile(os.path.join(named(incoming), entry["sha"].encode()), draft)
            os.chmod(draft, entry["mode"] | 0o200)
            os.replace(draft, at)
        else:
            os.chmod(at, entry["mode"] | 0o200)
    if mirror:
        remove(root, [entry["path"] for entry in listing(root) if entry["path"] not in wanted])
    return []


def remove(root: str, paths: Iterable[str]) -> None:
    """Remove these files and links of a tree, and the folders that this leaves empty."""
    for path in paths:
        at, base = _plain(root, path), named(root)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(at)
        with contextlib.suppress(OSError):  # not empty, or gone
            while os.path.dirname(at) != base:
                at = os.path.dirname(at)
                os.rmdir(at)


def _whole(path: str, sha: str) -> bool:
    try:
        good = digest(named(path)) == sha
    except FileNotFoundError:
        return False
    if not good:
        os.unlink(path)
    return good


def _make_room(at: bytes) -> None:
    """Folders above `at`; what stands in the way of one, or a folder at the place itself, makes room."""
    parent = os.path.dirname(at)
    try:
        os.makedirs(parent, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        while not os.path.lexists(parent):
            parent = os.path.dirname(parent)
        os.unlink(parent)
        os.makedirs(os.path.dirname(at), exist_ok=True)
    if os.path.isdir(at) and not os.path.islink(at):
        shutil.rmtree(at)


def _link(at: bytes, entry: Entry) -> None:
    if not link_inside(entry["path"], entry["link"]):
        raise Unsafe("the link %r leads outside" % entry["path"])
    draft = os.path.join(os.path.dirname(at), b".isoflop-%d" % os.getpid())
    os.symlink(named(entry["link"]), draft)
    os.replace(draft, at)
