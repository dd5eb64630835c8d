"""Which view a stream gets, and how a story is followed on each."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.views import choose, plain
from orchestrator.interfaces.views.page import (
    Bar,
    Facts,
    Line,
    Page,
    Table,
    Title,
    bad,
    code,
    dim,
    good,
    left,
    line,
    right,
    strong,
    warn,
)


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Tale:
    """A story of one number."""

    number: int

    def page(self) -> Page:
        return (
            Title("Tale"),
            Facts((("number", good(str(self.number))), ("empty", ""))),
            Table((left("word"), right("number")), ((strong("a"), bad("1")), (dim("bcd"), warn("234")))),
            Line(),
            Bar("tale", self.number / 10, "on"),
            line(code("isoflop tell"), indent=2),
        )

    def document(self) -> object:
        return {"number": self.number, "odd": float("nan")}

    def stamp(self) -> str:
        return str(self.number // 2)

    def headline(self) -> Line:
        return line(f"number {self.number}")


def test_plain_text_is_aligned_and_numbers_stand_to_the_right() -> None:
    assert plain.render(Tale(3).page()) == (
        "Tale\n  number  3\n  empty\n"
        "  word  number\n  a          1\n  bcd      234\n"
        "\n  tale  30 %  on\n  isoflop tell\n"
    )


def test_a_pipe_gets_plain_text_a_terminal_colour_and_a_program_json() -> None:
    assert isinstance(choose.choose(False, io.StringIO()), choose.Plain)
    assert isinstance(choose.choose(False, Screen()), choose.Terminal)
    assert isinstance(choose.choose(True, Screen()), choose.Machine)


def test_a_terminal_shows_the_words_of_the_plain_page_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Screen()
    choose.choose(False, stream).show(Tale(3))
    text = stream.getvalue()
    assert "\x1b[" in text
    for word in ("Tale", "number", "bcd", "234", "30 %", "isoflop tell"):
        assert word in text


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Screen()
    choose.choose(False, stream).show(Tale(3))
    assert "\x1b[3" not in stream.getvalue()  # no colour; bold is no colour


def test_brackets_in_a_text_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    @dataclass(frozen=True)
    class Odd:
        def page(self) -> Page:
            return (line("[red]a[/red] :smile: [1, 2]"),)

        def document(self) -> object:
            return None

    stream = Screen()
    choose.choose(False, stream).show(Odd())
    assert "[red]a[/red] :smile: [1, 2]" in stream.getvalue()


def test_a_pipe_follows_by_lines_and_ends_with_the_page() -> None:
    stream = io.StringIO()
    with choose.choose(False, stream).follow() as update:
        for number in (0, 1, 2, 3):
            update(Tale(number))
    text = stream.getvalue()
    assert text.startswith("number 0\nnumber 2\nTale\n")
    assert text.endswith(plain.render(Tale(3).page()))


def test_a_program_follows_by_a_document_a_line() -> None:
    stream = io.StringIO()
    with choose.choose(True, stream).follow() as update:
        for number in (0, 1, 2, 3):
            update(Tale(number))
    assert [json.loads(each) for each in stream.getvalue().splitlines()] == [
        {"number": 0, "odd": None},
        {"number": 2, "odd": None},
    ]


def test_a_terminal_follows_in_place_and_leaves_the_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Screen()
    with choose.choose(False, stream).follow() as update:
        update(Tale(1))
        update(Tale(9))
    assert "90 %" in stream.getvalue()


class Full(io.StringIO):
    """A stream on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_output_that_cannot_be_written_is_said() -> None:
    with pytest.raises(UserError, match="No space left on device"):
        choose.choose(False, Full()).show(Tale(1))


def test_waiting_says_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with choose.waiting("thinking"):
        pass
    assert capsys.readouterr().err == ""


def test_waiting_shows_on_a_terminal_that_it_is_alive_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(choose, "PATIENCE_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    before = set(threading.enumerate())
    with choose.waiting("thinking"):
        for _ in range(500):
            if "thinking" in screen.getvalue():
                break
            threading.Event().wait(0.01)
    assert "thinking" in screen.getvalue()
    for _ in range(500):  # the thread that draws is told to stop and not waited for
        if set(threading.enumerate()) <= before:
            break
        threading.Event().wait(0.01)
    assert set(threading.enumerate()) <= before


def test_progress_says_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with choose.progress() as draw:
        draw((line("half done"),))
    assert capsys.readouterr() == ("", "")


def test_progress_is_drawn_in_place_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with choose.progress() as draw:
        draw((line("half done"),))
        draw((line("nearly done"),))
    drawn = screen.getvalue()
    assert drawn.index("half done") < drawn.index("nearly done")
    assert "\x1b[2K" in drawn.partition("nearly done")[2], "nothing of it stays"


def test_rich_is_imported_for_a_terminal_alone() -> None:
    look = (
        "import sys\n"
        "from orchestrator.interfaces.views.choose import choose\n"
        "choose(False); choose(True)\n"
        "print('rich' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
