from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from orchestrator.domain.errors import AuthError, CapacityError, ProviderError, QuotaError, TransientError
from orchestrator.kit.shell.command import Done
from providers.slurm.batch import Order
from providers.slurm.client import Client
from providers.slurm.settings import Rate, SiteSettings

SITE = SiteSettings(
    name="lab", account="a b", qos="$(reboot)", slurm_conf="/etc/slurm one.conf", rates=(Rate("x", "", 1.0),)
)
ORDER = Order("isoflop-a-b", "isoflop:abc", "batch; rm -rf /", 2, "gpu:x:1", 4, 1000, 60)


class Said:
    """A login node that says the same to everything."""

    name = "login"

    def __init__(self, done: Done) -> None:
        self._done = done
        self.asked: list[tuple[Sequence[str], Mapping[str, str], bytes]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        self.asked.append((argv, env or {}, stdin))
        return self._done


@pytest.mark.parametrize(
    "output",
    [
        b"4711\n",
        b"4711;cluster\n",
        b"Welcome to LAB!\nYour budget: 1200 core-hours\n4711\n",
        b"sbatch: 17 jobs of yours wait\n\n4711\n",
    ],
)
def test_the_id_is_found_behind_whatever_a_site_prints_before_it(output: bytes) -> None:
    assert Client(SITE, Said(Done(0, output, b"sbatch: warning: be nice\n"))).submit(ORDER) == "4711"


def test_a_submission_that_tells_no_id_is_in_doubt() -> None:
    with pytest.raises(TransientError, match="no job's id"):
        Client(SITE, Said(Done(0, b"Submitted, thank you\n", b""))).submit(ORDER)


def test_every_value_is_one_argument_and_the_script_comes_by_the_input() -> None:
    shell = Said(Done(0, b"1\n", b""))
    Client(SITE, shell).submit(ORDER)
    argv, env, stdin = shell.asked[0]
    assert argv[:2] == ("sbatch", "--parsable")
    assert {"--partition=batch; rm -rf /", "--account=a b", "--qos=$(reboot)", "--no-requeue"} <= set(argv)
    assert env["SLURM_CONF"] == "/etc/slurm one.conf"
    assert env["TZ"] == "UTC"
    assert stdin.startswith(b"#!/bin/sh\n")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Unable to contact slurm controller (connect failure)", TransientError),
        ("Batch job submission failed: Socket timed out on send/recv operation", TransientError),
        ("Slurm temporarily unable to accept job, sleeping and retrying", TransientError),
        ("Batch job submission failed: Invalid account or account/partition combination specified", QuotaError),
        ("Batch job submission failed: Invalid qos specification", QuotaError),
        ("Batch job submission failed: Job violates accounting/QOS policy (job submit limit)", QuotaError),
        ("AssocMaxSubmitJobLimit", QuotaError),
        ("Batch job submission failed: Access/permission denied", AuthError),
        ("If munged is up, restart with --num-threads=10: Munge encode failed", AuthError),
        ("Batch job submission failed: Invalid partition name specified", CapacityError),
        ("Batch job submission failed: Requested node configuration is not available", CapacityError),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", QuotaError),
        ("Batch job submission failed: Requested partition configuration not available now", CapacityError),
    ],
)
def test_what_sbatch_complains_about_is_our_error(said: str, kind: type[ProviderError]) -> None:
    client = Client(SITE, Said(Done(1, b"", f"sbatch: error: {said}\n".encode())))
    with pytest.raises(ProviderError) as refused:
        client.submit(ORDER)
    assert type(refused.value) is kind
    assert said in refused.value.detail


def test_a_login_node_without_slurm_is_named() -> None:
    with pytest.raises(TransientError, match="not on the PATH of login"):
        Client(SITE, Said(Done(127, b"", b"squeue: not found"))).jobs()


@pytest.mark.parametrize("output", [b"", b"<html>", b"PartitionName=x State=UP\n", b"@isoflop-nodes@\n"])
def test_a_cluster_of_nothing_is_an_error_and_never_an_empty_market(output: bytes) -> None:
    with pytest.raises(TransientError):
        Client(SITE, Said(Done(0, output, b""))).cluster()


def test_a_job_that_has_ended_before_is_cancelled_without_a_complaint() -> None:
    said = b"scancel: error: Kill job error on job id 9: "
    Client(SITE, Said(Done(1, b"", said + b"Invalid job id specified\n"))).cancel("9")
    with pytest.raises(AuthError):
        Client(SITE, Said(Done(1, b"", said + b"Access/permission denied\n"))).cancel("9")


def test_the_expected_start_is_read_and_may_be_missing() -> None:
    told = b"sbatch: Job 8 to start at 2026-11-22T12:41:26 using 2 processors on nodes a100-[0-1] in partition batch\n"
    at = Client(SITE, Said(Done(0, b"", told))).expected(ORDER)
    assert at is not None
    assert at.isoformat() == "2026-11-22T12:41:26+00:00"
    assert Client(SITE, Said(Done(0, b"", b"allocation success\n"))).expected(ORDER) is None
