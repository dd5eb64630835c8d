"""The console script: starts the command line without looking for garbage among the modules it loads."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's own) and return its exit code.

    Modules are made once and kept, so that looking for garbage among them only takes time, a fifth of a short
    command's; a command itself runs with the collector on, for it may follow a run for days.
    """
    gc.disable()
    application = importlib.import_module("orchestrator.interfaces.cli.application")
    code: int = application.invoke(sys.argv[1:] if argv is None else argv)
    gc.freeze()  # nor is there anything to look for on the way out
    return code
