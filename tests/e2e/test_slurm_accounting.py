"""A real Slurm that keeps accounts: what it does not allow is our quota, by its commands and by slurmrestd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider, ProviderContext
from orchestrator.domain.errors import QuotaError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.secret import Secret
from orchestrator.runtime.clock import SystemClock
from providers.slurm.provider import create
from tests.e2e import slurm

RATES = [{"gres": "a100", "accelerator": "A100-80GB", "usd_per_gpu_hour": 1.0}, {"gres": "l4", "usd_per_gpu_hour": 0.3}]


@pytest.fixture(scope="module")
def running() -> Iterator[slurm.Cluster]:
    slurm.needed(*slurm.REST_PROGRAMS, *slurm.ACCOUNTING_PROGRAMS, packages=slurm.ACCOUNTING_PACKAGES)
    with slurm.Cluster(rest=True, accounting=True) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: slurm.Cluster) -> Iterator[slurm.Cluster]:
    yield running
    limits(running, "MaxJobs=-1", "MaxSubmitJobs=-1", "GrpTRES=gres/gpu=-1")
    running.clear()


@pytest.fixture(params=["commands", "slurmrestd"])
def sell(request: pytest.FixtureRequest, cluster: slurm.Cluster, tmp_path: Path) -> Callable[..., Provider]:
    def provider(**changes: object) -> Provider:
        rest = cluster.rest_url if request.param == "slurmrestd" else ""
        settings = {"name": "here", "slurm_conf": str(cluster.conf), "rest": rest, "account": "lab", "rates": RATES}
        context = ProviderContext(
            owner="test",
            settings={"sites": [settings | changes]},
            secret=no_secret,
            clock=SystemClock(),
            state_dir=tmp_path,
        )
        return create(context)

    return provider


def no_secret(reference: str) -> Secret:
    raise AssertionError(f"{reference} is asked for")


def limits(cluster: slurm.Cluster, *values: str) -> None:
    cluster.run("sacctmgr", "-i", "modify", "user", "root", "where", "account=lab", "set", *values)


def told(cluster: slurm.Cluster, limit: str) -> None:
    """The controller hears of limits from the daemon of accounts a moment later."""
    command = ("scontrol", "show", "assoc_mgr", "flags=assoc", "accounts=lab", "users=root")
    slurm.until(lambda: limit in cluster.run(*command))


def buy(provider: Provider, token: str, gpus: int = 1) -> str:
    return provider.acquire(slurm.offer(provider, "batch", gpus), 1, token=token, boot=Boot()).id


def test_a_lease_is_bought_and_given_back_on_an_account(sell: Callable[..., Provider], cluster: slurm.Cluster) -> None:
    provider = sell()
    held = buy(provider, "one")
    assert [(lease.id, lease.state) for lease in provider.leases()] == [(held, LeaseState.READY)]
    assert cluster.run("squeue", "-h", "-o", "%a").split() == ["lab"]
    provider.release(held)
    slurm.until(lambda: not provider.leases())


@pytest.mark.parametrize("wrong", [{"account": "nobodys"}, {"qos": "golden"}])
def test_an_account_or_a_qos_that_is_not_ours_is_our_quota(
    sell: Callable[..., Provider], cluster: slurm.Cluster, wrong: dict[str, str]
) -> None:
    with pytest.raises(QuotaError):
        buy(sell(**wrong), "none")
    assert not cluster.run("squeue", "-h")


@pytest.mark.parametrize(
    ("limit", "shown"), [("MaxSubmitJobs=1", "MaxSubmitJobs=1("), ("MaxJobs=1", "MaxJobs=1(")], ids=["submit", "run"]
)
def test_one_lease_more_than_the_account_may_hold_is_our_quota_and_is_not_left_waiting(
    sell: Callable[..., Provider], cluster: slurm.Cluster, limit: str, shown: str
) -> None:
    limits(cluster, limit)
    told(cluster, shown)
    provider = sell()
    held = buy(provider, "first")
    with pytest.raises(QuotaError):
        buy(provider, "second")
    slurm.until(lambda: [lease.id for lease in provider.leases()] == [held])


def test_more_gpus_than_the_account_may_use_are_our_quota_even_where_the_site_may_queue(
    sell: Callable[..., Provider], cluster: slurm.Cluster
) -> None:
    limits(cluster, "GrpTRES=gres/gpu=2")
    told(cluster, "gres/gpu=2(")
    for provider in (sell(), sell(queue_up_to_s=3600.0)):
        with pytest.raises(QuotaError):
            buy(provider, "many", gpus=4)
    assert buy(sell(), "few", gpus=2)
