"""Public catalogues: fetched without an account, judged as any import, and every failure named."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from orchestrator.catalog import cache, history
from orchestrator.domain.errors import ProviderError, TransientError, UserError
from orchestrator.inventory import feeds
from orchestrator.inventory.refresh import Asking, Outcome, refresh
from orchestrator.testing.clock import FakeClock
from tests.unit.cli.conftest import Cli, cli  # noqa: F401 a fixture

HEADER = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot\n"
ROW = "p5.48xlarge,us-east-1,{},192,2048.0,8,H100,80.0,False\n"
Handler = Callable[[httpx.Request], httpx.Response]


def packed(name: str, text: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}.csv", (2025, 12, 30, 8, 0, 0)), text)
    return stream.getvalue()


def serving(**texts: str) -> Handler:
    """A feed with a catalogue of each text."""

    def answer(request: httpx.Request) -> httpx.Response:
        _, _, name, *rest = request.url.path.split("/")
        if name not in texts:
            return httpx.Response(404, text="<Error>NoSuchKey</Error>")
        if rest == ["version"]:
            return httpx.Response(200, text="20251230-42\n")
        assert rest == ["20251230-42", "catalog.zip"]
        return httpx.Response(200, content=packed(name, texts[name]))

    return answer


def ask(handler: Handler, *names: str, folder: Path, clock: FakeClock | None = None) -> dict[str, Outcome]:
    moment = clock or FakeClock()
    sources = feeds.sources("http://feed/v3/", names, clock=moment, transport=httpx.MockTransport(handler))
    asking = Asking(folder=folder, clock=moment, patience_s=60.0, keep=feeds.keep)
    return {outcome.provider: outcome for outcome in refresh(sources, asking, lambda _: None)}


def test_a_catalogue_is_kept_as_an_import_under_our_name_of_the_provider(tmp_path: Path) -> None:
    outcomes = ask(serving(lambdalabs=HEADER + ROW.format(55.04)), "lambda", folder=tmp_path)
    assert outcomes["gpuhunt-lambda"].problem == ""
    [book] = cache.load(tmp_path)
    [offer] = book
    assert (offer.provider, offer.accelerator, offer.usd_per_hour) == ("lambda", "H100-SXM", 55.04)
    assert offer.source == "gpuhunt catalogue 2025-12-30"
    assert list(history.load(tmp_path)) == ["import-gpuhunt-lambda"]


def test_of_all_providers_those_that_answer_are_kept_and_the_others_said(tmp_path: Path) -> None:
    bad = HEADER + ROW.format(55.04) + ROW.format(-1) + ROW.format(0).replace("p5", "p6")
    outcomes = ask(serving(aws=bad, azure=HEADER), folder=tmp_path)
    assert len(outcomes) == len(feeds.PROVIDERS)
    assert outcomes["gpuhunt-aws"].gaps == (
        "1 bad rows: price: -1 is negative (line 3)",
        "1 bad rows: price: 0 is no price: leave it empty where there is none (line 4)",
    )
    assert outcomes["gpuhunt-azure"].problem == "there are no offers in it"
    assert "404" in outcomes["gpuhunt-gcp"].problem
    assert [path.name for path in cache.stored(tmp_path)] == ["gpuhunt-aws.offers"]


def test_a_throttled_feed_is_asked_again_as_late_as_it_says(tmp_path: Path) -> None:
    answers = iter([httpx.Response(503, headers={"retry-after": "7"}), httpx.Response(429)])
    good = serving(aws=HEADER + ROW.format(1))
    clock = FakeClock()
    outcomes = ask(lambda request: next(answers, None) or good(request), "aws", folder=tmp_path, clock=clock)
    assert outcomes["gpuhunt-aws"].told is not None
    assert clock.slept_s == 9.0


@pytest.mark.parametrize(
    ("version", "content", "says"),
    [
        ("20251230", b"<html>log in</html>", "no catalogue"),
        ("20251230", packed("aws", HEADER)[:60], "damaged"),
        ("20251230", packed("aws", "a,b\n1,2\n"), "no CSV in it is"),
        ("<html>", b"", "holds no version but '<html>'"),
        ("../../etc", b"", "holds no version"),
        ("", b"", "holds no version"),
    ],
)
def test_an_answer_that_is_no_catalogue_is_said_and_changes_nothing(
    tmp_path: Path, version: str, content: bytes, says: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("version"):
            return httpx.Response(200, text=version)
        return httpx.Response(200, content=content)

    outcomes = ask(answer, "aws", folder=tmp_path)
    assert says in outcomes["gpuhunt-aws"].problem
    assert str(tmp_path) not in outcomes["gpuhunt-aws"].problem
    assert not cache.stored(tmp_path)


def test_an_answer_without_end_is_cut_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LARGEST", 1 << 20)
    endless = httpx.Response(200, content=(b"x" * 65536 for _ in range(10**9)))
    outcomes = ask(lambda _: endless, "aws", folder=tmp_path)
    assert "larger than 1 MiB" in outcomes["gpuhunt-aws"].problem


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectTimeout("slow"), TransientError),
        (httpx.ConnectError("certificate verify failed"), TransientError),
        (httpx.RemoteProtocolError("cut"), TransientError),
        (httpx.DecodingError("gzip"), ProviderError),
    ],
)
def test_failures_of_the_connection_are_named(error: Exception, kind: type[ProviderError]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    [source] = feeds.sources("gpuhunt", ("aws",), clock=FakeClock(), transport=httpx.MockTransport(answer)).values()
    with pytest.raises(kind, match="dstack-gpu-pricing"):
        source()


def test_a_feed_that_is_none_and_a_provider_that_it_has_not_are_refused() -> None:
    with pytest.raises(UserError, match="neither gpuhunt nor"):
        feeds.sources("gpuhnut", (), clock=FakeClock())
    with pytest.raises(UserError, match="did you mean 'lambda'"):
        feeds.sources("gpuhunt", ("lamda",), clock=FakeClock())


def test_the_command_fetches_and_says_what_came(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ISOFLOP_HOME", str(tmp_path))
    transport = httpx.MockTransport(serving(aws=HEADER + ROW.format(55.04)))
    monkeypatch.setattr(feeds, "sources", partial(feeds.sources, transport=transport))
    ran = cli("catalog", "refresh", "--from", "http://feed/v3", "--provider", "aws", "--json")
    assert ran.code == 0, ran.err
    [told] = json.loads(ran.out)["providers"]
    assert (told["provider"], told["offers"]) == ("gpuhunt-aws", 1)
    assert [each["name"] for each in json.loads(cli("catalog", "list", "--json").out)] == ["gpuhunt-aws"]
    assert cli("catalog", "refresh", "--from", "ftp://feed").code == 2
