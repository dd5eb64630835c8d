"""Serves ASGI applications on loopback ports, in threads of this process."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import trustme
import uvicorn

from orchestrator.simulation.clouds.wire import Asgi

LOOPBACK = "127.0.0.1"
START_S, STOP_S = 30.0, 10.0


class Tls(NamedTuple):
    """PEM files of a certificate authority made for this market, and of the servers' certificate."""

    authority: Path
    certificate: Path


def make_tls(folder: Path) -> Tls:
    """A certificate for loopback addresses and the authority that a client must be told to trust."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    certificate = authority.issue_cert(LOOPBACK, "localhost")
    tls = Tls(folder / "authority.pem", folder / "server.pem")
    authority.cert_pem.write_to_path(str(tls.authority))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tls.certificate))
    tls.certificate.chmod(0o600)
    return tls


class _Uvicorn(uvicorn.Server):
    """Drops its connections at the end: a client that keeps one open over TLS would be waited for."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await super().shutdown(sockets)


class Server:
    """One application on one port; use it in a `with`. Port 0 takes a free one."""

    def __init__(self, app: Asgi, *, port: int = 0, tls: Tls | None = None) -> None:
        """Raises: OSError where the port is taken."""
        self._socket = socket.create_server((LOOPBACK, port))
        # Head and body are two writes: without this the second waits 40 ms for the client to acknowledge the first.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self.port}"
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL,
                timeout_graceful_shutdown=1,
                ssl_certfile=str(tls.certificate) if tls else None,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=f"cloud-{self.port}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S / 0.01)):
            if self._server.started:
                return self
            if not self._thread.is_alive():
                break
            waited.wait(0.01)
        raise RuntimeError(f"no server came up on port {self.port}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_S)
        self._socket.close()


class Servers:
    """Several applications at once, by name; use it in a `with`."""

    def __init__(
        self, apps: Mapping[str, Asgi], *, ports: Mapping[str, int] | None = None, tls: Mapping[str, Tls] | None = None
    ) -> None:
        """`ports` and `tls` by the same names; a free port and plain HTTP where there is none."""
        fixed, secured = ports or {}, tls or {}
        self._servers = {
            name: Server(app, port=fixed.get(name, 0), tls=secured.get(name)) for name, app in apps.items()
        }

    @property
    def urls(self) -> Mapping[str, str]:
        """Where each is served."""
        return {name: server.url for name, server in self._servers.items()}

    def __enter__(self) -> Self:
        for server in self._servers.values():
            server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            server.__exit__(kind, error, trace)
