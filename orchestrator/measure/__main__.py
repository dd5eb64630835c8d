"""`python -m orchestrator.measure`: measure the accelerator at hand, show what was seen and write the rows to files.

Needs PyTorch, NumPy and the core's dependencies, and no installation: it runs from a checkout. Exit codes: 0 rows were
written, 1 nothing could be believed, 2 bad input or no PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.catalog import accelerators
from orchestrator.domain.errors import UserError
from orchestrator.measure.rows import inference_csv, training_csv
from orchestrator.measure.session import Measured, measure
from orchestrator.runtime.clock import SystemClock


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.measure", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for training_runs.csv and inference_runs.csv")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds that measuring may take (120)")
    asked = parser.parse_args(arguments)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)  # before minutes of measuring
        seen = measure(accelerators.load(), budget_s=asked.budget, clock=SystemClock(), progress=_say)
        written = _write(seen, asked.out)
    except OSError as error:
        return _fail(f"{asked.out} cannot be written: {error.strerror or error}")
    except UserError as error:
        return _fail(str(error))
    sys.stdout.write("".join(f"{line}\n" for line in (*written, *seen.notes)))
    return 0 if seen.runs else 1


def _write(seen: Measured, folder: Path) -> list[str]:
    """What was written, as text."""
    texts = []
    for name, render in (("training_runs.csv", training_csv), ("inference_runs.csv", inference_csv)):
        text = render(seen.runs, source=seen.source)
        (folder / name).write_text(text, encoding="utf-8")
        texts.append(f"# {folder / name}\n{text}")
    return texts


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _fail(message: str) -> int:
    _say(f"error: {message}")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
