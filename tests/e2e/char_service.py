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


def ask(url: str, prompt: str = "Once upon", tokens: int = 16, *, timeout_s: float = 10.0) -> Answer:
    """A text from the service at `url`. Raises: httpx.HTTPError."""
    body = json.dumps({"prompt": prompt, "tokens": tokens})
    begun, first_ms, pieces = time.perf_counter(), 0.0, []
    with (
        httpx.Client(timeout=timeout_s, trust_env=False) as client,
        client.stream("POST", f"{url.rstrip('/')}/generate", content=body) as said,
    ):
        said.raise_for_status()
        for piece in said.iter_raw():
            first_ms = first_ms or 1000 * (time.perf_counter() - begun)
            pieces.append(piece)
        return Answer(b"".join(pieces).decode(), len(pieces), said.headers["x-host"], first_ms)
