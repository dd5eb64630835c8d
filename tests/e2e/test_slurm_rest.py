"""A real slurmrestd: reached through a login node, by port and by socket; what it says is what the commands say."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider, ProviderContext, survey
from orchestrator.domain.errors import AuthError, CapacityError, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.secret import Secret
from orchestrator.kit.shell.local import LocalShell
from orchestrator.runtime.clock import SystemClock
from providers.slurm.batch import Order
from providers.slurm.client import Client
from providers.slurm.provider import create
from providers.slurm.restd import RestClient
from providers.slurm.settings import NAME, Rate, SiteSettings
from providers.slurm.tokens import MadeToken
from tests.e2e import slurm, sshd
from tests.e2e.machines import Machines

RATES = [{"gres": "a100", "accelerator": "A100-80GB", "usd_per_gpu_hour": 1.0}, {"gres": "l4", "usd_per_gpu_hour": 0.3}]
# httpcore 1.0 does not close a Unix socket that could not be connected: it says so whenever it is collected.
LEFT = "ignore:Exception ignored in. <socket.socket fd=.*family=1,:pytest.PytestUnraisableExceptionWarning"
pytestmark = pytest.mark.filterwarnings(LEFT)
PILOT = Order("isoflop-x-y", "isoflop:x", "batch", 2, "gpu:a100:2", 4, 1000, 30)


@pytest.fixture(scope="module")
def running() -> Iterator[slurm.Cluster]:
    slurm.needed(*slurm.REST_PROGRAMS)
    with slurm.Cluster(rest=True) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: slurm.Cluster) -> Iterator[slurm.Cluster]:
    yield running
    running.clear()
    gc.collect()  # what was left is found here, and not in a test of somebody else


def no_secret(reference: str) -> Secret:
    raise AssertionError(f"{reference} is asked for")


def seller(
    cluster: slurm.Cluster, folder: Path, secret: Callable[[str], Secret] = no_secret, **changes: object
) -> Provider:
    settings: Mapping[str, object] = {
        "name": "here",
        "slurm_conf": str(cluster.conf),
        "rest": cluster.rest_url,
        "rates": RATES,
        **changes,
    }
    context = ProviderContext(
        owner="test", settings={"sites": [settings]}, secret=secret, clock=SystemClock(), state_dir=folder / "state"
    )
    return create(context)


def clients(cluster: slurm.Cluster, by: str = "port") -> tuple[RestClient, Client]:
    rest = cluster.rest_url if by == "port" else f"unix:{cluster.rest_socket}"
    site = SiteSettings(name="here", rest=rest, slurm_conf=str(cluster.conf), rates=(Rate("x", "", 1.0),))
    commands = Client(site, LocalShell(NAME))
    clock = SystemClock()
    return RestClient(site, MadeToken(commands.token, "", clock), clock=clock), commands


@pytest.mark.parametrize("by", ["port", "socket"])
def test_slurmrestd_and_the_commands_say_the_same_of_nodes_partitions_and_jobs(cluster: slurm.Cluster, by: str) -> None:
    rest, commands = clients(cluster, by)
    held = rest.submit(PILOT)
    commands.submit(PILOT._replace(name="isoflop-z-z", nodes=1, gres="gpu:l4:1", partition="small"))
    waiting = rest.submit(PILOT._replace(nodes=2, gres="gpu:a100:4"))
    slurm.until(lambda: {job.id: job.state for job in commands.jobs()}.get(held) == "RUNNING")
    slurm.until(lambda: {job.id: job.reason for job in commands.jobs()}.get(waiting) in {"Resources", "Priority"})
    by_id = {job.id: job for job in rest.jobs()}
    assert by_id == {job.id: job for job in commands.jobs()}
    assert len(by_id[held].nodes) == 2
    assert by_id[held].comment == "isoflop:x"
    one, other = rest.cluster(), commands.cluster()
    assert list(one.nodes) == list(other.nodes)
    assert {each.name: each for each in one.partitions} == {each.name: each for each in other.partitions}
    assert sum(node.used.get("a100", 0) for node in one.nodes) == 4
    rest.cancel(held)
    rest.cancel(waiting)
    slurm.until(lambda: held not in {job.id for job in rest.jobs()})
    rest.cancel(held)  # it has ended before
    rest.cancel("999999")


@pytest.mark.parametrize("by", ["port", "socket"])
def test_a_site_behind_a_login_node_is_reached_over_its_connection(
    cluster: slurm.Cluster, tmp_path: Path, by: str
) -> None:
    sshd.needed()
    rest = cluster.rest_url if by == "port" else f"unix:{cluster.rest_socket}"
    with Machines(tmp_path) as machines:
        login = machines.lease(1).endpoints[0]
        provider = seller(
            cluster,
            tmp_path,
            rest=rest,
            login=f"{login.user}@{login.address}:{login.port}",
            identity=login.identity,
            host_key=login.host_key,
            queue_up_to_s=3600.0,
        )
        bought = provider.acquire(slurm.offer(provider, "batch", 4), 2, token="far", boot=Boot(lifetime_s=1800.0))
        (lease,) = provider.leases()
        assert (lease.id, lease.token, lease.state) == (bought.id, "far", LeaseState.READY)
        assert sorted(node.address for node in lease.endpoints) == ["a100-0", "a100-1"]
        waits = slurm.offer(provider, "batch", 4)  # by the login node's command: slurmrestd has none for it
        assert (waits.available, waits.boot_s > 0) == (None, True)
        machines.kill(0)
        with pytest.raises(TransientError):
            provider.leases()
        machines.revive(0)
        slurm.until(lambda: _answers(provider))
        assert [held.id for held in provider.leases()] == [lease.id]
        provider.release(lease.id)
        slurm.until(lambda: not provider.leases())


def _answers(provider: Provider) -> bool:
    try:
        provider.leases()
    except TransientError:
        return False
    return True


def test_a_slurmrestd_that_is_down_is_transient_and_a_slurmctld_that_is_down_is_named(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    provider = seller(cluster, tmp_path)
    lease = provider.acquire(slurm.offer(provider, "small", 2), 1, token="kept", boot=Boot())
    cluster.stop("slurmrestd")
    for call in (provider.offers, provider.leases, lambda: provider.release(lease.id)):
        with pytest.raises(TransientError, match="here: slurmrestd"):
            call()
    cluster.start_rest()
    assert [held.id for held in provider.leases()] == [lease.id]
    cluster.stop("slurmctld")
    with pytest.raises(TransientError, match="Unable to contact slurm controller"):
        provider.leases()
    cluster.start_controller()
    slurm.until(lambda: _answers(provider))
    assert provider.acquire(lease.offer, 1, token="kept", boot=Boot()).id == lease.id


def test_a_token_that_slurm_does_not_take_is_made_anew_once(cluster: slurm.Cluster) -> None:
    _, commands = clients(cluster)
    site = SiteSettings(name="here", rest=cluster.rest_url, rates=(Rate("x", "", 1.0),))
    made: list[int] = []

    def make(lifespan_s: int) -> str:
        made.append(lifespan_s)
        said = commands.token(lifespan_s)
        return said.replace("SLURM_JWT=", "SLURM_JWT=e") if len(made) == 1 else said

    rest = RestClient(site, MadeToken(make, "root", SystemClock()), clock=SystemClock())
    assert rest.jobs() == []
    assert len(made) == 2
    job = rest.submit(PILOT)
    assert [each.id for each in rest.jobs()] == [job]
    assert len(made) == 2


def test_a_token_behind_a_reference_that_expires_is_an_error_of_authentication_and_is_not_shown(
    cluster: slurm.Cluster, tmp_path: Path
) -> None:
    token = ""

    def resolve(reference: str) -> Secret:
        assert reference == "env:TOKEN"
        return Secret(token)

    def fresh(seconds: int) -> str:
        return cluster.run("scontrol", "token", f"lifespan={seconds}").strip().removeprefix("SLURM_JWT=")

    provider = seller(cluster, tmp_path, resolve, rest_token="env:TOKEN", queue_up_to_s=60.0)
    token = fresh(1)
    time.sleep(1.1)
    with pytest.raises(AuthError, match="expired") as refused:
        provider.leases()
    assert token not in f"{refused.value!r}{refused.value.__cause__!r}"
    token = fresh(600)
    assert provider.leases() == []
    assert any("does not say when a job would start" in gap for gap in survey(provider).gaps)
    with pytest.raises(CapacityError):
        provider.acquire(slurm.offer(provider, "batch", 4), 3, token="too-many", boot=Boot())
