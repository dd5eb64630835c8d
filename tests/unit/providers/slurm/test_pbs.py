"""PBS read from outputs written by hand after published ones, and a provider over commands that answer like that."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import survey
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ConfigError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    TransientError,
)
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.offer import Billing
from orchestrator.kit.shell.command import Done
from orchestrator.kit.shell.local import LocalShell
from orchestrator.testing.clock import FakeClock
from providers.slurm import pilots
from providers.slurm.batch import Order
from providers.slurm.pbs import JOBS, LISTED, LOOK, SPLIT, PbsClient
from providers.slurm.provider import SlurmProvider
from providers.slurm.settings import Rate, SiteSettings, SlurmSettings
from tests.unit.providers.slurm import pbs_samples
from tests.unit.providers.slurm.pbs_samples import NODES, PLACED, QUEUES

KEY = "ssh-ed25519 AAAAnode"
SITE = SiteSettings(
    name="pbs",
    system="pbs",
    login="me@login",
    host_key="ssh-ed25519 AAAAlogin",
    node_host_keys={"*": KEY},
    account="lab 7",
    rates=(Rate("a100", "A100-80GB", 1.0), Rate("h100", "H100-80GB", 2.0)),
)
ORDER = Order("isoflop-a-b", "isoflop:abcd==", "gpu", 2, "gpu:a100:4", 64, 512000, 90)


class Login:
    """A login node with PBS's commands: jobs that are submitted run at once, or wait for what is said."""

    name = "login"

    def __init__(self) -> None:
        self.saying: dict[str, Done] = {}
        self.asked: list[tuple[str, ...]] = []
        self.queue: dict[str, dict[str, object]] = {}
        self.waits_for = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        self.asked.append(tuple(argv))
        assert env == {"TZ": "UTC", "LC_ALL": "C"}
        name = {LOOK: "look", JOBS: "jobs"}.get(argv[-1], argv[0])
        if name in self.saying:
            return self.saying[name]
        if name == "look":
            return done(f"{QUEUES}{SPLIT}\n{NODES}")
        if name == "jobs":
            listed = [pbs_samples.job(number, **job) for number, job in self.queue.items()]
            return done(LISTED + "\n" + (pbs_samples.jobs(*listed) if listed else ""))
        if name == "qdel":
            known = self.queue.pop(argv[1], None)
            return done("") if known else Done(153, b"", f"qdel: Unknown Job Id {argv[1]}\n".encode())
        assert name == "qsub"
        return self._submitted(argv, stdin)

    def _submitted(self, argv: Sequence[str], stdin: bytes) -> Done:
        assert stdin.startswith(b"#!/bin/sh\n")
        flags = dict(zip(argv[1::2], argv[2::2], strict=True))
        number = f"{1300 + len(self.asked)}.pbs01"
        job: dict[str, object] = {"name": flags["-N"], "lease": flags["-v"].removeprefix("ISOFLOP_LEASE=")}
        if self.waits_for:
            job |= {"state": "Q", "substate": 10, "placed": "", "comment": self.waits_for, "runs": 0}
        self.queue[number] = job
        return done(f"Dear user, 3\nplease clean up:\n17\n{number}\n")


def done(text: str) -> Done:
    return Done(0, text.encode(), b"")


def provider(login: Login, folder: Path, **changes: object) -> SlurmProvider:
    site = replace(SITE, **changes)  # type: ignore[arg-type]
    return SlurmProvider(
        owner="it's me",
        settings=SlurmSettings((site,)),
        clock=FakeClock(datetime(2026, 11, 22, 13, 5, tzinfo=UTC)),
        state_dir=folder,
        shells={"pbs": login},
        connect=PbsClient,
        pause=lambda _: None,
    )


