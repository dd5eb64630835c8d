"""Slurm by slurmrestd, where a site offers it: the newest version of its API that both sides know."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import quote

import httpx

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.kit.documents import readable
from orchestrator.kit.rest import Rest
from providers.slurm import documents
from providers.slurm.batch import Cluster, Order
from providers.slurm.client import Client
from providers.slurm.commands import PILOT
from providers.slurm.complaints import RETRY_AFTER_S, UNKNOWN_JOB, complaint
from providers.slurm.records import QueuedJob
from providers.slurm.settings import NAME, SiteSettings, rest_place
from providers.slurm.tokens import Tokens

OLDEST, NEWEST = 38, 45  # v0.0.38 is of Slurm 22.05, v0.0.45 of 26.05: what was tried, or read in samples
FIRST_WITH_PARSERS = 39  # before it, submissions look otherwise
VERSIONED = re.compile(r"/slurm/v0\.0\.(\d+)/")
DESCRIPTIONS = ("/openapi/v3", "/openapi")
UNKNOWN_S = 600.0
PATH = "/usr/local/bin:/usr/bin:/bin"
NOT_FOUND, REFUSED = 404, frozenset({401, 403})
NO_FORECAST = (
    "slurmrestd does not say when a job would start, and there is no login node to ask: "
    "what is not free now is not on sale"
)
GUESSED = "this slurmrestd does not say which partitions are pre-empted: those that others come before count as spot"
WHY = " (a token that expired, is another's or of another cluster, or clocks that disagree)"

Way = Callable[[], str]  # the path of the socket to slurmrestd; "" where it is reached by its address


class Complained(TransientError):
    """Slurm's own errors in an answer; `said` is their text."""

    def __init__(self, said: str) -> None:
        super().__init__(NAME, said, RETRY_AFTER_S)
        self.said = said


class Missing(TransientError):
    """There is nothing at an address: the API has another version than before."""


def explain(status: int, body: object) -> ProviderError | None:
    """What Slurm complains about, in a failure or inside a success."""
    if status in REFUSED:
        return AuthError(NAME, f"refused with {status}{WHY}")
    said = documents.complaints(body)
    if said:
        return Complained(said)
    return Missing(NAME, "there is nothing at that address", RETRY_AFTER_S) if status == NOT_FOUND else None


