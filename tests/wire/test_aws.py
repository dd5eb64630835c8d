"""The AWS adapter and the simulated AWS against each other, over HTTP and through boto3."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

from orchestrator.domain.errors import AuthError, CapacityError, LeaseNotFound, QuotaError, Scope, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.simulation.clouds.aws.network import ACCOUNT
from orchestrator.simulation.clouds.aws.queue import QUEUE
from orchestrator.simulation.clouds.bootup import logins, own_end_s
from orchestrator.simulation.clouds.faults import ALWAYS, Kind
from orchestrator.simulation.clouds.machines import End
from orchestrator.testing.accounts import OWNER, release_fully, until_ready
from providers.aws.provider import AwsProvider
from tests.wire.aws_cloud import SimulatedAws, pools, usual_pools

BOOT = Boot(run_id="run-7")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[SimulatedAws]:
    with SimulatedAws(tmp_path) as cloud:
        yield cloud


def offer_of(provider: AwsProvider, instance_type: str, billing: Billing = Billing.ON_DEMAND, zone: str = "") -> Offer:
    found = [
        offer
        for offer in provider.offers()
        if (offer.instance_type, offer.billing) == (instance_type, billing) and zone in {"", offer.zone}
    ]
    return found[0]


# What is on sale


def test_every_device_is_named_exactly_and_fractions_are_fractions(aws: SimulatedAws) -> None:
    book = aws.made(OWNER).offers()
    devices = {offer.instance_type: (offer.accelerator, offer.gpus) for offer in book}
    assert devices == {
        "g4dn.metal": ("T4", 8.0),
        "g5g.xlarge": ("T4g", 1.0),
        "g6.xlarge": ("L4", 1.0),
        "g6f.xlarge": ("L4", 0.125),
        "p4d.24xlarge": ("A100-40GB", 8.0),
        "p4de.24xlarge": ("A100-80GB", 8.0),
        "p5.48xlarge": ("H100-SXM", 8.0),
        "trn2.48xlarge": ("Trainium2", 16.0),
    }


def test_prices_are_those_of_the_market_to_the_last_digit(aws: SimulatedAws) -> None:
    found = {
        (offer.region, offer.zone, offer.instance_type, offer.billing): offer.usd_per_hour
        for offer in aws.made(OWNER).offers()
    }
    wanted = {
        (key.region, key.zone or f"{key.region}a", key.instance_type, key.billing): aws.market.price(key)
        for key in aws.market.pools
    }
    assert found == wanted


def test_an_offer_tells_its_zones_identity_and_where_its_price_is_from(aws: SimulatedAws) -> None:
    for offer in aws.made(OWNER).offers():
        assert f"{offer.zone} is " in offer.source
        assert "-az" in offer.source
        assert ("Price List" in offer.source) is (offer.billing is Billing.ON_DEMAND)


def test_a_refresh_asks_few_questions_and_none_per_instance_type(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    provider.offers()
    first = aws.wire.counts()
    aws.wire.forget()
    provider.offers()
    again = aws.wire.counts()
    regions = 2
    for operation in ("DescribeAvailabilityZones", "DescribeInstanceTypeOfferings", "ListServiceQuotas"):
        assert again[operation] == regions
    assert again["GetProducts"] == regions + 1  # bare metal in one of them
    assert again["DescribeSpotPriceHistory"] <= 2 * regions  # a page may be empty
    assert again["DescribeInstances"] == regions
    assert "DescribeInstanceTypes" not in again  # remembered for a day, as are placement scores for hours
    assert "GetSpotPlacementScores" not in again
    assert first["DescribeInstanceTypes"] == regions


def test_a_book_of_many_regions_and_types_pages_fully(tmp_path: Path) -> None:
    types = [name for name in _recorded_gpu_types() if not name.endswith(".metal")]
    stock = [
        pool
        for region in ("us-east-1", "us-west-2", "eu-west-1")
        for zone in "abcd"
        for name in types
        for pool in pools(f"{region}/{region}{zone}", name, "T4", 1, (3.0, 1.0))
    ]
    with SimulatedAws(tmp_path, stock) as aws:
        survey = aws.made(OWNER).survey()
        assert len(survey.book) == len(stock)
        assert not survey.gaps


def _recorded_gpu_types() -> list[str]:
    from orchestrator.simulation.clouds.aws.catalogue import recorded

    return sorted(name for name, row in recorded().items() if "GpuInfo" in row)


def test_a_region_that_does_not_answer_is_a_gap_and_the_others_are_offers(aws: SimulatedAws) -> None:
    aws.script(Kind.ERROR, "DescribeInstanceTypeOfferings", where="eu-west-1")
    survey = aws.made(OWNER).survey()
    assert set(survey.book.region.vocab) == {"us-east-1"}
    assert [gap for gap in survey.gaps if gap.startswith("eu-west-1:") and "DescribeInstanceTypeOfferings" in gap]


def test_where_no_region_answers_there_is_an_error_and_no_empty_book(aws: SimulatedAws) -> None:
    aws.script(Kind.ERROR, "DescribeInstanceTypeOfferings")
    with pytest.raises(TransientError):
        aws.made(OWNER).offers()


def test_a_region_that_the_account_does_not_have_is_a_gap(aws: SimulatedAws) -> None:
    survey = aws.made(OWNER, regions=["eu-west-1", "mars-north-1"], home_region="us-east-1").survey()
    assert set(survey.book.region.vocab) == {"eu-west-1"}
    assert "mars-north-1: the account has no such region" in survey.gaps


def test_a_price_of_zero_is_left_out_and_told(aws: SimulatedAws) -> None:
    aws.market.move_prices(0.0, lambda key: key.instance_type == "p4d.24xlarge")
    survey = aws.made(OWNER).survey()
    assert "p4d.24xlarge" not in survey.book.instance_type.vocab
    told = [gap for gap in survey.gaps if "p4d.24xlarge" in gap]
    assert any("on-demand" in gap and "price of 0" in gap for gap in told)
    assert any("spot" in gap for gap in told)


def test_a_device_that_nobody_knows_keeps_the_vendors_word_and_is_told(tmp_path: Path) -> None:
    stock = pools("us-east-1/us-east-1a", "g4ad.xlarge", "Quark-9000", 1, (1.0, None))
    with SimulatedAws(tmp_path, stock) as aws:
        survey = aws.made(OWNER).survey()
    assert [offer.accelerator for offer in survey.book] == ["NVIDIA Quark-9000"]
    assert [gap for gap in survey.gaps if "no facts" in gap and "Quark-9000" in gap]


@pytest.mark.parametrize("operation", ["ListServiceQuotas", "GetSpotPlacementScores"])
def test_what_offers_do_without_is_a_gap_where_the_account_may_not_ask(aws: SimulatedAws, operation: str) -> None:
    aws.script(Kind.UNAUTHORISED, operation)
    survey = aws.made(OWNER).survey()
    assert len(survey.book) == len(aws.market.pools)
    assert survey.gaps


def test_quotas_are_in_vcpus_and_count_what_anybody_runs(aws: SimulatedAws) -> None:
    aws.market.set_quota("aws", "L-DB2E81BA", 18.0, "us-east-1")  # on demand, G and VT; a g6.xlarge has 4 vCPUs
    provider = aws.made(OWNER)
    assert offer_of(provider, "g6.xlarge").quota_nodes == 4
    provider.acquire(offer_of(provider, "g6.xlarge"), 2, token="two", boot=BOOT)
    assert offer_of(aws.made("isoflop-neighbour"), "g6.xlarge").quota_nodes == 2
    assert offer_of(provider, "g6.xlarge", Billing.SPOT).quota_nodes > 2


def test_the_quota_refuses_for_the_region_and_the_type(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "g6.xlarge")
    aws.use_quota_up(offer)
    with pytest.raises(QuotaError, match="VcpuLimitExceeded") as refused:
        provider.acquire(offer, 1, token="over", boot=BOOT)
    assert refused.value.scope is Scope.REGION


def test_placement_scores_are_chances_asked_for_once_in_hours(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).obtainability == 1.0
    aws.market.set_capacity(next(k for k in aws.market.pools if k[3:] == ("p5.48xlarge", Billing.SPOT)), 0)
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).obtainability == 1.0
    aws.wait(7 * 3600)
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).obtainability == 0.1
    assert offer_of(provider, "g6.xlarge", Billing.SPOT).obtainability is None


def test_capacity_blocks_are_listed_by_the_hour_and_not_bought(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER, capacity_blocks=["p5.48xlarge"], capacity_block_hours=48)
    block = offer_of(provider, "p5.48xlarge", Billing.RESERVED)
    assert block.usd_per_hour == pytest.approx(0.75 * 55.04, abs=1e-3)
    assert block.min_billing_s == 48 * 3600
    assert block.boot_s > 3600  # it begins tomorrow
    with pytest.raises(CapacityError, match="not bought"):
        provider.acquire(block, 1, token="block", boot=BOOT)
    assert not aws.machines()


def test_how_often_spot_is_taken_back_is_read_from_aws_s_feed(aws: SimulatedAws, tmp_path: Path) -> None:
    feed = tmp_path / "advisor.json"
    feed.write_text('{"spot_advisor": {"us-east-1": {"Linux": {"p5.48xlarge": {"s": 60, "r": 4}}}}}')
    provider = aws.made(OWNER, spot_advisor_file=str(feed))
    assert offer_of(provider, "p5.48xlarge", Billing.SPOT).interruption_rate == pytest.approx(0.000394, rel=0.01)
    assert offer_of(provider, "g6.xlarge", Billing.SPOT).interruption_rate is None


# Buying


def test_a_gang_is_one_lease_with_an_endpoint_for_every_node(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    lease = provider.acquire(offer_of(provider, "p5.48xlarge"), 3, token="gang", boot=BOOT)
    ready = until_ready(aws, provider, lease)
    assert len({point.address for point in ready.endpoints}) == ready.nodes == 3
    assert ready.usd_per_hour == pytest.approx(3 * 55.04)
    assert {point.user for point in ready.endpoints} == {"isoflop"}
    assert all(Path(point.identity).stat().st_mode & 0o077 == 0 for point in ready.endpoints)
    assert all(point.host_key.startswith("ssh-ed25519 ") for point in ready.endpoints)


def test_what_was_bought_is_told_by_the_machines_alone(aws: SimulatedAws, tmp_path: Path) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "p4d.24xlarge", Billing.SPOT)
    provider.acquire(offer, 1, token="told", boot=BOOT)
    (seen,) = aws.made(OWNER, folder=tmp_path / "elsewhere").leases()
    assert replace(seen.offer, source="", quota_nodes=None, obtainability=None) == replace(
        offer, source="", quota_nodes=None, obtainability=None
    )
    assert seen.token == "told"


def test_a_stock_out_is_asked_for_once(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "p5.48xlarge")
    aws.sell_out(offer)
    with pytest.raises(CapacityError, match="InsufficientInstanceCapacity") as refused:
        provider.acquire(offer, 1, token="out", boot=BOOT)
    assert refused.value.scope is Scope.ZONE
    assert aws.wire.counts()["RunInstances"] == 1


def test_a_gang_beyond_the_stock_is_refused_whole(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    with pytest.raises(CapacityError):
        provider.acquire(offer_of(provider, "p5.48xlarge"), 4, token="four-of-three", boot=BOOT)
    assert not aws.machines()


def test_a_type_that_the_zone_does_not_have_is_refused_there(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = replace(offer_of(provider, "p5.48xlarge"), zone="us-east-1b")
    with pytest.raises(CapacityError, match="Unsupported"):
        provider.acquire(offer, 1, token="wrong-zone", boot=BOOT)


def test_a_zone_or_region_that_there_is_not_is_refused(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "p5.48xlarge")
    for wrong in (replace(offer, zone="us-east-1q"), replace(offer, region="mars-north-1")):
        with pytest.raises(CapacityError):
            provider.acquire(wrong, 1, token="nowhere", boot=BOOT)


def test_a_lost_answer_of_a_gang_is_found_again_by_many_at_once(aws: SimulatedAws) -> None:
    unlucky = aws.lose_next_answer()
    offer = offer_of(aws.made(OWNER), "p5.48xlarge")
    with pytest.raises(TransientError):
        unlucky.acquire(offer, 2, token="lost", boot=BOOT)
    buyers = [aws.made(OWNER) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ids = {lease.id for lease in pool.map(lambda each: each.acquire(offer, 2, token="lost", boot=BOOT), buyers)}
    assert len(ids) == 1
    assert len(aws.machines()) == 2


def test_processes_with_other_keys_and_the_same_token_buy_once(aws: SimulatedAws, tmp_path: Path) -> None:
    first, second = aws.made(OWNER), aws.made(OWNER, folder=tmp_path / "other")
    offer = offer_of(first, "g6.xlarge")
    aws.hide_next(30.0)
    lease = first.acquire(offer, 1, token="twins", boot=BOOT)
    with pytest.raises(TransientError, match="another process"):
        second.acquire(offer, 1, token="twins", boot=BOOT)
    aws.wait(31)
    assert second.acquire(offer, 1, token="twins", boot=BOOT).id == lease.id
    assert len(aws.machines()) == 1


def test_a_token_used_again_after_its_lease_ended_buys_anew_though_ec2_remembers_it(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "g6.xlarge")
    first = provider.acquire(offer, 1, token="again", boot=BOOT)
    release_fully(aws, provider, first.id)
    aws.wait(2 * 3600)  # EC2 lists the old machine no more, and keeps its token for a day
    second = provider.acquire(offer, 1, token="again", boot=BOOT)
    assert second.id != first.id
    assert [lease.id for lease in provider.leases()] == [second.id]


def test_the_price_of_a_lease_is_that_of_its_purchase(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    quoted = {billing: offer_of(provider, "p5.48xlarge", billing) for billing in (Billing.ON_DEMAND, Billing.SPOT)}
    aws.market.move_prices(1.5, lambda key: key.instance_type == "p5.48xlarge")
    for billing, offer in quoted.items():
        lease = provider.acquire(offer, 1, token=f"risen-{billing}", boot=BOOT)
        assert lease.usd_per_hour == pytest.approx(1.5 * offer.usd_per_hour, abs=1e-3)
        (machine,) = [each for each in aws.machines() if each.key.billing is billing]
        assert lease.usd_per_hour == pytest.approx(machine.usd_per_hour)


def test_a_machine_ends_itself_and_its_bill_when_nobody_is_left(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    lease = provider.acquire(
        offer_of(provider, "g6.xlarge"), 1, token="orphan", boot=Boot(run_id="run-7", lifetime_s=7200.0)
    )
    (machine,) = aws.machines()
    assert own_end_s(str(machine.extra["user_data"])) == 7200.0
    aws.wait(7200 + 600)
    assert not aws.machines()
    assert not provider.leases()
    with pytest.raises(LeaseNotFound):
        provider.release(lease.id)


def test_a_machine_lets_in_the_key_of_its_lease_and_no_other(aws: SimulatedAws, tmp_path: Path) -> None:
    provider = aws.made(OWNER)
    lease = until_ready(aws, provider, provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="key", boot=BOOT))
    (machine,) = aws.machines()
    assert len(logins(str(machine.extra["user_data"]))) == 1
    assert Path(lease.endpoints[0].identity) == tmp_path / "keys" / "key" / "login"


def test_keys_go_with_the_lease(aws: SimulatedAws, tmp_path: Path) -> None:
    provider = aws.made(OWNER)
    lease = provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="key", boot=BOOT)
    assert (tmp_path / "keys" / "key").is_dir()
    release_fully(aws, provider, lease.id)
    assert not (tmp_path / "keys" / "key").exists()


def test_the_image_fits_the_machine(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    for name in ("g5g.xlarge", "trn2.48xlarge", "g6.xlarge"):  # Arm, Neuron, the usual
        provider.acquire(offer_of(provider, name), 1, token=f"image-{name}", boot=BOOT)
    assert len({machine.extra["image"] for machine in aws.machines()}) == 3


def test_an_image_of_another_architecture_is_refused_and_named(aws: SimulatedAws) -> None:
    arm = "ssm:/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    provider = aws.made(OWNER, image=arm)
    with pytest.raises(CapacityError, match="architecture"):
        provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="arm", boot=BOOT)


def test_an_image_that_there_is_not_is_refused_in_the_region(aws: SimulatedAws) -> None:
    for image in ("ami-00000000000000000", "ssm:/no/such/parameter"):
        provider = aws.made(OWNER, image=image)
        with pytest.raises(CapacityError) as refused:
            provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="no-image", boot=BOOT)
        assert refused.value.scope is Scope.REGION


def test_user_data_that_is_too_long_is_the_users_to_mend(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    from orchestrator.domain.errors import UserError

    with pytest.raises(UserError, match="16384"):
        provider.acquire(
            offer_of(provider, "g6.xlarge"), 1, token="long", boot=Boot(user_data="#!/bin/sh\n" + "#" * 20000)
        )


# What is opened


def test_ssh_is_open_to_the_control_plane_alone_and_nodes_reach_each_other(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER, control_cidr="203.0.113.7/32")
    provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="group", boot=BOOT)
    (rules,) = aws.aws.network.opened().values()
    ssh = [rule for rule in rules if rule["IpProtocol"] == "tcp"]
    assert ssh == [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}]
    assert [rule for rule in rules if rule not in ssh and "UserIdGroupPairs" not in rule] == []


def test_a_new_address_of_the_control_plane_closes_the_old_one(aws: SimulatedAws) -> None:
    for number, cidr in enumerate(("203.0.113.7/32", "2001:db8::7/128")):
        provider = aws.made(OWNER, control_cidr=cidr)
        provider.acquire(offer_of(provider, "g6.xlarge"), 1, token=f"group-{number}", boot=BOOT)
    (rules,) = aws.aws.network.opened().values()
    assert [rule for rule in rules if rule["IpProtocol"] == "tcp"] == [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges": [{"CidrIpv6": "2001:db8::7/128"}]}
    ]


def test_without_an_address_of_the_control_plane_nothing_is_open(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="closed", boot=BOOT)
    (rules,) = aws.aws.network.opened().values()
    assert all("UserIdGroupPairs" in rule for rule in rules)


def test_many_first_purchases_at_once_make_one_group(aws: SimulatedAws) -> None:
    offer = offer_of(aws.made(OWNER), "g6.xlarge")
    buyers = [aws.made(OWNER, control_cidr="203.0.113.7/32") for _ in range(4)]

    def buy(number: int) -> None:
        try:
            buyers[number].acquire(offer, 1, token=f"first-{number}", boot=BOOT)
        except TransientError:
            buyers[number].acquire(offer, 1, token=f"first-{number}", boot=BOOT)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(buy, range(4)))
    assert len(aws.aws.network.opened()) == 1
    assert len(aws.machines()) == 4


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
