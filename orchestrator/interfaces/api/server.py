"""The control plane's HTTP API: thin routes over the service, behind a token, on loopback alone."""

from __future__ import annotations

import errno
import hmac
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.domain.errors import ConfigError, IsoflopError
from orchestrator.interfaces.api import faults, messages
from orchestrator.interfaces.api.faults import Refused
from orchestrator.interfaces.api.messages import Accepted, DownAnswer, Health, RunView
from orchestrator.interfaces.api.service import Service
from orchestrator.lifecycle.billing import Ledger
from orchestrator.spec import documents

LOG = logging.getLogger(__name__)
MAX_BODY_BYTES = 64 * 2**20  # a plan file carries the snapshot that it was made from
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What only the process around the API knows."""

    health: Callable[[], Health]
    go_down: Callable[[], None]  # returns at once


def create(service: Service, hooks: Hooks, *, token: str) -> ASGIApp:
    """The API as an ASGI application."""
    routes = Routes(service, hooks)
    table: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/v1/health", routes.health),
        ("POST", "/v1/runs", routes.submit),
        ("GET", "/v1/runs", routes.runs),
        ("GET", "/v1/runs/{run_id}", routes.run),
        ("GET", "/v1/runs/{run_id}/events", routes.events),
        ("GET", "/v1/runs/{run_id}/logs", routes.logs),
        ("GET", "/v1/runs/{run_id}/bill", routes.bill),
        ("GET", "/v1/bill", routes.bill),
        ("POST", "/v1/runs/{run_id}/cancel", routes.cancel),
        ("POST", "/v1/runs/{run_id}/approve", routes.approve),
        ("POST", "/v1/down", routes.down),
    )
    api = Starlette(
        routes=[Route(path, _answered(handler), methods=[method]) for method, path, handler in table],
        exception_handlers={HTTPException: _http},
    )
    return Guard(api, token=token)


def listen(port: int) -> socket.socket:
    """A socket that listens on loopback; port 0 takes a free one.

    Raises: ConfigError where the port is not to be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise ConfigError(f"port {port} of 127.0.0.1 {why}: choose another with --port, or 0 for a free one") from error
    return listener


