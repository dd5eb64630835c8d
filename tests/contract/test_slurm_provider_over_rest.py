"""The Slurm provider keeps the promises of a provider over a real slurmrestd."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.kit.shell.command import Shell
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.clock import SystemClock
from orchestrator.testing.accounts import Refusal, Spoilt
from orchestrator.testing.provider_contract import OWNER, Account, ProviderContract
from providers.slurm.batch import Batch
from providers.slurm.client import Client
from providers.slurm.provider import SlurmProvider
from providers.slurm.restd import RestClient
from providers.slurm.settings import NAME, SiteSettings, SlurmSettings
from providers.slurm.tokens import MadeToken
from tests.contract.test_slurm_provider import SlurmAccount, site
from tests.e2e import slurm


def complaint(error: str) -> bytes:
    return json.dumps({"errors": [{"error": error, "error_number": 1}]}).encode()


class Canned:
    """An answer that never reached slurmrestd."""

    def __init__(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.status, self.body, self.headers = status, body, {"content-type": kind}


class Moody(httpx.BaseTransport):
    """The way to slurmrestd on its bad days."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport()
        self.losing: set[str] = set()  # methods whose next answer is lost
        self.saying: dict[str, Canned] = {}  # what is answered instead, by the end of the path; "" is every one
        self.times = -1  # how often

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        said = next((said for end, said in self.saying.items() if request.url.path.endswith(end)), None)
        if said is not None and self.times != 0:
            self.times -= 1
            return httpx.Response(said.status, content=said.body, headers=said.headers)
        answer = self._inner.handle_request(request)
        if request.method in self.losing:
            self.losing.discard(request.method)
            answer.read()
            raise httpx.ReadError("the connection was lost")
        return answer

    def shut(self) -> None:  # not `close`: every client of the account would
        self._inner.close()


REFUSALS: Mapping[Refusal, Canned] = MappingProxyType(
    {
        Refusal.THROTTLED: Canned(429, b"{}"),
        Refusal.FAILED: Canned(500, complaint("Unable to contact slurm controller (connect failure)")),
        Refusal.WRONG_KEY: Canned(401, b"Authentication failure", "text/plain"),
        Refusal.EXPIRED: Canned(401, b"Authentication failure", "text/plain"),
        Refusal.CLOCK_SKEW: Canned(401, b"Authentication failure", "text/plain"),
    }
)
SPOILT: Mapping[Spoilt, Canned] = MappingProxyType(
    {
        Spoilt.WEB_PAGE: Canned(200, b"<html>Bad gateway</html>", "text/html"),
        Spoilt.CUT_OFF: Canned(200, b'{"errors": [], "jobs": [{"job_id": 1'),
        Spoilt.ERROR_IN_SUCCESS: Canned(200, complaint("Unspecified error")),
        Spoilt.FAILED: Canned(500, complaint("Socket timed out on send/recv operation")),
    }
)


class RestAccount(SlurmAccount):
    """The account of the command line, reached by slurmrestd."""

    def __init__(self, cluster: slurm.Cluster, folder: Path) -> None:
        super().__init__(cluster, folder)
        self._way = Moody()
        self._token = cluster.run("scontrol", "token", "lifespan=3600").strip().removeprefix("SLURM_JWT=")

    def provider(self, owner: str) -> Provider:
        return SlurmProvider(
            owner=owner,
            settings=SlurmSettings((site(self._cluster, rest=self._cluster.rest_url),)),
            clock=SystemClock(),
            state_dir=self._folder,
            shells={"here": LocalShell(NAME)},
            connect=self._connect,
        )

    def close(self) -> None:
        self._way.shut()

    def secrets(self) -> tuple[str, ...]:
        return (self._token,)

    def lose_next_answer(self) -> Provider:
        self._way.losing.add("POST")
        return self.provider(OWNER)

    def lose_next_release(self) -> None:
        self._way.losing.add("DELETE")

    def sell_out(self, offer: object) -> None:
        self._way.saying["/job/submit"] = Canned(500, complaint("Requested node configuration is not available"))

    def use_quota_up(self, offer: object) -> None:
        said = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        self._way.saying["/job/submit"] = Canned(500, complaint(said))

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        self._way.saying[""] = REFUSALS[how]
        self._way.times = times

    def spoil(self, how: Spoilt, *, listing: bool) -> None:
        if how not in SPOILT:
            pytest.skip("slurmrestd has no pages")
        self._way.saying["/jobs" if listing else "/nodes"] = SPOILT[how]

    def mend(self) -> None:
        self._way.saying.clear()
        self._way.losing.clear()
        self._way.times = -1

    def mishaps(self) -> tuple[Callable[[], object], ...]:
        return (
            self._preempt,
            lambda: self._way.losing.add("POST"),
            lambda: self._way.losing.add("DELETE"),
            lambda: self.refuse(Refusal.FAILED, times=1),
            lambda: self.refuse(Refusal.EXPIRED, times=1),
        )

    def _connect(self, here: SiteSettings, shell: Shell) -> Batch:
        clock = SystemClock()
        tokens = MadeToken(lambda _: f"SLURM_JWT={self._token}\n", "", clock)
        return RestClient(here, tokens, clock=clock, commands=Client(here, shell), transport=self._way)


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    slurm.needed(*slurm.REST_PROGRAMS)
    with slurm.Cluster(rest=True) as running:
        yield running


class TestSlurmRestProvider(ProviderContract):
    @pytest.fixture
    def account(self, cluster: slurm.Cluster, tmp_path: Path) -> Iterator[Account]:
        mine = RestAccount(cluster, tmp_path)
        yield mine
        mine.close()
        cluster.clear()
