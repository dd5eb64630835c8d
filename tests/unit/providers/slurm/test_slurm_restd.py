"""What we send to slurmrestd, and what we make of every answer that it may give."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    MissingCredentials,
    ProviderError,
    QuotaError,
    TransientError,
)
from orchestrator.domain.secret import Secret
from orchestrator.kit.shell.command import Done
from orchestrator.testing.clock import FakeClock
from providers.slurm.batch import Order
from providers.slurm.client import Client
from providers.slurm.restd import GUESSED, RestClient
from providers.slurm.settings import Rate, SiteSettings, rest_place
from providers.slurm.tokens import LIFESPAN_S, TOKEN, USER, GivenToken, MadeToken, NoToken, claimed

ORDER = Order("isoflop-a-b", "isoflop:abc", "batch", 2, "gpu:a100:4", 16, 64000, 90)
RATES = (Rate("x", "", 1.0),)
SITE = SiteSettings(name="lab", rest="http://127.0.0.1:6820", account="mine", rates=RATES)
CANARY = "canary-3f81"


SAMPLES = Path(__file__).parents[5] / "shared" / "data" / "slurm"


def jwt(**claims: object) -> str:
    packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{packed}.{CANARY}"


class Restd(httpx.BaseTransport):
    """Answers every question alike, but for what its description says and `by_path` has by the end of a path."""

    def __init__(self, *versions: int, said: object = None, status: int = 200, kind: str = "application/json") -> None:
        self.paths = {"paths": {f"/slurm/v0.0.{each}/jobs/": {} for each in versions} | {"/slurmdb/v0.0.99/jobs": {}}}
        self.said, self.status, self.kind = said, status, kind
        self.asked: list[tuple[str, str]] = []
        self.sent: list[object] = []
        self.headers: list[httpx.Headers] = []
        self.by_path: dict[str, object] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        self.headers.append(request.headers)
        if request.url.path == "/openapi/v3":
            return httpx.Response(200, json=self.paths)
        if request.content:
            self.sent.append(json.loads(request.content))
        for end, said in self.by_path.items():
            if request.url.path.endswith(end):
                return httpx.Response(200, json=said)
        body = self.said if isinstance(self.said, bytes) else json.dumps(self.said).encode()
        return httpx.Response(self.status, content=body, headers={"content-type": self.kind})


def client(restd: Restd, make: Callable[[int], str] = lambda _: f"SLURM_JWT={jwt(sun='me')}\n") -> RestClient:
    clock = FakeClock()
    return RestClient(SITE, MadeToken(make, "", clock), clock=clock, transport=restd)


@pytest.mark.parametrize(
    ("spoken", "taken"), [((36, 37, 38), 38), ((38, 39, 40), 40), ((42, 43, 44, 45), 45), ((44, 45, 46, 47), 45)]
)
def test_the_newest_version_that_both_sides_know_is_taken_and_asked_for_once(
    spoken: tuple[int, ...], taken: int
) -> None:
    restd = Restd(*spoken, said={"jobs": []})
    rest = client(restd)
    assert rest.jobs() == rest.jobs() == []
    assert restd.asked == [("GET", "/openapi/v3"), *[("GET", f"/slurm/v0.0.{taken}/jobs")] * 2]


@pytest.mark.parametrize("name", ["22.05", "noble", "trixie", "resolute", "forky"])
def test_of_every_version_that_was_looked_at_the_newest_api_is_known(name: str) -> None:
    path = SAMPLES / f"rest-{name}.txt"
    if not path.is_file():
        pytest.skip(f"no record of slurmrestd in {SAMPLES}")
    said = path.read_text().splitlines()[0]
    spoken = [int(each) for each in re.findall(r"v0\.0\.(\d+)", said)]
    restd = Restd(*spoken, said={"jobs": []})
    client(restd).jobs()
    assert restd.asked[-1] == ("GET", f"/slurm/v0.0.{max(spoken)}/jobs")


@pytest.mark.parametrize("spoken", [(46, 47), (35,), ()])
def test_a_site_that_speaks_no_version_of_ours_is_an_error_that_says_what_it_speaks(spoken: tuple[int, ...]) -> None:
    with pytest.raises(TransientError, match=f"v0.0.{spoken[0]}" if spoken else "none that it names"):
        client(Restd(*spoken)).jobs()


def test_a_site_that_was_upgraded_is_asked_for_its_version_again() -> None:
    restd = Restd(40, said={"jobs": []})
    rest = client(restd)
    rest.jobs()
    restd.paths = {"paths": {"/slurm/v0.0.44/jobs": {}}}
    restd.said, restd.status, restd.kind = b"Unable find requested URL.", 404, "text/plain"
    with pytest.raises(TransientError):
        rest.jobs()
    restd.said, restd.status, restd.kind = {"jobs": []}, 200, "application/json"
    rest.jobs()
    assert restd.asked[-1] == ("GET", "/slurm/v0.0.44/jobs")


NODE = {"name": "n0", "state": ["IDLE"], "gres": "gpu:a100:4", "partitions": ["low", "high"], "cpus": 8}
PARTITIONS = [
    {"name": name, "partition": {"state": ["UP"]}, "priority": {"tier": n}} for n, name in enumerate(("low", "high"))
]
TEXT = b"PartitionName=low State=UP PriorityTier=0 PreemptMode=OFF\nPartitionName=high State=UP PriorityTier=1\n"


class Said:
    """A login node that says the same to everything."""

    name = "login"

    def __init__(self, text: bytes) -> None:
        self._text = text

    def run(self, argv: object, **how: object) -> Done:
        return Done(0, self._text, b"")


@pytest.mark.parametrize("version", [40, 44])
def test_which_partitions_are_preempted_is_asked_of_the_login_node_where_slurmrestd_does_not_say(version: int) -> None:
    restd = Restd(version)
    restd.by_path = {"/nodes": {"nodes": [NODE]}, "/partitions": {"partitions": PARTITIONS}}
    alone = client(restd).cluster()
    assert {each.name: each.preemptible for each in alone.partitions} == {"low": True, "high": False}
    assert alone.gaps == (GUESSED,)
    tokens = MadeToken(lambda _: f"SLURM_JWT={jwt(sun='me')}\n", "", FakeClock())
    commands = Client(SITE, Said(TEXT))
    both = RestClient(SITE, tokens, clock=FakeClock(), commands=commands, transport=restd).cluster()
    assert {each.name: each.preemptible for each in both.partitions} == {"low": False, "high": False}
    assert both.gaps == ()
    told = [each | {"preempt_mode": ["DISABLED"]} for each in PARTITIONS]
    restd.by_path["/partitions"] = {"partitions": told}
    assert not any(each.preemptible for each in client(restd).cluster().partitions)


@pytest.mark.parametrize("empty", ["/nodes", "/partitions"])
def test_a_cluster_of_nothing_is_an_error_and_never_an_empty_market(empty: str) -> None:
    restd = Restd(44)
    restd.by_path = {"/nodes": {"nodes": [NODE]}, "/partitions": {"partitions": PARTITIONS}}
    restd.by_path[empty] = {empty[1:]: []}
    with pytest.raises(TransientError, match="no nodes or no partitions"):
        client(restd).cluster()


def test_a_job_is_ordered_as_each_version_takes_it() -> None:
    old, new = Restd(38, said={"job_id": 7}), Restd(42, said={"job_id": 8, "errors": [], "warnings": ["w"]})
    assert (client(old).submit(ORDER), client(new).submit(ORDER)) == ("7", "8")
    assert old.asked[-1] == ("POST", "/slurm/v0.0.38/job/submit")
    (first,), (second,) = old.sent, new.sent
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    for sent in (first, second):
        job = sent["job"]
        assert sent["script"].startswith("#!/bin/sh\n")
        assert (job["name"], job["comment"], job["partition"]) == ORDER[:3]
        assert (job["nodes"], job["tasks_per_node"], job["cpus_per_task"]) == ("2-2", 1, 16)
        assert (job["account"], job["current_working_directory"]) == ("mine", "/")
        assert "qos" not in job
    job = first["job"]
    assert (job["gres"], job["no_requeue"], job["time_limit"], job["memory_per_node"]) == (
        "gpu:a100:4",
        True,
        90,
        64000,
    )
    assert isinstance(job["environment"], dict)
    job = second["job"]
    assert (job["tres_per_node"], job["requeue"]) == ("gres/gpu:a100:4", False)
    assert (job["time_limit"]["number"], job["memory_per_node"]["number"]) == (90, 64000)
    assert isinstance(job["environment"], list)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (500, "Invalid account or account/partition combination specified", QuotaError),
        (500, "Job violates accounting/QOS policy (job submit limit)", QuotaError),
        (200, "Requested node configuration is not available", CapacityError),
        (422, "Invalid Trackable RESource (TRES) specification", CapacityError),
        (500, "Unable to contact slurm controller (connect failure)", TransientError),
        (500, "Zero Bytes were transmitted or received", TransientError),
        (500, "Access/permission denied", AuthError),
    ],
)
def test_what_slurm_complains_about_is_our_error_and_a_job_is_sent_once(
    status: int, error: str, kind: type[ProviderError]
) -> None:
    restd = Restd(44, said={"errors": [{"error": error, "error_number": 1}]}, status=status)
    with pytest.raises(ProviderError, match="lab: slurmrestd") as refused:
        client(restd).submit(ORDER)
    assert type(refused.value) is kind
    assert error in refused.value.detail
    assert len(restd.sent) == 1


@pytest.mark.parametrize(
    ("status", "said", "kind", "error"),
    [
        (200, b"<html>log in</html>", "text/html", TransientError),
        (200, b'{"jobs": [{"job_', "application/json", TransientError),
        (200, b'{"errors": []}', "application/json", TransientError),
        (200, b'{"jobs": [{"user_name": "me"}]}', "application/json", TransientError),
        (401, b"Authentication failure", "text/plain", AuthError),
        (500, b"Internal error", "text/plain", TransientError),
        (301, b"", "text/plain", TransientError),
    ],
)
def test_a_listing_that_cannot_be_read_is_an_error_that_shows_no_token(
    status: int, said: bytes, kind: str, error: type[ProviderError]
) -> None:
    with pytest.raises(error) as refused:
        client(Restd(44, said=said, status=status, kind=kind)).jobs()
    assert CANARY not in f"{refused.value!r} {refused.value} {refused.value.__cause__!r}"


def test_a_submission_that_tells_no_number_is_in_doubt_and_sent_once() -> None:
    restd = Restd(44, said={"job_id": 0})
    with pytest.raises(TransientError, match="no job's id"):
        client(restd).submit(ORDER)
    assert len(restd.sent) == 1


def test_a_submission_that_was_refused_for_its_token_is_sent_again_with_another() -> None:
    made: list[str] = []

    def make(lifespan_s: int) -> str:
        made.append(jwt(sun="me", iat=len(made)))
        return f"SLURM_JWT={made[-1]}\n"

    restd = Restd(44, said=b"Authentication failure", status=401, kind="text/plain")
    with pytest.raises(AuthError, match="clocks"):
        client(restd, make).submit(ORDER)
    assert len(restd.sent) == 2
    assert [headers[TOKEN] for headers in restd.headers] == [made[0], made[0], made[1]]
    assert {headers[USER] for headers in restd.headers} == {"me"}


def test_a_job_that_has_ended_before_is_cancelled_without_a_complaint() -> None:
    gone = {"errors": [{"error": "Invalid job id specified", "error_number": 2017}]}
    client(Restd(44, said=gone, status=500)).cancel("9")
    with pytest.raises(AuthError):
        client(Restd(44, said={"errors": [{"error": "Access/permission denied"}]}, status=500)).cancel("9")


def test_a_made_token_is_kept_for_half_of_its_time_and_made_anew_when_asked() -> None:
    clock, made = FakeClock(), []

    def make(lifespan_s: int) -> str:
        made.append(lifespan_s)
        return f"SLURM_JWT={jwt(sun='me')}"

    tokens = MadeToken(make, "", clock)
    assert tokens.show().user == tokens.show().user == "me"
    clock.sleep(LIFESPAN_S / 2 - 1)
    tokens.show()
    assert made == [LIFESPAN_S]
    clock.sleep(1)
    tokens.show()
    assert made == [LIFESPAN_S] * 2
    assert tokens.renew()
    tokens.show()
    assert len(made) == 3


@pytest.mark.parametrize("said", ["", "SLURM_JWT=", f"error {CANARY}"])
def test_a_command_that_prints_no_token_is_an_error_that_repeats_nothing(said: str) -> None:
    with pytest.raises(AuthError, match="no token") as refused:
        MadeToken(lambda _: said, "", FakeClock()).show()
    assert CANARY not in str(refused.value)


def test_a_given_token_is_looked_up_every_time_and_refused_once_it_has_expired() -> None:
    clock = FakeClock()
    ends_s = (clock.now() + timedelta(seconds=60)).timestamp()
    held = [jwt(sun="me", exp=ends_s), jwt(sun="you")]
    tokens = GivenToken(lambda: Secret(held[0]), "", clock)
    assert tokens.show().headers() == {USER: "me", TOKEN: held[0]}
    assert not tokens.renew()
    clock.sleep(60)
    with pytest.raises(AuthError, match="expired"):
        tokens.show()
    held.pop(0)
    assert tokens.show().user == "you"


def test_a_reference_that_resolves_to_nothing_any_more_is_an_error_of_authentication() -> None:
    def gone() -> Secret:
        raise MissingCredentials("env:TOKEN is not set")

    with pytest.raises(AuthError, match="env:TOKEN"):
        GivenToken(gone, "me", FakeClock()).show()


@pytest.mark.parametrize("token", ["", "plain", "a.b.c", "a.bm8.c", "a.W10.c", "a.eyJleHAiOjFlOTk5fQ.c"])
def test_a_token_that_says_nothing_of_itself_needs_a_user_from_the_settings(token: str) -> None:
    assert claimed(Secret(token)).user == ""
    with pytest.raises(AuthError, match="rest_user"):
        GivenToken(lambda: Secret(token), "", FakeClock()).show()
    assert GivenToken(lambda: Secret(token), "me", FakeClock()).show().user == "me"


def test_a_token_that_no_header_can_hold_is_refused() -> None:
    with pytest.raises(AuthError, match="no header"):
        GivenToken(lambda: Secret("a\r\nb"), "me", FakeClock()).show()


def test_a_socket_that_knows_us_is_shown_nothing() -> None:
    assert NoToken("me").show().headers() == {}


def test_addresses_of_slurmrestd_are_urls_or_sockets() -> None:
    assert rest_place("unix:/run/slurmrestd/slurmrestd.socket")[1] == "/run/slurmrestd/slurmrestd.socket"
    assert rest_place("http://ctl:6820/") == ("http://ctl:6820", "ctl:6820")
    assert rest_place("https://[fd00::1]/")[1] == "[fd00::1]:443"
    for wrong in ("ctl:6820", "ftp://ctl", "unix:relative", "http://", "http://me:pw@ctl:1"):
        with pytest.raises(ValueError, match="rest is"):
            rest_place(wrong)


def test_no_token_travels_in_the_clear_and_somebody_has_to_be_somebody() -> None:
    with pytest.raises(ValueError, match="in the clear"):
        SiteSettings(name="lab", rest="http://ctl:6820", rates=RATES)
    SiteSettings(name="lab", rest="http://ctl:6820", login="me@login", host_key="ssh-ed25519 A", rates=RATES)
    with pytest.raises(ValueError, match="rest_user"):
        SiteSettings(name="lab", rest="unix:/s", rest_token="none", rates=RATES)