class RestClient:
    """One site's slurmrestd; see Batch. `commands` are of its login node, for what slurmrestd does not have."""

    def __init__(
        self,
        site: SiteSettings,
        tokens: Tokens,
        *,
        clock: Clock,
        way: Way | None = None,
        commands: Client | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`way` leads there through another machine; `transport` is for tests that stand in between."""
        self._site, self._tokens, self._way, self._commands = site, tokens, way, commands
        url, place = rest_place(site.rest)
        self._transport = transport if transport is not None else _Travels(way, place)
        self._rest = Rest(
            NAME,
            url,
            authorise=lambda: self._tokens.show().headers(),
            explain=explain,
            clock=clock,
            attempts=1,
            transport=self._transport,
        )
        self._version = 0

    def cluster(self) -> Cluster:
        """Nodes and partitions, and what this slurmrestd does not tell of them. Raises: AuthError, TransientError."""
        with readable(NAME, f"{self._site.name}: the answer of slurmrestd"):
            nodes = documents.nodes(self._read("nodes"))
            said = self._read("partitions")
            partitions, told = documents.partitions(said), documents.tells_preemption(said)
        if not nodes or not partitions:
            raise TransientError(NAME, f"{self._site.name}: slurmrestd shows no nodes or no partitions", RETRY_AFTER_S)
        gaps = []
        if not told and self._commands is not None:
            partitions = self._commands.partitions()
        elif not told:
            gaps.append(GUESSED)
        if self._commands is None and self._site.queue_up_to_s > 0:
            gaps.append(NO_FORECAST)
        return Cluster(nodes, partitions, tuple(gaps))

    def jobs(self) -> list[QueuedJob]:
        """Jobs of our user that have not ended. Raises: AuthError, TransientError."""
        body = self._read("jobs")
        with readable(NAME, f"{self._site.name}: the answer of slurmrestd"):
            return documents.jobs(body, self._tokens.show().user)

    def submit(self, order: Order) -> str:
        """The id of the job, which is sent once.

        Raises: CapacityError, QuotaError, AuthError; TransientError, after which it may have been submitted.
        """
        version = self._known()
        job = _job(self._site, order) if version >= FIRST_WITH_PARSERS else _old_job(self._site, order)
        body = self._write("POST", "job/submit", {"script": PILOT.decode(), "job": job}, buying=True)
        found = body.get("job_id") if isinstance(body, Mapping) else None
        if not isinstance(found, int) or found <= 0:
            raise TransientError(NAME, f"{self._site.name}: slurmrestd told no job's id", 1.0)
        return str(found)

    def expected(self, order: Order) -> datetime | None:
        """When the job would start, by the login node's command; None where there is none. Raises: as Client."""
        return None if self._commands is None else self._commands.expected(order)

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, which may have ended before. Raises: AuthError, TransientError."""
        try:
            self._write("DELETE", f"job/{quote(job_id, safe='')}", buying=False)
        except ProviderError as error:
            if not UNKNOWN_JOB.search(error.detail):
                raise

    def _read(self, what: str) -> object:
        """The answer to a question, once more where another token or version may help."""
        try:
            return self._asked(what)
        except (AuthError, TransientError) as error:
            # 22.05 says no more of a token that it does not take than that something is wrong.
            if isinstance(error, Missing):
                self._version = 0
            elif not self._tokens.renew():
                raise self._named(error, "GET", what) from error
        try:
            return self._asked(what)
        except (AuthError, TransientError) as error:
            raise self._named(error, "GET", what) from error

    def _asked(self, what: str) -> object:
        return self._rest.read(f"/slurm/v0.0.{self._known()}/{what}").body

    def _write(self, method: str, what: str, body: object = None, *, buying: bool) -> object:
        """Sent once; again only where it was refused for its token, with another."""
        path = f"/slurm/v0.0.{self._known()}/{what}"
        try:
            try:
                return self._rest.write(method, path, body).body
            except AuthError:
                if not self._tokens.renew():
                    raise
                return self._rest.write(method, path, body).body
        except (AuthError, TransientError) as error:
            if isinstance(error, Missing):
                self._version = 0
            else:  # 22.05 takes a token that expired for a broken connection: the next call has another
                self._tokens.renew()
            raise self._named(error, method, what, buying=buying) from error

    def _named(self, error: ProviderError, method: str, what: str, *, buying: bool = False) -> ProviderError:
        """The error with its site, and judged by what Slurm said."""
        detail = f"{self._site.name}: slurmrestd: {method} {what}: "
        if isinstance(error, Complained):
            return complaint(error.said, detail, buying=buying)
        if isinstance(error, AuthError):
            return AuthError(NAME, f"{self._site.name}: slurmrestd: {error.detail}")
        wait_s = error.retry_after_s if isinstance(error, TransientError) else RETRY_AFTER_S
        return TransientError(NAME, f"{self._site.name}: slurmrestd: {error.detail}", wait_s)

    def _known(self) -> int:
        """The newest version that both sides know. Raises: AuthError, TransientError."""
        if not self._version:
            self._version = self._discovered()
        return self._version

    def _discovered(self) -> int:
        for path in DESCRIPTIONS:
            try:
                body = self._rest.read(path).body
            except Missing:
                continue
            paths = body.get("paths") if isinstance(body, Mapping) else None
            found = {int(match[1]) for each in paths or () if (match := VERSIONED.match(str(each)))}
            both = [version for version in found if OLDEST <= version <= NEWEST]
            if both:
                return max(both)
            speaks = ", ".join(f"v0.0.{version}" for version in sorted(found)) or "none that it names"
            known = f"v0.0.{OLDEST} to v0.0.{NEWEST}"
            raise TransientError(NAME, f"its API has the versions {speaks}; known are {known}", UNKNOWN_S)
        raise TransientError(NAME, "it describes its API nowhere: is it slurmrestd?", UNKNOWN_S)


class _Travels(httpx.BaseTransport):
    """Requests over the way to a site, which is asked for before each; without one, over its socket or its address."""

    def __init__(self, way: Way | None, place: str) -> None:
        self._way = way
        self._fixed = place if place.startswith("/") else ""
        self._trust = ssl.create_default_context()
        self._inner: dict[str, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx.BaseTransport. Raises: as the way."""
        path = self._way() if self._way is not None else self._fixed
        if path not in self._inner:
            self._inner[path] = httpx.HTTPTransport(uds=path or None, verify=self._trust)
        return self._inner[path].handle_request(request)

    def close(self) -> None:
        """See httpx.BaseTransport."""
        for inner in self._inner.values():
            inner.close()


def _job(site: SiteSettings, order: Order) -> dict[str, object]:
    """A job as slurmrestd takes it from v0.0.39 on."""
    return {
        **_common(site, order),
        "memory_per_node": _number(order.memory_mb),
        "time_limit": _number(order.minutes),
        "tres_per_node": f"gres/{order.gres}",
        "requeue": False,
        "environment": [f"PATH={PATH}"],
    }


def _old_job(site: SiteSettings, order: Order) -> dict[str, object]:
    """A job as v0.0.38 takes it: numbers are plain, and "requeue" is taken and not heeded (tried on 22.05.8)."""
    return {
        **_common(site, order),
        "memory_per_node": order.memory_mb,
        "time_limit": order.minutes,
        "gres": order.gres,
        "no_requeue": True,
        "environment": {"PATH": PATH},
    }


def _common(site: SiteSettings, order: Order) -> dict[str, object]:
    ours = {"account": site.account, "qos": site.qos}
    return {
        "name": order.name,
        "comment": order.comment,
        "partition": order.partition,
        "nodes": f"{order.nodes}-{order.nodes}",  # a list of two numbers is taken by 22.05 and not heeded
        "tasks_per_node": 1,
        "cpus_per_task": order.cpus,
        "current_working_directory": "/",
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
        **{name: value for name, value in ours.items() if value},
    }


def _number(value: int) -> dict[str, object]:
    return {"set": True, "infinite": False, "number": value}
