"""The command line in this process, over a state folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.interfaces.cli.application import invoke

JOB = """\
kind: Training
name: small
model: {parameters: 7B}
tokens: 2B
run:
  command: [python3, train.py]
"""


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process."""

    def run(*args: str | Path) -> Ran:
        capsys.readouterr()
        code = invoke([str(arg) for arg in args])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """A job that any GPU can do."""
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path
