"""Serve a checkpoint of train.py over HTTP, a character at a time, with NumPy and the standard library alone.

    GET /            who answers, from which checkpoint, and how many requests so far, as JSON
    POST /generate   {"prompt": "Once upon", "tokens": 64}: the text that follows, streamed as it is drawn

It listens on $ISOFLOP_PORT, or --port, of every interface, and ends when it is asked to (SIGTERM).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

import numpy as np
from train import STOPPED, Weights, block, newest, normalise

MOST_TOKENS, MOST_BYTES = 1024, 65536
TEMPERATURE = 0.7


class BadRequest(Exception):
    """What a client is told."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, ready to answer."""

    step: int
    weights: Weights
    alphabet: Sequence[str]
    heads: int
    index: dict[str, int] = field(default_factory=dict)

    def read(self, prompt: str) -> list[int]:
        """The characters' numbers. Raises: BadRequest."""
        strange = sorted(set(prompt) - self.index.keys())
        if strange:
            raise BadRequest(f"the model does not know {strange[0]!r}")
        return [self.index[character] for character in prompt] or [self.index["\n"]]

    def answer(self, prompt: str, tokens: int) -> Iterator[str]:
        """`tokens` characters that follow `prompt`; the same ones every time. Raises: BadRequest."""
        codes, rng = self.read(prompt), np.random.default_rng(len(prompt))
        context, layers = self.weights["position"].shape[0], sum(name.endswith(".qkv") for name in self.weights)

        def drawn() -> Iterator[str]:
            for _ in range(tokens):
                window = np.array([codes[-context:]], np.int64)
                x = self.weights["token"][window] + self.weights["position"][: window.shape[1]]
                for layer in range(layers):
                    x, _ = block(self.weights, layer, x, self.heads)
                logits = normalise(x[:, -1], self.weights["norm"])[0] @ self.weights["head"]
                chances = np.exp((logits[0] - logits[0].max()) / TEMPERATURE).astype(np.float64)
                codes.append(int(rng.choice(len(chances), p=chances / chances.sum())))
                yield self.alphabet[codes[-1]]

        return drawn()


def load(folder: Path, text: Path, heads: int) -> Model:
    """The newest checkpoint in `folder`; the alphabet is that of the text that it was trained on."""
    found = newest(folder)
    if found is None:
        sys.exit(f"there is no checkpoint in {folder}: train.py writes them")
    step, (weights, *_) = found
    alphabet = sorted(set(text.read_text()))
    if weights["token"].shape[0] != len(alphabet):
        sys.exit(f"{folder} was not trained on {text}: {weights['token'].shape[0]} characters, not {len(alphabet)}")
    return Model(step, weights, alphabet, heads, {character: code for code, character in enumerate(alphabet)})


class Server(ThreadingHTTPServer):
    """One thread for every request."""

    daemon_threads = True

    def __init__(self, port: int, model: Model) -> None:
        self.model, self.count, self.answered = model, itertools.count(1), 0
        super().__init__(("", port), Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a character goes out when it is drawn, not when the last was acknowledged
    server: Server

    def do_GET(self) -> None:
        """Who answers."""
        if self.path != "/":
            self._whole(HTTPStatus.NOT_FOUND, {"error": "there are GET / and POST /generate"})
            return
        server = self.server
        self._whole(
            HTTPStatus.OK,
            {"host": socket.gethostname(), "step": server.model.step, "requests": server.answered},
        )

    def do_POST(self) -> None:
        """A text, as it is drawn."""
        try:
            prompt, tokens = self._asked()
            drawn = self.server.model.answer(prompt, tokens)
        except BadRequest as error:
            self.close_connection = True  # what is left of a request that was not read is no request
            self._whole(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Host", socket.gethostname())
        self.end_headers()
        try:
            for character in drawn:
                data = character.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # whoever asked is gone
            self.close_connection = True
        else:
            self.server.answered = next(self.server.count)

    def log_message(self, format: str, *args: object) -> None:
        """One line per request, where `isoflop logs` finds it."""
        print(format % args, flush=True)

    def _asked(self) -> tuple[str, int]:
        if self.path != "/generate":
            raise BadRequest("there are GET / and POST /generate")
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MOST_BYTES:
            raise BadRequest(f"a request has a Content-Length of at most {MOST_BYTES}")
        try:
            order = json.loads(self.rfile.read(int(size)))
            prompt, tokens = order["prompt"], order.get("tokens", 64)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest('a request is {"prompt": "Once upon", "tokens": 64}') from error
        if not isinstance(prompt, str) or not isinstance(tokens, int) or not 1 <= tokens <= MOST_TOKENS:
            raise BadRequest(f"prompt is a text, and tokens a number from 1 to {MOST_TOKENS}")
        return prompt, tokens

    def _whole(self, status: HTTPStatus, document: dict[str, object]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def stop(_signal: int, _frame: FrameType | None) -> None:
    """Asked to end: it does, as nothing has to be saved."""
    sys.exit(STOPPED)


def main() -> int:
    """Serve until asked to stop; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path(__file__).with_name("model"), help="of the checkpoint")
    parser.add_argument("--text", type=Path, default=Path(__file__).with_name("folklore.txt"))
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--port", type=int, default=int(os.environ.get("ISOFLOP_PORT", "8000")))
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    model = load(asked.folder, asked.text, asked.heads)
    with Server(asked.port, model) as server:
        print(f"serving the checkpoint of step {model.step} on port {server.server_address[1]}", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
