"""Reads YAML or JSON text into plain data that remembers the line and column of every value, within fixed bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import yaml

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.spec.quantity import shown

MOST_BYTES = 2**20
MOST_NODES = 20_000  # aliases count as all that they stand for, so that no small file is a huge one
MOST_DEPTH = 32

Data: TypeAlias = "str | list[Data] | dict[str, Data] | None"
Where: TypeAlias = tuple[str | int, ...]
PLAIN_TAGS = frozenset({"!"} | {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")})
TAGS = {"sequence": "tag:yaml.org,2002:seq", "mapping": "tag:yaml.org,2002:map"}
NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Spot(NamedTuple):
    """A place in a text; line and column count from 1."""

    line: int
    column: int


class Document(NamedTuple):
    """The data of one document: scalars are strings as written (or None), and `problems` did not stop the reading."""

    data: Data
    values: dict[Where, Spot]
    keys: dict[Where, Spot]
    problems: tuple[Problem, ...]

    def spot(self, where: Where, *, key: bool = False) -> Spot:
        """The place of a value (or of its key); of the nearest container that has one where the value has none."""
        if key and where in self.keys:
            return self.keys[where]
        while where and where not in self.values:
            where = where[:-1]
        return self.values.get(where, Spot(1, 1))


def read_text(path: Path) -> str:
    """The text of a file of at most 1 MiB in UTF-8.

    Raises: SpecError.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(str(path), f"cannot be read: {error.strerror}", "name a job file in YAML or JSON") from error
    if len(raw) > MOST_BYTES:
        raise _refused(str(path), "is larger than 1 MiB", "a job file has a few hundred lines: is this the right file?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        problem = Problem(line, column, "", f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        raise SpecError(str(path), (problem,)) from error


def read(text: str, file: str) -> Document:
    """The one document of `text`.

    Raises: SpecError where the text is empty, broken, over the bounds, or holds several documents.
    """
    if len(text) > MOST_BYTES:
        raise _refused(file, "is larger than 1 MiB", "a job file has a few hundred lines")
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.YAMLError as error:
        raise SpecError(file, (*builder.problems, _broken(error, text))) from error
    except _Stop as stop:
        raise SpecError(file, (*builder.problems, stop.problem)) from stop
    except UnicodeEncodeError as error:
        raise _refused(file, "holds characters that are no text (lone surrogates)", "save the file as UTF-8") from error
    if builder.documents == 0 or builder.root is None:
        raise _refused(file, "is empty", "run 'isoflop init' for an example of each kind of job")
    return Document(builder.root, builder.values, builder.keys, tuple(builder.problems))


def _refused(file: str, message: str, hint: str) -> SpecError:
    return SpecError(file, (Problem(0, 0, "", message, hint),))


def _events(text: str) -> Iterator[Any]:
    # libyaml where PyYAML was built with it: ten times faster, the same events
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return cast(Iterator[Any], yaml.parse(text, Loader=loader))


def _broken(error: yaml.YAMLError, text: str) -> Problem:
    """A YAML error as a problem; its own words hold no piece of the text but names of anchors and tags."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        lines = text.splitlines()
        rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
        if rest.startswith("\t") or (mark.line < len(lines) and lines[mark.line].startswith("\t")):
            hint = "YAML indents with spaces, not tabs"
        elif rest.startswith(("@", "`", "%", ": ")):
            hint = f"text with {shown(rest[0])} here needs quotes around it"
        else:
            hint = error.context or ""
        return Problem(mark.line + 1, mark.column + 1, "", f"broken YAML: {error.problem}", hint)
    position = getattr(error, "position", 0) or 0
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    reason = getattr(error, "reason", "") or "unreadable text"
    return Problem(line, column, "", f"broken YAML: {reason}", "is this a text file?")


class _Stop(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, mark: Any, message: str, hint: str) -> None:
        self.problem = Problem(mark.line + 1, mark.column + 1, "", message, hint)
        super().__init__(message)


class _Open:
    """A container whose end has not come yet; `key` is a mapping's key that waits for its value."""

    def __init__(self, data: list[Data] | dict[str, Data], where: Where, anchor: str | None, before: int) -> None:
        self.data, self.where, self.anchor = data, where, anchor
        self.before = before  # the node count when it began
        self.key: str | None = None
        self.waiting = False
        self.merges: list[dict[str, Data]] = []


class _Builder:
    """Folds parser events into data; a stack instead of recursion, so that depth is a number and not a crash."""

    def __init__(self) -> None:
        self.documents = 0
        self.root: Data = None
        self.nodes = 0
        self.stack: list[_Open] = []
        self.values: dict[Where, Spot] = {}
        self.keys: dict[Where, Spot] = {}
        self.anchors: dict[str, tuple[Data, int] | None] = {}  # None: still open
        self.problems: list[Problem] = []

    def take(self, event: Any) -> None:
        """One event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(event, {}, "mapping")
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(event, [], "sequence")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _Stop(event.start_mark, "a second document begins here", "one file describes one job")

    def _scalar(self, event: Any) -> None:
        self._count(event, 1)
        plain = not event.style  # libyaml says '', PyYAML None
        if event.tag is not None and event.tag not in PLAIN_TAGS:
            self._problem(event, f"the tag {shown(event.tag)} is not supported", "write plain values")
        parent = self.stack[-1] if self.stack else None
        if parent is not None and isinstance(parent.data, dict) and not parent.waiting:
            self._key(event, parent)
            return
        null = plain and event.tag is None and event.value in NULLS
        value = None if null else event.value
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._add(event, value)

    def _key(self, event: Any, parent: _Open) -> None:
        parent.key, parent.waiting = event.value, True
        if event.value == "<<" and not event.style:
            return
        where = (*parent.where, event.value)
        if where in self.keys:
            first = self.keys[where]
            self._problem(event, f"the key {shown(event.value)} is given twice", f"first on line {first.line}")
        self.keys.setdefault(where, _spot(event))

    def _alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            raise _Stop(event.start_mark, f"the alias {shown(event.anchor)} has no anchor before it", "")
        known = self.anchors[event.anchor]
        if known is None:
            raise _Stop(event.start_mark, f"the alias {shown(event.anchor)} contains itself", "write the values out")
        data, weight = known
        self._count(event, weight)
        parent = self.stack[-1]
        if isinstance(parent.data, dict) and not parent.waiting:
            raise _Stop(event.start_mark, "an alias cannot be a key", "write the key out")
        self._add(event, data)

    def _open(self, event: Any, data: list[Data] | dict[str, Data], shape: str) -> None:
        self._count(event, 1)
        if len(self.stack) >= MOST_DEPTH:
            raise _Stop(event.start_mark, f"nested more than {MOST_DEPTH} deep", "a job file needs about five levels")
        if event.tag is not None and event.tag not in (TAGS[shape], "!"):
            self._problem(event, f"the tag {shown(event.tag)} is not supported", "write plain values")
        parent = self.stack[-1] if self.stack else None
        if parent is not None and isinstance(parent.data, dict) and not parent.waiting:
            raise _Stop(event.start_mark, f"a {shape} cannot be a key", "keys are plain words")
        where = self._where(parent)
        self.values.setdefault(where, _spot(event))
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(data, where, event.anchor, self.nodes))

    def _close(self) -> None:
        done = self.stack.pop()
        if isinstance(done.data, dict):
            for merged in done.merges:  # after all explicit keys, which win
                self._count_merge(done, merged)
                for key, value in merged.items():
                    done.data.setdefault(key, value)
        if done.anchor is not None:
            self.anchors[done.anchor] = (done.data, self.nodes - done.before + 1)
        self._place(done.data)

    def _add(self, event: Any, value: Data) -> None:
        where = self._where(self.stack[-1] if self.stack else None)
        self.values.setdefault(where, _spot(event))
        self._place(value)

    def _place(self, value: Data) -> None:
        if not self.stack:
            self.root = value
            return
        parent = self.stack[-1]
        if isinstance(parent.data, list):
            parent.data.append(value)
            return
        key = parent.key or ""
        parent.key, parent.waiting = None, False
        if key == "<<" and (*parent.where, key) not in self.keys:
            self._merge(parent, value)
        else:
            parent.data.setdefault(key, value)

    def _merge(self, parent: _Open, value: Data) -> None:
        sources = value if isinstance(value, list) else [value]
        for source in sources:
            if isinstance(source, dict):
                parent.merges.append(source)
            else:
                spot = self.values.get((*parent.where, "<<"), Spot(1, 1))
                self.problems.append(Problem(spot.line, spot.column, "<<", "only mappings can be merged", ""))

    def _count_merge(self, done: _Open, merged: dict[str, Data]) -> None:
        self.nodes += len(merged)
        if self.nodes > MOST_NODES:
            spot = self.values.get(done.where, Spot(1, 1))
            raise _Stop(_Mark(spot.line - 1, spot.column - 1), f"more than {MOST_NODES} values", "write them out")

    def _where(self, parent: _Open | None) -> Where:
        if parent is None:
            return ()
        return (*parent.where, len(parent.data) if isinstance(parent.data, list) else (parent.key or ""))

    def _count(self, event: Any, weight: int) -> None:
        self.nodes += weight
        if self.nodes > MOST_NODES:
            hint = "aliases count as all that they stand for"
            raise _Stop(event.start_mark, f"more than {MOST_NODES} values", hint)

    def _problem(self, event: Any, message: str, hint: str) -> None:
        spot = _spot(event)
        self.problems.append(Problem(spot.line, spot.column, "", message, hint))


class _Mark(NamedTuple):
    line: int
    column: int


def _spot(event: Any) -> Spot:
    return Spot(event.start_mark.line + 1, event.start_mark.column + 1)
