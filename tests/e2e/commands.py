"""The command line as a user has it, with a state folder of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shell:
    """A user's shell with a state folder of its own."""

    home: Path

    def run(self, *words: str, code: int = 0) -> str:
        """`isoflop WORDS`; its standard output, once it has exited with `code`."""
        command = [
            sys.executable,
            "-c",
            "import sys; from orchestrator.interfaces.cli.main import main; sys.exit(main())",
        ]
        done = subprocess.run(
            [*command, *words],
            env={**os.environ, "ISOFLOP_HOME": str(self.home), "PYTHONWARNINGS": ""},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def read(self, *words: str) -> Any:
        """The same as JSON."""
        return json.loads(self.run(*words, "--json"))

    def runs(self, name: str) -> list[Any]:
        """The runs of jobs called `name`."""
        return [run for run in self.read("status") if run["name"] == name]
