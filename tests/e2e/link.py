"""A link to a server on loopback that breaks on purpose, after so many bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 1 << 16


class Link:
    """Passes connections to `port` on, on a port of its own; use it in a `with`.

    A connection is cut without a word once more than `after` bytes have passed in one direction, `cuts` times in all.
    """

    def __init__(self, port: int, *, after: int = 0, cuts: int = 0) -> None:
        self._to, self._after, self.cuts = port, after, cuts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it is reached."""
        return int(self._listening.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._listening, *self._ends):
            _close(end)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                passed += len(data)
                if self._after and passed > self._after and self._takes_a_cut():
                    break
                target.sendall(data)
        for end in (source, target):
            _close(end)

    def _takes_a_cut(self) -> bool:
        with self._lock:
            if not self.cuts:
                return False
            self.cuts -= 1
            return True


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
