"""What is taken back and what goes wrong at AWS, through boto3 and over HTTP, at the simulated AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

from orchestrator.domain.errors import AuthError, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.aws.network import ACCOUNT
from orchestrator.simulation.clouds.aws.queue import QUEUE
from orchestrator.simulation.clouds.faults import ALWAYS, Kind
from orchestrator.simulation.clouds.machines import End
from orchestrator.testing.accounts import OWNER, release_fully, until_ready
from tests.wire.aws_cloud import SimulatedAws, offer_of, pools, usual_pools

BOOT = Boot(run_id="run-7")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[SimulatedAws]:
    with SimulatedAws(tmp_path) as cloud:
        yield cloud


# Being taken back


def test_a_spot_interruption_is_announced_two_minutes_ahead(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    lease = until_ready(
        aws, provider, provider.acquire(offer_of(provider, "p5.48xlarge", Billing.SPOT), 2, token="doomed", boot=BOOT)
    )
    aws.market.end(aws.machines()[0].serial, End.PREEMPTED, notice_s=120.0)
    (notice,) = provider.reclaims()
    assert notice.lease_id == lease.id
    assert (notice.at - aws.clock.now()).total_seconds() == pytest.approx(120.0, abs=1.0)
    aws.wait(300)
    (left,) = provider.leases()
    assert (left.state, len(left.endpoints), left.nodes) == (LeaseState.RECLAIMING, 1, 2)
    assert [each.lease_id for each in provider.reclaims()] == [lease.id]
    release_fully(aws, provider, lease.id)
    assert not aws.machines()


def test_a_retirement_of_a_machine_on_demand_is_announced(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    until_ready(aws, provider, provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="old", boot=BOOT))
    aws.market.end(aws.machines()[0].serial, End.PREEMPTED, notice_s=1200.0)
    (notice,) = provider.reclaims()
    assert (notice.at - aws.clock.now()).total_seconds() == pytest.approx(1200.0, abs=1.0)


def test_warnings_in_a_queue_are_heard_by_every_process_and_others_messages_stay(aws: SimulatedAws) -> None:
    url = f"{aws.server.url}/{ACCOUNT}/{QUEUE}"
    provider = aws.made(OWNER, reclaim_queue_url=url, heed_rebalance=True)
    lease = until_ready(aws, provider, provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="q", boot=BOOT))
    now = aws.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    (instance,) = _instance_ids(aws)
    for number, (kind, about) in enumerate(
        (
            ("EC2 Instance Rebalance Recommendation", instance),
            ("EC2 Spot Instance Interruption Warning", "i-somebodyelses"),
        )
    ):
        detail = {"instance-id": about}
        aws.aws.queue.post({"id": f"own-{number}", "detail-type": kind, "time": now, "detail": detail})
    assert [notice.lease_id for notice in provider.reclaims()] == [lease.id]
    assert [notice.lease_id for notice in aws.made(OWNER).reclaims()] == [lease.id]
    assert [held.state for held in aws.made(OWNER).leases()] == [LeaseState.RECLAIMING]
    assert aws.wire.counts()["DeleteMessage"] == 1


def test_a_rebalance_recommendation_is_a_hint_alone_unless_it_is_heeded(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER, reclaim_queue_url=f"{aws.server.url}/{ACCOUNT}/{QUEUE}")
    until_ready(aws, provider, provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="q", boot=BOOT))
    (instance,) = _instance_ids(aws)
    event = {"id": "hint", "detail-type": "EC2 Instance Rebalance Recommendation", "time": "2026-11-20T12:00:00Z"}
    aws.aws.queue.post({**event, "detail": {"instance-id": instance}})
    assert not provider.reclaims()


def _instance_ids(aws: SimulatedAws) -> list[str]:
    from orchestrator.simulation.clouds.aws.states import id_of

    return [id_of(machine) for machine in aws.machines()]


# What goes wrong


def test_one_region_that_does_not_answer_hides_no_lease(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="held", boot=BOOT)
    aws.script(Kind.ERROR, "DescribeInstances", where="eu-west-1")
    with pytest.raises(TransientError, match="eu-west-1"):
        provider.leases()


def test_a_region_taken_out_of_the_settings_hides_no_lease(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    lease = provider.acquire(offer_of(provider, "p4d.24xlarge"), 1, token="left-behind", boot=BOOT)
    narrowed = aws.made(OWNER, regions=["us-east-1"])
    assert [held.id for held in narrowed.leases()] == [lease.id]
    assert set(narrowed.offers().region.vocab) == {"us-east-1"}
    release_fully(aws, narrowed, lease.id)
    assert not aws.machines()


def test_a_read_waits_as_long_as_it_is_asked_to(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    provider.leases()
    aws.script(Kind.THROTTLE, "DescribeInstances", times=1, seconds=17.0)
    before = aws.clock.now()
    provider.leases()
    assert (aws.clock.now() - before).total_seconds() >= 17.0


def test_a_wrong_secret_is_refused_by_its_signature(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.wire import aws_cloud

    monkeypatch.setitem(aws_cloud.SECRETS, "env:SECRET", "canary-of-a-wrong-secret")
    with pytest.raises(AuthError, match="AuthFailure") as refused:
        aws.made(OWNER).offers()
    assert "canary" not in str(refused.value)


def test_a_connection_that_cannot_be_trusted_is_named(tmp_path: Path, aws: SimulatedAws) -> None:
    from orchestrator.simulation.clouds.serving import Server, make_tls

    with Server(aws.wire, tls=make_tls(tmp_path / "tls")) as secured:
        with pytest.raises(TransientError, match="TLS"):
            aws.made(OWNER, endpoint_url=secured.url).offers()
        trusting = aws.made(OWNER, endpoint_url=secured.url, ca_file=str(tmp_path / "tls" / "authority.pem"))
        assert len(trusting.offers()) == len(usual_pools())


def test_an_address_where_nobody_is_fails_at_once(aws: SimulatedAws) -> None:
    with pytest.raises(TransientError, match=r"EndpointConnectionError|ConnectTimeout"):
        aws.made(OWNER, endpoint_url="http://127.0.0.1:9").leases()


def test_a_release_right_after_a_purchase_that_hides_is_not_taken_for_done(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    aws.hide_next(45.0)
    lease = provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="shy", boot=BOOT)
    with pytest.raises(TransientError, match="too young"):
        provider.release(lease.id)
    aws.wait(46)
    release_fully(aws, provider, lease.id)
    assert not aws.machines()


def test_pages_that_go_round_are_no_list(aws: SimulatedAws) -> None:
    aws.script(Kind.ENDLESS, "DescribeInstances", times=ALWAYS)
    with pytest.raises(TransientError, match="circle"):
        aws.made(OWNER).leases()


# Credentials


@pytest.fixture
def no_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The SDK's own chain finds nothing, whatever the machine has."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return monkeypatch


AMBIENT = {"access_key_id": "ambient", "secret_access_key": "ambient"}


def test_without_any_credentials_the_provider_is_off_and_says_so(
    aws: SimulatedAws, no_chain: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AuthError, match="no credentials"):
        aws.made(OWNER, **AMBIENT).offers()


def test_the_sdks_own_chain_is_used_where_it_is_left_to_it(aws: SimulatedAws, no_chain: pytest.MonkeyPatch) -> None:
    from orchestrator.simulation.clouds.aws.app import ACCESS_KEY_ID, SECRET_ACCESS_KEY

    no_chain.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    no_chain.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    assert len(aws.made(OWNER, **AMBIENT).offers()) == len(usual_pools())


def test_temporary_credentials_sign_with_their_token(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.wire import aws_cloud

    monkeypatch.setitem(aws_cloud.SECRETS, "env:TOKEN", "a-token")
    provider = aws.made(OWNER, session_token="env:TOKEN")
    assert len(provider.offers()) == len(usual_pools())
    aws.script(Kind.EXPIRED)
    with pytest.raises(AuthError, match="run out"):
        provider.leases()


def test_a_fault_of_the_sdk_with_a_value_does_not_repeat_the_value(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    with pytest.raises(TransientError, match="ImageId") as refused:
        provider._client.once("ec2", "us-east-1", "RunInstances", MinCount=1, MaxCount=1, ImageId=["canary-of-a-value"])
    assert "canary" not in repr(refused.value)
    assert refused.value.__cause__ is None


# As it is served


def test_the_settings_that_a_served_cloud_prints_are_all_that_an_adapter_needs(tmp_path: Path) -> None:
    from orchestrator.credentials import resolve
    from orchestrator.domain.contracts import ProviderContext
    from orchestrator.simulation.clouds.clock import MarketClock
    from orchestrator.simulation.clouds.market import Market
    from orchestrator.simulation.clouds.serve import Clouds
    from providers.aws.provider import create
    from tests.wire.aws_cloud import START

    market = Market(usual_pools(), seed=1, clock=MarketClock(START))
    with Clouds(market, tmp_path / "clouds", names=["aws"]) as clouds:
        context = ProviderContext(
            owner=OWNER,
            settings=clouds.served().tables["aws"],
            secret=resolve,
            clock=market.clock,
            state_dir=tmp_path,
        )
        assert len(create(context).offers()) == len(usual_pools())


def test_an_interface_for_efa_goes_to_types_that_have_one(tmp_path: Path) -> None:
    stock = [
        *pools("us-east-1/us-east-1a", "p5.48xlarge", "H100-SXM", 8, (55.04, None)),
        *pools("us-east-1/us-east-1a", "trn1.2xlarge", "Trainium", 1, (1.34, None)),
    ]
    with SimulatedAws(tmp_path, stock) as aws:
        provider = aws.made(OWNER)
        fabrics = {offer.instance_type: offer.fabric for offer in provider.offers()}
        assert fabrics == {"p5.48xlarge": "efa", "trn1.2xlarge": "ethernet"}
        for name in fabrics:
            provider.acquire(offer_of(provider, name), 2, token=f"pair-{name}", boot=BOOT)
        assert [machine.extra["interfaces"] for machine in aws.machines()] == [1] * 4
        private = aws.made(OWNER, public_addresses=False)
        lease = private.acquire(offer_of(private, "p5.48xlarge"), 2, token="cards", boot=BOOT)
        assert [machine.extra["interfaces"] for machine in aws.machines()[4:]] == [32] * 2
        assert len({point.address for point in until_ready(aws, private, lease).endpoints}) == 2
