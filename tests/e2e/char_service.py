"""The example's model, trained for a moment, and what its server says over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import httpx

EXAMPLE = Path(__file__).parents[2] / "examples" / "char-transformer"
SHAPE = ("--layers", "2", "--width", "32", "--heads", "2", "--context", "32", "--batch", "8")

# Work without end on the first machine, so that its end comes first however fast it is; a little more on the next.
ENDLESS_AT_FIRST = """
import os, pathlib, runpy, sys
more = int(sys.argv.pop(1))
saved = sorted(pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"]).glob("step-*.npz"))
last = int(saved[-1].stem[5:]) + more if saved else 900000
sys.argv = ["train.py", "--steps", str(last), *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


class Answer(NamedTuple):
    """What a request brought."""

    text: str
    pieces: int  # that the text came in
    host: str  # the name of the machine that answered
    first_ms: float  # from the request to the first piece


def workdir(folder: Path, steps: int = 20) -> Path:
    """A copy of the example in `folder`, with a checkpoint of `steps` steps in it."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
    train = [sys.executable, "train.py", *SHAPE, "--steps", str(steps), "--folder", "model"]
    subprocess.run(train, cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


def training(more: int) -> tuple[str, ...]:
    """The command that trains until its first machine is taken, and `more` steps on the next."""
    return ("python3", "-c", ENDLESS_AT_FIRST, str(more), *SHAPE, "--checkpoint-every", "25")


def client(timeout_s: float = 10.0) -> httpx.Client:
    """A client that keeps its connections."""
    return httpx.Client(timeout=timeout_s, trust_env=False)


def ask(over: httpx.Client, url: str, prompt: str = "Once upon", tokens: int = 16) -> Answer:
    """A text from the service at `url`. Raises: httpx.HTTPError."""
    body = json.dumps({"prompt": prompt, "tokens": tokens})
    begun, first_ms, pieces = time.perf_counter(), 0.0, []
    with over.stream("POST", f"{url.rstrip('/')}/generate", content=body) as said:
        said.raise_for_status()
        for piece in said.iter_raw():
            first_ms = first_ms or 1000 * (time.perf_counter() - begun)
            pieces.append(piece)
        return Answer(b"".join(pieces).decode(), len(pieces), said.headers["x-host"], first_ms)