def test_machines_are_read_with_what_is_free_and_the_queues_that_use_them() -> None:
    cluster = PbsClient(SITE, Login()).cluster()
    nodes = {node.name: node for node in cluster.nodes}
    assert {name: node.partitions for name, node in nodes.items()} == {
        "gpu01": ("gpu", "debug"),
        "gpu02": ("gpu",),
        "gpu03": ("gpu",),
        "fat01": ("fat",),
        "cpu01": ("cpu",),
    }
    assert (dict(nodes["gpu01"].gpus), dict(nodes["gpu01"].used)) == ({"a100": 4}, {"a100": 0})
    assert (nodes["gpu01"].cpus, nodes["gpu01"].memory_mb) == (64, 512000)
    assert (dict(nodes["gpu02"].used), nodes["gpu02"].cpus_used) == ({"a100": 1}, 64)
    assert (nodes["gpu03"].usable, dict(nodes["gpu03"].used)) == (False, {"a100": 4})
    assert (dict(nodes["fat01"].gpus), nodes["fat01"].cpus, nodes["fat01"].memory_mb) == ({"h100": 8}, 96, 2**20)
    assert not any(node.divisible for node in cluster.nodes)


def test_queues_are_partitions_with_their_limits() -> None:
    cluster = PbsClient(SITE, Login()).cluster()
    found = {each.name: each for each in cluster.partitions}
    assert set(found) == {"gpu", "debug", "fat", "cpu"}
    assert (found["gpu"].max_s, found["gpu"].max_nodes, found["gpu"].up) == (86400.0, 2, True)
    assert (found["debug"].max_s, found["debug"].max_nodes) == (1800.0, None)
    assert not found["fat"].up
    assert {name for name, each in found.items() if each.preemptible} == {"debug"}
    assert {gap.split(":")[0] for gap in cluster.gaps} == {
        "the queue workq only passes jobs on",
        "the queue inner takes jobs from other queues alone",
    }


def test_a_queue_has_the_machines_with_all_the_tags_that_its_jobs_ask_for_and_none_with_gpus_if_it_allows_none() -> (
    None
):
    said = json.loads(QUEUES)
    said["Queue"]["gpu"]["default_chunk"] |= {"arch": "linux"}
    said["Queue"]["cpu"] |= {"hasnodes": "False"}
    login = Login()
    login.saying["look"] = done(json.dumps(said) + f"{SPLIT}\n{NODES}")
    nodes = {node.name: node.partitions for node in PbsClient(SITE, login).cluster().nodes}
    assert nodes == {"gpu01": ("gpu", "debug"), "gpu02": (), "gpu03": (), "fat01": ("fat",), "cpu01": ("cpu",)}


def test_machines_without_a_host_key_are_left_out_and_told() -> None:
    cluster = PbsClient(replace(SITE, node_host_keys={"gpu01": KEY}, queue_up_to_s=60.0), Login()).cluster()
    assert [node.name for node in cluster.nodes] == ["gpu01"]
    assert "4 machines without a key in node_host_keys are left out" in cluster.gaps
    assert any("PBS does not say when" in gap for gap in cluster.gaps)


def test_an_order_is_a_chunk_for_each_machine_and_every_value_is_one_argument() -> None:
    login = Login()
    assert PbsClient(SITE, login).submit(ORDER).endswith(".pbs01")
    (argv,) = login.asked
    pairs = list(zip(argv[1::2], argv[2::2], strict=True))
    assert ("-l", "select=2:ncpus=64:mem=512000mb:ngpus=4:gpu_model=a100") in pairs
    assert ("-l", "place=scatter:exclhost") in pairs
    assert ("-l", "walltime=01:30:00") in pairs
    assert ("-v", "ISOFLOP_LEASE=isoflop:abcd") in pairs
    assert ("-A", "lab 7") in pairs
    assert ("-r", "n") in pairs
    untyped = Login()
    PbsClient(replace(SITE, gpu_resource="gpus"), untyped).submit(ORDER._replace(gres="gpu:4"))
    assert ("-l", "select=2:ncpus=64:mem=512000mb:gpus=4") in zip(
        *(untyped.asked[0][at::2] for at in (1, 2)), strict=True
    )


def test_our_name_for_a_job_is_one_that_pbs_takes() -> None:
    # qsub(1B): up to 236 characters, a letter or a digit first, then printable ones without blanks.
    name = pilots.job_name("it's me\n", "a token; of any kind" * 20)
    assert re.fullmatch(r"[A-Za-z0-9][!-~]{0,235}", name)


