"""Commands as lists of arguments, here or on another machine, and what came of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

# Apart from these, every character travels as an octal number: no login shell, whichever it is, gives it a meaning.
PLAIN = re.compile(rb"[A-Za-z0-9_./=:,@%+ -]")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MARK = b"@isoflop-begin@"


class Done(NamedTuple):
    """A command that ended. `code` is negative where a signal ended it."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.code == 0

    @property
    def text(self) -> str:
        """Its output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def trouble(self) -> str:
        """The last line that it complained with, else its exit code."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


class Shell(Protocol):
    """Runs commands on one machine."""

    name: str  # of the machine, for messages

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        """Run `argv`, with `env` on top of the machine's own environment, and wait until it ends.

        No argument is ever looked at by a shell.

        Raises: TransientError where the machine cannot be reached, or the command takes longer than `timeout_s` (it may
        go on); AuthError where the machine is not the one we know, or refuses our key.
        """
        ...


@runtime_checkable
class Forwards(Protocol):
    """A shell on another machine that also leads to what listens there."""

    def forward(self, target: str) -> str:
        """The path of a socket here that leads to `target` as that machine sees it: "host:port", or a socket's path.

        The way is kept; ask again before every use, for it is laid anew where the connection was lost. What does not
        listen there is found out by who connects. Nobody but our own user may use the socket.

        Raises: as Shell.run.
        """
        ...


def remote(argv: Sequence[str], *, env: Mapping[str, str] | None = None, folder: str = "") -> str:
    """One line that makes any login shell run `argv`, and print MARK to both outputs just before.

    SSH hands a single string to the user's login shell, which may be bash, zsh, fish or csh. It sees plain letters and
    backslashes with digits in single quotes; a POSIX shell decodes them, and sees quoted words.

    Raises: ValueError for a NUL, which no argument can hold, or a name that no variable can have.
    """
    for name in env or ():
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a variable")
    words = [*(f"{name}={value}" for name, value in (env or {}).items()), *argv]
    if any("\0" in word for word in (*words, folder)):
        raise ValueError("an argument holds a NUL")
    change = f"cd -- {shlex.quote(folder)} || exit 125; " if folder else ""
    prefix = "env " if env else ""
    mark = MARK.decode()
    script = f"printf %s {mark}; printf %s {mark} >&2; {change}exec {prefix}{shlex.join(words)}"
    encoded = b"".join(
        byte if PLAIN.fullmatch(byte) else b"\\0%03o" % byte[0]
        for byte in (script.encode()[at : at + 1] for at in range(len(script.encode())))
    )
    return f'exec /bin/sh -c \'eval "$(printf %b "{encoded.decode()}")"\''


def after_mark(output: bytes) -> bytes | None:
    """What the command itself wrote: start-up files of a shell may write before; None where it never began."""
    _, mark, rest = output.partition(MARK)
    return rest if mark else None
