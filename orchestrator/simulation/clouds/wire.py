"""The HTTP side that all simulated clouds share: reading a request, faults before and after, a log of every call."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

from starlette.concurrency import run_in_threadpool

from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.market import Market

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

WEB_PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
# Faults that a cloud answers in its own words, before anything is done.
REFUSALS = (Kind.THROTTLE, Kind.ERROR, Kind.UNAUTHORISED, Kind.EXPIRED, Kind.SKEW)


class Request(NamedTuple):
    """One HTTP request. Header names are in lower case; query and path are decoded, `raw_path` is not."""

    method: str
    path: str
    raw_path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    base_url: str  # scheme and host as the client called them, for links in answers

    def param(self, name: str, default: str = "") -> str:
        """The first query parameter of that name."""
        return next((value for key, value in self.query if key == name), default)


class Reply(NamedTuple):
    """One HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = "application/json"


class Nonconforming(AssertionError):
    """An answer of ours that the vendor's own specification does not allow: a fault of the simulator."""


class Cloud(Protocol):
    """One vendor's API in front of the market."""

    name: str

    def operation(self, request: Request) -> str:
        """The vendor's name of the call, for the log and for faults; "" for one it does not have."""
        ...

    def handle(self, request: Request) -> Reply:
        """Check the request against the vendor's specification, and answer it. Must be safe between threads."""
        ...

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """What the vendor answers to a call that `fault`, one of REFUSALS, strikes."""
        ...

    def failing(self, request: Request, reply: Reply) -> Reply:
        """`reply` as a success with the vendor's error inside, where it has such a thing; else as it is."""
        ...

    def endless(self, request: Request, reply: Reply) -> Reply:
        """`reply` naming a next page that was there already, where it has pages; else as it is."""
        ...

    def check(self, request: Request, reply: Reply) -> None:
        """Raises: Nonconforming where the vendor's specification does not allow `reply`."""
        ...


class Call(NamedTuple):
    """One line of the access log."""

    at: datetime
    operation: str
    method: str
    path: str
    status: int  # 0 where the connection was broken


class Wire:
    """An ASGI application that serves one cloud."""

    def __init__(self, cloud: Cloud, market: Market) -> None:
        self.cloud, self.market = cloud, market
        self.nonconforming: list[str] = []  # faults of the simulator itself, for tests to find empty
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in the order of answers."""
        with self._lock:
            return tuple(self._calls)

    def counts(self) -> Counter[str]:
        """How often each operation was called."""
        return Counter(call.operation for call in self.calls())

    def forget(self) -> None:
        """Begin a new access log."""
        with self._lock:
            self._calls.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request = await _request(scope, receive)
        reply, cut = await run_in_threadpool(self.answer, request)
        await _send(send, reply, cut)

    def answer(self, request: Request) -> tuple[Reply, int | None]:
        """The answer, and after how many bytes of its body the connection breaks (None: it does not)."""
        operation = self.cloud.operation(request) or f"{request.method} {request.path}"
        reply = self._before(request, operation)
        cut: int | None = None
        if reply is None:
            reply = self._checked(request)
            reply, cut = self._after(request, operation, reply)
        status = 0 if cut == 0 else reply.status
        with self._lock:
            self._calls.append(Call(self.market.clock.now(), operation, request.method, request.path, status))
        return reply, cut

    def _before(self, request: Request, operation: str) -> Reply | None:
        struck = self.market.struck
        if slow := struck(self.cloud.name, Kind.SLOW, operation):
            time.sleep(slow.seconds)
        for kind in REFUSALS:
            if fault := struck(self.cloud.name, kind, operation):
                return self.cloud.refuse(request, fault)
        if struck(self.cloud.name, Kind.HTML, operation):
            return Reply(502, WEB_PAGE, kind="text/html")
        return None

    def _checked(self, request: Request) -> Reply:
        reply = self.cloud.handle(request)
        try:
            self.cloud.check(request, reply)
        except Nonconforming as error:
            with self._lock:
                self.nonconforming.append(f"{request.method} {request.path}: {error}")
            return Reply(
                500, f"the simulated cloud answered outside its specification: {error}".encode(), (), "text/plain"
            )
        return reply

    def _after(self, request: Request, operation: str, reply: Reply) -> tuple[Reply, int | None]:
        struck = self.market.struck
        if struck(self.cloud.name, Kind.LOST_RESPONSE, operation):
            return reply, 0
        if struck(self.cloud.name, Kind.TRUNCATED, operation):
            return reply._replace(body=reply.body[: len(reply.body) // 2]), None
        if struck(self.cloud.name, Kind.EMPTY_SUCCESS, operation):
            return self.cloud.failing(request, reply), None
        if struck(self.cloud.name, Kind.ENDLESS, operation):
            return self.cloud.endless(request, reply), None
        return reply, None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _request(scope: Scope, receive: Receive) -> Request:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    raw = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
    return Request(
        method=scope["method"],
        path=unquote(raw.split("?")[0]),
        raw_path=raw.split("?")[0],
        query=tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers=headers,
        body=bytes(body),
        base_url=f"{scope.get('scheme', 'http')}://{headers.get('host', '127.0.0.1')}",
    )


async def _send(send: Send, reply: Reply, cut: int | None) -> None:
    headers = [(b"content-type", reply.kind.encode()), (b"content-length", str(len(reply.body) or 1).encode())]
    if cut is None:
        headers[1] = (b"content-length", str(len(reply.body)).encode())
    headers += [(name.lower().encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body[:cut] if cut is not None else reply.body})