def test_a_lease_is_bought_found_again_and_given_back(tmp_path: Path) -> None:
    login = Login()
    seller = provider(login, tmp_path)
    found = survey(seller)
    assert [(offer.zone, offer.gpus, offer.available) for offer in found.book] == [("debug", 4.0, 1), ("gpu", 4.0, 1)]
    assert {offer.zone: offer.billing for offer in found.book} == {"debug": Billing.SPOT, "gpu": Billing.OWNED}
    assert any("fat is not up" in gap for gap in found.gaps)
    (offer,) = [offer for offer in found.book if offer.zone == "gpu"]
    bought = seller.acquire(offer, 1, token="t", boot=Boot())
    assert seller.acquire(offer, 1, token="t", boot=Boot()).id == bought.id
    assert sum(argv[0] == "qsub" for argv in login.asked) == 1
    (lease,) = seller.leases()
    assert (lease.id, lease.token, lease.owner, lease.state) == (bought.id, "t", "it's me", LeaseState.READY)
    seller.release(lease.id)
    with pytest.raises(LeaseNotFound):
        seller.release(lease.id)


def test_machines_are_logged_in_to_through_the_login_node_each_with_its_key(tmp_path: Path) -> None:
    login = Login()
    seller = provider(login, tmp_path, node_host_keys={"*": KEY, "gpu02": "ssh-ed25519 AAAAother"})
    (offer,) = [offer for offer in seller.offers() if offer.zone == "gpu"]
    seller.acquire(offer, 1, token="t", boot=Boot())
    for job in login.queue.values():
        job["placed"] = PLACED.replace("+gpu02/0*64", "")
    (lease,) = seller.leases()
    (node,) = lease.endpoints
    assert (node.launcher, node.address, node.user, node.host_key) == ("ssh", "gpu01", "me", KEY)
    assert node.jump is not None
    assert (node.jump.address, node.jump.user, node.jump.host_key) == ("login", "me", "ssh-ed25519 AAAAlogin")
    assert node.path.endswith(f"{lease.id}/gpu01")


@pytest.mark.parametrize(
    ("comment", "kind"),
    [
        ("Not Running: Insufficient amount of resource: ngpus (R: 4 A: 0 T: 8)", CapacityError),
        ("Can Never Run: Insufficient amount of resource: ngpus", CapacityError),
        ("Not Running: User has reached queue gpu running job limit.", QuotaError),
        ("Not Running: would exceed complex's per-user limit of jobs", QuotaError),
    ],
)
def test_a_job_that_waits_is_taken_back_and_never_left_in_the_queue(
    tmp_path: Path, comment: str, kind: type[ProviderError]
) -> None:
    login = Login()
    login.waits_for = comment
    seller = provider(login, tmp_path)
    (offer,) = [offer for offer in seller.offers() if offer.zone == "gpu"]
    with pytest.raises(kind):
        seller.acquire(offer, 1, token="t", boot=Boot())
    assert not login.queue


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("qsub: cannot connect to server pbs01 (errno=111)", TransientError),
        ("Connection refused\nqsub: cannot connect to server pbs01 (errno=111)", TransientError),
        ("qsub: Request not allowed: Server shutting down", TransientError),
        ("qsub: Resource temporarily unavailable", TransientError),
        ("qsub: would exceed complex's per-user limit of jobs in 'Q' state", QuotaError),
        ("qsub: Maximum number of jobs already in queue", QuotaError),
        ("qsub: Invalid Account", QuotaError),
        ("qsub: Access to queue is denied", QuotaError),
        ("qsub: Unauthorized Request", AuthError),
        ("qsub: Bad UID for job execution", AuthError),
        ("qsub: Unknown queue", CapacityError),
        ("qsub: Job violates queue and/or server resource limits", CapacityError),
        ("qsub: Unknown resource: gpu_model", CapacityError),
    ],
)
def test_what_qsub_complains_about_is_our_error(said: str, kind: type[ProviderError]) -> None:
    login = Login()
    login.saying["qsub"] = Done(1, b"", said.encode())
    with pytest.raises(ProviderError) as refused:
        PbsClient(SITE, login).submit(ORDER)
    assert type(refused.value) is kind
    assert said.splitlines()[-1] in refused.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        Done(1, b"", b"qselect: cannot connect to server pbs01 (errno=111)\n"),
        Done(0, b"", b""),
        done(f"{LISTED}\n<html>"),
        done(f"{LISTED}\n" + '{"Jobs": ['),
        done(f"{LISTED}\n" + '{"Jobs": {"7.x": {}}}'),
        Done(153, f"{LISTED}\n".encode(), b"qstat: Unknown Job Id 7\nqstat: cannot connect to server\n"),
        Done(127, f"{LISTED}\n".encode(), b""),
    ],
)
def test_a_listing_that_cannot_be_read_is_an_error_and_never_an_empty_one(answer: Done) -> None:
    login = Login()
    login.saying["jobs"] = answer
    with pytest.raises(TransientError):
        PbsClient(SITE, login).jobs()