class Guard:
    """Lets a request pass that knows the token, names a loopback host and is not too big.

    A page in a browser can make requests to loopback: it cannot know the token, and one that had its own name resolve
    to 127.0.0.1 (DNS rebinding) would still name its own host. There is no CORS header anywhere.
    """

    def __init__(self, inner: ASGIApp, *, token: str) -> None:
        self._inner = inner
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._refusal(headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._inner(scope, _Limited(receive), send)

    def _refusal(self, headers: Mapping[bytes, bytes]) -> Response | None:
        host = headers.get(b"host", b"").decode("latin-1")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in LOOPBACK:
            return _refused(403, "the API answers to loopback names only")
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            return _refused(401, "the token is missing or wrong: it is in control/token of the state folder")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return _too_big()
        return None


class _Limited:
    """Counts a body that comes without a length."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > MAX_BODY_BYTES:
            raise HTTPException(413)
        return message


class Routes:
    """One method per route; everything that blocks runs in the thread pool."""

    def __init__(self, service: Service, hooks: Hooks) -> None:
        self._service = service
        self._hooks = hooks

    async def health(self, _: Request) -> Response:
        """GET /v1/health."""
        return _json(messages.dump(Health, await run_in_threadpool(self._hooks.health)))

    async def submit(self, request: Request) -> Response:
        """POST /v1/runs: `{"workload": ...}` or `{"plan": ...}`, and perhaps a `key`."""
        body = await _body(request)
        accepted = await run_in_threadpool(self._service.submit, body)
        return _json(messages.dump(Accepted, accepted), 201 if accepted.created else 200)

    async def runs(self, _: Request) -> Response:
        """GET /v1/runs."""
        return _json(messages.dump(tuple[RunView, ...], await run_in_threadpool(self._service.runs)))

    async def run(self, request: Request) -> Response:
        """GET /v1/runs/{run_id}."""
        return _json(messages.dump(RunView, await run_in_threadpool(self._service.run, _run_id(request))))

    async def events(self, request: Request) -> Response:
        """GET /v1/runs/{run_id}/events?since=: `[{"seq": ..., "event": ...}, ...]`."""
        since = _number(request, "since", 0)
        found = await run_in_threadpool(self._service.events, _run_id(request), since)
        items = [f'{{"seq":{item.seq},"event":{documents.dump_event(item.event)}}}' for item in found]
        return _json(f"[{','.join(items)}]".encode())

    async def logs(self, request: Request) -> Response:
        """GET /v1/runs/{run_id}/logs?since=&attempt=: bytes; the headers say where to go on."""
        attempt = _number(request, "attempt", 0) or None
        cursor = request.query_params.get("since", "")
        piece = await run_in_threadpool(self._service.logs, _run_id(request), cursor, attempt)
        headers = {
            "isoflop-cursor": piece.cursor,
            "isoflop-ended": "true" if piece.ended else "false",
            "x-content-type-options": "nosniff",
        }
        return Response(piece.data, media_type="application/octet-stream", headers=headers)

    async def bill(self, request: Request) -> Response:
        """GET /v1/bill and GET /v1/runs/{run_id}/bill."""
        ledger = await run_in_threadpool(self._service.bill, request.path_params.get("run_id"))
        return _json(messages.dump(Ledger, ledger))

    async def cancel(self, request: Request) -> Response:
        """POST /v1/runs/{run_id}/cancel."""
        return _json(messages.dump(RunView, await run_in_threadpool(self._service.cancel, _run_id(request))))

    async def approve(self, request: Request) -> Response:
        """POST /v1/runs/{run_id}/approve: `{"by": name, "up_to_usd": number}`, the second where it is to be more."""
        body = await _body(request)
        by, usd = body.get("by"), body.get("up_to_usd")
        if not isinstance(by, str) or isinstance(usd, bool) or not isinstance(usd, int | float | None):
            raise Refused("an approval has `by`, a name, and perhaps `up_to_usd`, a number")
        seen = await run_in_threadpool(self._service.approve, _run_id(request), by, usd)
        return _json(messages.dump(RunView, seen))

    async def down(self, request: Request) -> Response:
        """POST /v1/down: `{"cancel": bool, "keep": bool}`."""
        body = await _body(request)
        cancel, keep = body.get("cancel") is True, body.get("keep") is True
        open_runs = await run_in_threadpool(self._service.wind_down, cancel=cancel, keep=keep)
        stopping = not open_runs or keep
        if stopping:
            self._hooks.go_down()
        return _json(messages.dump(DownAnswer, DownAnswer(stopping=stopping, open_runs=open_runs)))


def _run_id(request: Request) -> str:
    return str(request.path_params["run_id"])


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal():
        raise Refused(f"{name} is a whole number, not {text!r}")
    return int(text)


async def _body(request: Request) -> Mapping[str, object]:
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(f"the request's body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("the request's body is a JSON object")
    return body


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _fault(error: IsoflopError) -> Response:
    status, body = faults.dump(error)
    return _json(json.dumps(body).encode(), status)


def _refused(status: int, message: str) -> Response:
    _, body = faults.dump(Refused(message))
    return _json(json.dumps(body).encode(), status)


def _too_big() -> Response:
    return _refused(413, f"the request is larger than {MAX_BODY_BYTES // 2**20} MiB")


async def _http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _too_big() if status == 413 else _refused(status, "no such route")


def _answered(handler: Handler) -> Handler:
    """`handler`, with what it raises as an answer: a bug too, and the connection and the server go on."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except IsoflopError as error:
            return _fault(error)
        except HTTPException:
            raise
        except Exception as error:
            LOG.exception("%s %s failed", request.method, request.url.path)
            return _fault(
                IsoflopError(f"a bug in the control plane: {type(error).__name__}: {error} (see control/log)")
            )

    return answer
