"""What the command line does about an error: one clear line, or one JSON object, and the exit code of its class."""

from __future__ import annotations

import json
import sys
import traceback
from typing import TextIO

from orchestrator.domain.errors import IsoflopError, ProviderError, SpecError

INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE: the reader had enough
BUG = 1


def report(error: IsoflopError, *, as_json: bool, stream: TextIO | None = None) -> int:
    """Print `error` to `stream` (default: standard error) and return its exit code."""
    out = stream or sys.stderr
    if as_json:
        out.write(json.dumps({"error": _document(error)}, ensure_ascii=False) + "\n")
    elif isinstance(error, SpecError):
        out.writelines(f"error: {problem.render(error.file)}\n" for problem in error.problems)
    else:
        out.write(f"error: {error}\n")
    return error.exit_code


def report_bug(*, as_json: bool, stream: TextIO | None = None) -> int:
    """Print the exception being handled as the bug it is and return its exit code."""
    out = stream or sys.stderr
    error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
    if as_json:
        document = {"kind": type(error).__name__, "message": str(error), "exit_code": BUG, "bug": True}
        out.write(json.dumps({"error": {**document, "traceback": traceback.format_exc()}}, ensure_ascii=False) + "\n")
        return BUG
    traceback.print_exc(file=out)
    out.write("error: this is a bug in isoflop. Please report it with the command you typed and the lines above.\n")
    return BUG


def _document(error: IsoflopError) -> dict[str, object]:
    document: dict[str, object] = {
        "kind": type(error).__name__,
        "message": str(error),
        "exit_code": error.exit_code,
    }
    if isinstance(error, SpecError):
        document["file"] = error.file
        document["problems"] = [
            {
                "line": problem.line,
                "column": problem.column,
                "field": problem.field,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
    if isinstance(error, ProviderError):
        document["provider"] = error.provider
    return document
