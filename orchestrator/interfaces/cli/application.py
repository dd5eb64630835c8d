"""The application: finds the sub-command, imports its module alone, and turns errors into exit codes."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from orchestrator.domain.errors import IsoflopError, UserError
from orchestrator.interfaces.cli import errors
from orchestrator.interfaces.cli.table import COMMANDS, Entry, named

PACKAGE = "orchestrator.interfaces.cli"
ABOUT = """Describe a model and a goal: isoflop sizes the work, finds the GPUs, shows its arithmetic, runs and bills it.

Start with: isoflop init training -o job.yaml, then isoflop plan job.yaml"""
Run = Callable[..., None]


def invoke(args: Sequence[str]) -> int:
    """Run the command line `args` and return the exit code; every error has been reported."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a sign gets another one, not a traceback
            stream.reconfigure(errors="replace")
    try:
        build(args, os.environ)(args=list(args), prog_name="isoflop")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:  # commands report their own: this is the help that found no room
        sys.stderr.write(f"error: the output cannot be written: {error.strerror or error}\n")
        return UserError.exit_code
    finally:
        _settle_output()
    return 0


def build(args: Sequence[str], environ: Mapping[str, str]) -> typer.Typer:
    """The application with the sub-command that is called; without one, with every command as a line of help."""
    called = _called(args, environ)
    app = typer.Typer(
        name="isoflop",
        help=ABOUT,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    known = named(called)
    if known is not None:  # the others are no part of what is asked
        _add(app, known, as_json="--json" in args)
        return app
    for entry in COMMANDS:
        app.command(entry.name, short_help=entry.help)(_stub)
    return app


def _version(asked: bool) -> None:
    if asked:
        metadata = importlib.import_module("importlib.metadata")  # slow to import, and --help has no use for it
        typer.echo(f"isoflop {metadata.version('isoflop')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the command itself."""


def _stub() -> None:
    """Stand in for a command that is not the one called."""


def _called(args: Sequence[str], environ: Mapping[str, str]) -> str:
    """The first word, unless it is an option of the root; a shell that completes tells the words by environment."""
    words = environ.get("_TYPER_COMPLETE_ARGS", environ.get("COMP_WORDS", "")).split()[1:]
    completing = "_ISOFLOP_COMPLETE" in environ
    first = next(iter(words if completing else args), "")
    return "" if first.startswith("-") else first


def _add(app: typer.Typer, entry: Entry, *, as_json: bool) -> None:
    module = importlib.import_module(f"{PACKAGE}.{entry.name}")
    if not entry.group:
        app.command(entry.name)(_guarded(module.run, as_json=as_json))
        return
    group = typer.Typer(help=entry.help, no_args_is_help=True, rich_markup_mode=app.rich_markup_mode)
    for name, run in module.RUNS.items():
        group.command(name)(_guarded(run, as_json=as_json))
    app.add_typer(group, name=entry.name)


def _guarded(run: Run, *, as_json: bool) -> Run:
    """`run` with every way it can end turned into an exit code."""

    @functools.wraps(run)
    def call(*args: object, **options: object) -> None:
        if not gc.isenabled():
            gc.freeze()
            gc.enable()  # a command that follows a run may go on for days
        try:
            run(*args, **options)
        except IsoflopError as error:
            raise SystemExit(errors.report(error, as_json=as_json)) from error
        except KeyboardInterrupt as error:
            raise SystemExit(_interrupted()) from error
        except BrokenPipeError as error:
            raise SystemExit(errors.BROKEN_PIPE) from error
        except Exception as error:
            raise SystemExit(errors.report_bug(as_json=as_json)) from error

    return call


def _interrupted() -> int:
    sys.stderr.write("\nerror: interrupted\n")
    return errors.INTERRUPTED


def _settle_output() -> None:
    """Let the interpreter's last flush go nowhere if nothing can be written any more: that has been reported."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
