"""The HTTP client of adapters names every way in which a real server's answer can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.domain.errors import AuthError, CapacityError, ProviderError, TransientError
from orchestrator.kit.rest import Rest
from orchestrator.simulation.clouds.serving import Server, make_tls
from orchestrator.simulation.clouds.wire import Receive, Scope, Send
from orchestrator.testing.clock import FakeClock

KEY = "sk-canary-51c2"


class Canned(NamedTuple):
    status: int = 200
    body: bytes = b'{"ok": true}'
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    lacking: int = 0  # bytes of the body that never come


class Vendor:
    """Answers with what it was given, the last again and again; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers = [Canned()]
        self.asked: list[tuple[str, str, bytes, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        headers = dict(scope["headers"])
        query = scope["query_string"].decode()
        self.asked.append(
            (scope["method"], f"{scope['path']}?{query}", message["body"], headers.get(b"authorization", b"").decode())
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        size = str(len(answer.body)).encode()
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [*answer.headers, (b"content-length", size)],
            }
        )
        await send({"type": "http.response.body", "body": answer.body[: len(answer.body) - answer.lacking]})


def explain(status: int, body: object) -> ProviderError | None:
    code = body.get("code") if isinstance(body, dict) else None
    return CapacityError("vendor", "sold out") if code == "sold-out" else None


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 11, 21, tzinfo=UTC))


@pytest.fixture
def rest(vendor: Vendor, clock: FakeClock) -> Iterator[Rest]:
    with Server(vendor) as server, closing(connect(server.url, clock)) as connected:
        yield connected


def connect(url: str, clock: FakeClock, *, ca_file: str = "") -> Rest:
    def authorise() -> dict[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    return Rest("vendor", url, authorise=authorise, explain=explain, clock=clock, ca_file=ca_file)


def test_an_answer_is_parsed_and_the_credential_is_sent(rest: Rest, vendor: Vendor) -> None:
    assert rest.read("/things", {"a": "b"}).body == {"ok": True}
    assert rest.write("POST", "/things", {"n": 1}).status == 200
    assert vendor.asked == [
        ("GET", "/things?a=b", b"", f"Bearer {KEY}"),
        ("POST", "/things?", json.dumps({"n": 1}).encode(), f"Bearer {KEY}"),
    ]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Canned(401, b"{}"), AuthError, "401"),
        (Canned(403, b"{}"), AuthError, "403"),
        (Canned(429, b"{}"), TransientError, "too many requests"),
        (Canned(500, b"{}"), TransientError, "500"),
        (Canned(302, b"", ((b"location", b"https://elsewhere/"),)), TransientError, "sent elsewhere"),
        (Canned(200, b"<html>hi</html>", ((b"content-type", b"text/html"),)), TransientError, "web page"),
        (Canned(200, b"<html>hi</html>"), TransientError, "web page"),
        (Canned(200, b'{"ok": tr'), TransientError, "broken JSON"),
        (Canned(200, b'{"ok": true}', lacking=4), TransientError, "vendor"),
        (Canned(200, b'{"code": "sold-out"}'), CapacityError, "sold out"),
        (Canned(400, b'{"code": "sold-out"}'), CapacityError, "sold out"),
    ],
)
def test_every_bad_answer_has_its_error(
    rest: Rest, vendor: Vendor, answer: Canned, error: type[ProviderError], says: str
) -> None:
    vendor.answers = [answer]
    with pytest.raises(error, match=says) as raised:
        rest.read("/things")
    assert KEY not in str(raised.value)
    assert KEY not in repr(raised.value.__cause__)


def test_a_read_waits_as_long_as_the_vendor_asks_and_no_real_time(rest: Rest, vendor: Vendor, clock: FakeClock) -> None:
    began = clock.now()
    wait = (*Canned().headers, (b"retry-after", b"7"))
    vendor.answers = [Canned(429, b"{}", wait), Canned(503, b"{}", wait), Canned()]
    assert rest.read("/things").body == {"ok": True}
    assert (clock.now() - began).total_seconds() == 14.0


def test_a_vendor_that_asks_for_hours_is_not_waited_for(rest: Rest, vendor: Vendor, clock: FakeClock) -> None:
    began = clock.now()
    vendor.answers = [Canned(429, b"{}", (*Canned().headers, (b"retry-after", b"7200")))]
    with pytest.raises(TransientError) as raised:
        rest.read("/things")
    assert raised.value.retry_after_s == 7200.0
    assert (clock.now(), len(vendor.asked)) == (began, 1)


def test_a_refusal_in_plain_words_is_judged_by_its_status(rest: Rest, vendor: Vendor) -> None:
    words = ((b"content-type", b"text/plain"),)
    vendor.answers = [Canned(401, b"Authentication failure", words), Canned(200, b"Welcome", words)]
    with pytest.raises(AuthError, match="401"):
        rest.write("POST", "/x")
    with pytest.raises(TransientError, match="broken JSON"):
        rest.write("POST", "/x")


def test_a_write_is_sent_once_whatever_happens(rest: Rest, vendor: Vendor) -> None:
    for answer in (Canned(500, b"{}"), Canned(200, b'{"ok": true}', lacking=3)):
        vendor.asked.clear()
        vendor.answers = [answer]
        with pytest.raises(TransientError):
            rest.write("POST", "/things", {})
        assert len(vendor.asked) == 1


def test_nobody_listening_is_transient(clock: FakeClock) -> None:
    with Server(Vendor()) as server:
        url = server.url
    with closing(connect(url, clock)) as rest, pytest.raises(TransientError, match="ConnectError"):
        rest.read("/things")


def test_a_server_whose_certificate_nobody_vouches_for_is_not_talked_to(
    tmp_path: Path, vendor: Vendor, clock: FakeClock
) -> None:
    tls = make_tls(tmp_path)
    with Server(vendor, tls=tls) as server:
        with closing(connect(server.url, clock)) as wary, pytest.raises(TransientError, match="cannot be trusted"):
            wary.read("/things")
        assert not vendor.asked
        with closing(connect(server.url, clock, ca_file=str(tls.authority))) as told:
            assert told.read("/things").status == 200


def test_a_file_without_certificates_is_named(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(TransientError, match=r"gone\.pem"):
        connect("https://127.0.0.1:1", clock, ca_file=str(tmp_path / "gone.pem"))
