"""`isoflop schema`: the JSON Schema of job files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.interfaces.cli import files
from orchestrator.interfaces.views.choose import write
from orchestrator.spec.schema import json_schema


def run(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of printing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A schema is JSON either way.")] = False,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of job files, for editors.

    Exit codes: 0, or 2 where the file cannot be written.
    """
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        write(sys.stdout, text)
    else:
        files.write(output, text)
