"""Choosing the view: JSON when asked for, colour on a terminal, plain text in a pipe."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Protocol, TextIO

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.views import machine, plain
from orchestrator.interfaces.views.page import Page, Report, Story

PATIENCE_S = 1.0  # anything longer shows that it is alive

Update = Callable[[Story], None]


class View(Protocol):
    """Where a command's answer goes."""

    def show(self, report: Report) -> None:
        """Print the report."""
        ...

    def follow(self) -> AbstractContextManager[Update]:
        """Show a story as it goes on: every call replaces, or adds to, what was shown before."""
        ...


class Plain:
    """Text for pipes and files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, report: Report) -> None:
        """Print the page as aligned text."""
        write(self._stream, plain.render(report.page()))

    @contextmanager
    def follow(self) -> Iterator[Update]:
        """Print a line whenever something worth it has changed, and the last page at the end."""
        lines = _Changes(self._stream, lambda story: plain.render((story.headline(),)))
        yield lines.update
        if lines.last is not None:
            self.show(lines.last)


class Machine:
    """JSON for programs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, report: Report) -> None:
        """Print one document."""
        write(self._stream, machine.document(report.document()))

    @contextmanager
    def follow(self) -> Iterator[Update]:
        """Print the document on one line whenever something worth it has changed."""
        yield _Changes(self._stream, lambda story: machine.line(story.document())).update


class Terminal:
    """Colour and moving bars for people."""

    def __init__(self, stream: TextIO) -> None:
        self._screen = _terminal().Screen(stream)

    def show(self, report: Report) -> None:
        """Draw the page."""
        self._screen.draw(report.page())

    @contextmanager
    def follow(self) -> Iterator[Update]:
        """Redraw the page in place."""
        with self._screen.live() as region:
            yield lambda report: region.update(_terminal().group(report.page()), refresh=True)


def choose(json: bool, stream: TextIO | None = None) -> View:
    """The view for `stream` (default: standard output)."""
    out = stream or sys.stdout
    if json:
        return Machine(out)
    return Terminal(out) if out.isatty() else Plain(out)


def write(stream: TextIO, text: str | bytes) -> None:
    """Write and flush `text`; bytes go out as they are.

    Raises: BrokenPipeError where the reader has gone; UserError where it cannot be written for another reason.
    """
    try:
        if isinstance(text, bytes):
            stream.buffer.write(text)
        else:
            stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the output cannot be written: {error.strerror or error}") from error


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show on a terminal's standard error, after a second, that `label` is still going on."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    wheel = threading.Thread(target=_spin, args=(label, done), daemon=True)
    wheel.start()
    try:
        yield
    finally:
        done.set()
        wheel.join()


@contextmanager
def progress() -> Iterator[Callable[[Page], None]]:
    """Draw pages on a terminal's standard error, each in place of the one before, and leave nothing of them behind."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with _terminal().Screen(sys.stderr).live(transient=True) as region:
        yield lambda page: region.update(_terminal().group(page), refresh=True)


def _spin(label: str, done: threading.Event) -> None:
    if not done.wait(PATIENCE_S):
        with _terminal().Screen(sys.stderr).spinner(label):
            done.wait()


class _Changes:
    """Writes a story to a stream each time that its stamp changes."""

    def __init__(self, stream: TextIO, text_of: Callable[[Story], str]) -> None:
        self._stream = stream
        self._text_of = text_of
        self._stamp: str | None = None
        self.last: Story | None = None

    def update(self, story: Story) -> None:
        self.last = story
        if story.stamp() != self._stamp:
            self._stamp = story.stamp()
            write(self._stream, self._text_of(story))


def _terminal() -> ModuleType:
    """Rich takes a third of a command's time to import, and only a terminal has a use for it."""
    return importlib.import_module("orchestrator.interfaces.views.terminal")
