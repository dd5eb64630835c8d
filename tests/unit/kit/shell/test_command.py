"""Arguments arrive as they were, whatever the login shell is and whatever it prints first."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import TransientError
from orchestrator.kit.shell.command import after_mark, remote
from orchestrator.kit.shell.local import LocalShell

SHELLS = [path for name in ("sh", "bash", "dash", "zsh", "fish", "tcsh") if (path := shutil.which(name)) is not None]
NASTY = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "$HOME",
    "`id`",
    "!x",
    "\\",
    "\\0041",
    "a\nb",
    "\t",
    "*",
    "~",
    "-n",
    "ä€😀",
    "%s",
    "a\\",
]
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30)


def given_to(shell: str, line: str, noise: str = "") -> bytes:
    done = subprocess.run([shell, "-c", noise + line], capture_output=True, check=True)
    assert after_mark(done.stderr) == b""
    found = after_mark(done.stdout)
    assert found is not None
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_hands_on_every_argument(shell: str) -> None:
    line = remote(["printf", "%s\\0", *NASTY])
    assert given_to(shell, line).decode().split("\0")[:-1] == NASTY


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), WORDS)
def test_no_argument_and_no_variable_is_looked_at(words: list[str], value: str) -> None:
    line = remote(["sh", "-c", 'printf "%s\\0" "$V" "$@"', "sh", *words], env={"V": value})
    assert given_to("sh", line).decode().split("\0")[:-1] == [value, *words]


def test_what_a_start_up_file_prints_is_cut_off() -> None:
    assert given_to("bash", remote(["echo", "real"]), noise="echo welcome; ") == b"real\n"


def test_a_command_that_never_began_is_told_from_a_silent_one() -> None:
    assert after_mark(b"This account is currently not available.\n") is None
    assert after_mark(b"@isoflop-begin@") == b""


def test_a_folder_is_entered_first_and_its_lack_is_an_error(tmp_path: object) -> None:
    assert given_to("sh", remote(["pwd"], folder="/")) == b"/\n"
    gone = subprocess.run(["sh", "-c", remote(["pwd"], folder="/no/such 'folder'")], capture_output=True, check=False)
    assert gone.returncode == 125


@pytest.mark.parametrize(
    ("argv", "env"), [(["a\0b"], {}), (["a"], {"X Y": "1"}), (["a"], {"-x": "1"}), (["a"], {"": "1"})]
)
def test_what_no_argument_and_no_name_can_be_is_refused(argv: list[str], env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"NUL|no name"):
        remote(argv, env=env)


def test_commands_here_have_codes_outputs_and_limits() -> None:
    shell = LocalShell("x")
    done = shell.run(["sh", "-c", "cat; echo $V; echo no >&2; exit 3"], stdin=b"in ", env={"V": "v"})
    assert (done.code, done.stdout, done.ok, done.trouble) == (3, b"in v\n", False, "no")
    assert shell.run(["no-such-program-9f"]).code in {126, 127}  # 126 where a folder of PATH is closed to us
    with pytest.raises(TransientError, match="longer than"):
        shell.run(["sleep", "30"], timeout_s=0.05)