def test_jobs_that_end_while_they_are_listed_are_no_error() -> None:
    login = Login()
    rest = pbs_samples.jobs(pbs_samples.job("8.pbs01"))
    login.saying["jobs"] = Done(153, f"{LISTED}\n{rest}".encode(), b"qstat: Unknown Job Id 7.pbs01\n")
    assert [job.id for job in PbsClient(SITE, login).jobs()] == ["8.pbs01"]
    login.saying["jobs"] = Done(35, f"{LISTED}\n".encode(), b"qstat: 7.pbs01 Job has finished, use -x or -H\n")
    assert PbsClient(SITE, login).jobs() == []
    login.saying["jobs"] = done(f"{LISTED}\n{pbs_samples.jobs()}")
    assert PbsClient(SITE, login).jobs() == []


@pytest.mark.parametrize("output", ["", "<html>", QUEUES, f"{SPLIT}\n", QUEUES + SPLIT + '\n{"nodes":{}}'])
def test_a_cluster_of_nothing_is_an_error_and_never_an_empty_market(output: str) -> None:
    login = Login()
    login.saying["look"] = done(output)
    with pytest.raises(TransientError):
        PbsClient(SITE, login).cluster()


def test_a_job_that_has_ended_before_is_cancelled_without_a_complaint() -> None:
    login = Login()
    client = PbsClient(SITE, login)
    client.cancel("9.pbs01")
    login.saying["qdel"] = Done(1, b"", b"qdel: Unauthorized Request  9.pbs01\n")
    with pytest.raises(AuthError):
        client.cancel("9.pbs01")


@pytest.mark.parametrize(
    ("listed", "code", "asked"), [("12.srv\n13[].srv\n", 153, "-f -F json 12.srv 13[].srv"), ("", 0, ""), (None, 1, "")]
)
def test_the_question_for_our_jobs_is_asked_by_a_real_shell(
    tmp_path: Path, listed: str | None, code: int, asked: str
) -> None:
    (tmp_path / "13x.srv").touch()  # a pattern would find it
    scripts = {"qselect": "exit 2" if listed is None else f"printf '{listed}'", "qstat": 'echo "$@"; exit 153'}
    for name, body in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = LocalShell("slurm").run(("sh", "-c", JOBS), env=path, folder=str(tmp_path))
    assert told.code == code
    assert told.text == ("" if listed is None else f"{LISTED}\n" + (f"{asked}\n" if asked else ""))


def test_the_page_shows_settings_that_are_read() -> None:
    page = (Path(__file__).parents[4] / "docs" / "providers" / "pbs.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (site,) = read(SlurmSettings, tomllib.loads(block)["providers"]["slurm"], where="page").sites
    assert (site.system, site.node_host_key("gpu01")) == ("pbs", "ssh-ed25519 AAAAC3Nz...")
    assert "No PBS was run" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "lsf"},
        {"login": ""},
        {"rest": "unix:/s"},
        {"qos": "high"},
        {"gpu_kind": "a:b"},
        {"node_host_keys": ["k"]},
        {"node_host_keys": {"n": ""}},
        {"system": "slurm"},
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object]) -> None:
    table: dict[str, object] = {
        "name": "pbs",
        "system": "pbs",
        "login": "me@login",
        "host_key": "k",
        "node_host_keys": {"*": "k"},
    }
    assert read(SlurmSettings, {"sites": [table]}, where="providers.slurm").sites[0].system == "pbs"
    with pytest.raises(ConfigError):
        read(SlurmSettings, {"sites": [table | changes]}, where="providers.slurm")
