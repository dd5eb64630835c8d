"""One machine as the launcher sees it: our agent there, brought along where it is missing, and what it answers."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, NamedTuple

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.kit.shell.command import Done, Shell

PACKAGES: Final = ("orchestrator", "runtime", "launchers", "ssh")
MODULES: Final = (
    ("orchestrator.runtime.launchers", "supervisor"),
    *((f"{'.'.join(PACKAGES)}", each) for each in ("files", "ray_part", "ray_api", "ray_gang", "agent")),
)
MAIN = "import sys\nfrom orchestrator.runtime.launchers.ssh.agent import main\nsys.exit(main(sys.argv[1:]))\n"
CALL_S, UPLOAD_S = 120.0, 120.0
NO_FOLDER, MISSING, NO_PYTHON, TRUNCATED, GONE = 111, 112, 113, 114, 115  # exit codes of the scripts below
FULL = frozenset({"ENOSPC", "EDQUOT"})
FOR_GOOD = frozenset({"EROFS", "supervisor", "unsafe"})

# A lease's folder that is gone was given back, and is not made anew but by a start. One that lacks our agent alone has
# one of another version of ours.
ENTER = f"""\
[ -f "$1/agent.pyz" ] || {{ [ -d "${{1%/.isoflop/*}}" ] && exit {MISSING}; exit {GONE}; }}
exec "$(cat "$1/python")" -I -S "$1/agent.pyz" "$2"
"""
FIRST = "prepare"
WHERE_NOTHING_IS: Final[Mapping[str, Mapping[str, object]]] = {
    "poll": {"state": "lost", "progress": "", "over": False},
    "stop": {},
    "abandon": {},
}
# The interpreter itself is written down: a `python3` on the path may be a script of pyenv or asdf, and slow.
FIND = "import sys; sys.version_info < (3, 6) and sys.exit(1); print(sys.executable)"
BRING = f"""\
mkdir -p -m 700 "$1" || exit {NO_FOLDER}
for python in python3 /usr/libexec/platform-python python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 \
 python3.8 python3.7 python3.6; do
  found=$("$python" -I -S -c '{FIND}' </dev/null 2>/dev/null) && [ -x "$found" ] && break
  found=
done
[ -n "$found" ] || exit {NO_PYTHON}
printf '%s\\n' "$found" > "$1/python" && cat > "$1/agent.$$" || exit 1
[ "$(wc -c < "$1/agent.$$")" -eq "$2" ] || exit {TRUNCATED}
mv "$1/agent.$$" "$1/agent.pyz"
"""


class Agent(NamedTuple):
    """The program that runs on machines: a zip file that any Python runs, named by its content."""

    name: str
    content: bytes


def agent() -> Agent:
    """Our agent, the same bytes wherever it is made."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for depth in range(len(PACKAGES)):
            _add(archive, "/".join((*PACKAGES[: depth + 1], "__init__.py")), "")
        for package, module in MODULES:
            source = resources.files(package).joinpath(f"{module}.py").read_text(encoding="utf-8")
            _add(archive, f"{package.replace('.', '/')}/{module}.py", source)
        _add(archive, "__main__.py", MAIN)
    content = made.getvalue()
    return Agent(f"agent-{hashlib.sha256(content).hexdigest()[:16]}", content)


def _add(archive: zipfile.ZipFile, path: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)


class Node:
    """One machine of a lease. `root` is the lease's folder there, absolute; `name` is for messages."""

    def __init__(self, shell: Shell, *, root: str, provider: str, program: Agent) -> None:
        self._shell, self.root, self._provider, self._program = shell, root, provider, program
        self.name = shell.name

    def call(
        self, verb: str, said: Mapping[str, object], *, data: bytes = b"", timeout_s: float = CALL_S
    ) -> tuple[dict[str, Any], bytes]:
        """What the agent answers to `verb`: its record, and the bytes behind it.

        Raises: TransientError where the machine cannot be reached or fails for now; ProviderError where it is at fault
        for good: a full disk, no Python; AuthError.
        """
        text = json.dumps({"root": self.root, **said}).encode("ascii")
        request = b"%d\n%s%s" % (len(text), text, data)
        folder = f"{self.root}/.isoflop/{self._program.name}"
        enter = ("/bin/sh", "-c", ENTER, "isoflop", folder, verb)
        done = self._shell.run(enter, stdin=request, timeout_s=timeout_s)
        if done.code == GONE and verb in WHERE_NOTHING_IS:
            return dict(WHERE_NOTHING_IS[verb]), b""
        if done.code == MISSING or (done.code == GONE and verb == FIRST):
            self._bring(folder)
            done = self._shell.run(enter, stdin=request, timeout_s=timeout_s)
        return self._answer(verb, done)

    def _bring(self, folder: str) -> None:
        content = self._program.content
        command = ("/bin/sh", "-c", BRING, "isoflop", folder, str(len(content)))
        done = self._shell.run(command, stdin=content, timeout_s=UPLOAD_S)
        if done.ok:
            return
        if done.code == NO_PYTHON:
            raise ProviderError(
                self._provider, f"{self.name} has no Python 3.6 or newer, which the launcher needs there"
            )
        if any(sign in done.trouble for sign in ("No space left", "quota exceeded")):
            raise ProviderError(self._provider, f"the disk of {self.name} is full: {done.trouble}")
        if "Read-only" in done.trouble:
            raise ProviderError(self._provider, f"{self.name}: {done.trouble}")
        # A machine that has just booted may not have its folder yet; a truncated upload lost its connection.
        raise TransientError(self._provider, f"{self.name}: {done.trouble}", 5.0)

    def _answer(self, verb: str, done: Done) -> tuple[dict[str, Any], bytes]:
        if done.code == GONE:
            raise TransientError(self._provider, f"{self.name}: {verb}: {self.root} is gone", 5.0)
        line, _, data = done.stdout.partition(b"\n")
        try:
            told = json.loads(line) if done.ok else None
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise TransientError(self._provider, f"{self.name}: {verb} failed: {done.trouble}", 5.0)
        if "error" in told:
            code, detail = told["error"]["code"], told["error"]["detail"]
            if code in FULL:
                raise ProviderError(self._provider, f"the disk of {self.name} is full: {detail}")
            if code in FOR_GOOD:
                raise ProviderError(self._provider, f"{self.name}: {detail}")
            raise TransientError(self._provider, f"{self.name}: {verb}: {detail}", 5.0)
        answer: dict[str, Any] = told["ok"]
        return answer, data
