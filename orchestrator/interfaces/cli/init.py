"""`isoflop init`: a commented job file to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.domain.errors import UserError
from orchestrator.interfaces.cli import files
from orchestrator.interfaces.views import machine
from orchestrator.interfaces.views.choose import write
from orchestrator.spec.templates import KINDS, kind_named, template


def run(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file instead of printing.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"kind", "template"}.')] = False,
) -> None:
    """Write a commented example job file to start from.

    Exit codes: 0, or 2 where the kind is unknown or the file is there already.
    """
    known = kind_named(kind)
    text = template(known)
    if output is not None:
        if output.exists() and not force:
            raise UserError(f"{output} is there already: choose another name, or --force to replace it")
        files.write(output, text)
        typer.echo(f"{output}: an example of {known}; next: isoflop plan {output}", err=True)
    elif as_json:
        write(sys.stdout, machine.document({"kind": known, "template": text}))
    else:
        write(sys.stdout, text)
