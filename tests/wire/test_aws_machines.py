"""What the AWS adapter buys and opens, through boto3 and over HTTP, at the simulated AWS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

from orchestrator.domain.errors import CapacityError, LeaseNotFound, Scope, TransientError
from orchestrator.domain.lease import Boot, LeaseState
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.bootup import logins, own_end_s
from orchestrator.testing.accounts import OWNER, release_fully, until_ready
from tests.wire.aws_cloud import SimulatedAws, offer_of

BOOT = Boot(run_id="run-7")


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[SimulatedAws]:
    with SimulatedAws(tmp_path) as cloud:
        yield cloud


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


def test_a_lost_answer_is_found_though_the_price_has_moved_since(aws: SimulatedAws) -> None:
    offer = offer_of(aws.made(OWNER), "p5.48xlarge", Billing.SPOT)
    aws.hide_next(30.0)
    with pytest.raises(TransientError):
        aws.lose_next_answer().acquire(offer, 1, token="moved", boot=BOOT)
    aws.market.move_prices(1.2, lambda key: key.instance_type == "p5.48xlarge")
    with pytest.raises(TransientError):
        aws.made(OWNER).acquire(offer, 1, token="moved", boot=BOOT)
    aws.wait(31)
    lease = aws.made(OWNER).acquire(offer, 1, token="moved", boot=BOOT)
    (machine,) = aws.machines()
    assert lease.usd_per_hour == pytest.approx(machine.usd_per_hour)


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


def test_a_lease_that_is_ending_is_still_its_tokens(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER)
    offer = offer_of(provider, "g6.xlarge")
    first = provider.acquire(offer, 1, token="ending", boot=BOOT)
    provider.release(first.id)
    again = provider.acquire(offer, 1, token="ending", boot=BOOT)
    assert (again.id, again.state) == (first.id, LeaseState.RELEASING)
    assert len(aws.machines()) == 1


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


def test_a_first_disk_of_ones_own_size_is_the_images_first_disk(aws: SimulatedAws) -> None:
    provider = aws.made(OWNER, disk_gib=500)
    provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="disk", boot=BOOT)
    assert aws.wire.counts()["DescribeImages"] == 1
    missing = aws.made(OWNER, disk_gib=500, image="ami-00000000000000000")
    with pytest.raises(CapacityError, match="InvalidAMIID"):
        missing.acquire(offer_of(provider, "g6.xlarge"), 1, token="no-disk", boot=BOOT)
    assert len(aws.machines()) == 1


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


# Places of one's own


def test_every_service_may_have_an_address_of_its_own(aws: SimulatedAws) -> None:
    url = aws.server.url
    private = {"ec2": url, "pricing": url, "service-quotas": url, "ssm": url}
    provider = aws.made(OWNER, endpoint_url="", endpoints=private)
    assert provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="private", boot=BOOT).id


def test_a_subnet_of_ones_own_is_used_in_its_zone_and_no_other(aws: SimulatedAws) -> None:
    from orchestrator.simulation.clouds.aws.network import made_id

    subnet = made_id("subnet", "us-east-1a")
    provider = aws.made(OWNER, subnets=[subnet], public_addresses=False, instance_profile="training")
    lease = until_ready(aws, provider, provider.acquire(offer_of(provider, "p5.48xlarge"), 1, token="mine", boot=BOOT))
    assert lease.endpoints[0].address
    with pytest.raises(CapacityError, match="subnets") as refused:
        provider.acquire(offer_of(provider, "p4d.24xlarge"), 1, token="elsewhere", boot=BOOT)
    assert refused.value.scope is Scope.ZONE


def test_a_security_group_of_ones_own_is_left_as_it_is(aws: SimulatedAws) -> None:
    first = aws.made("isoflop-neighbour")
    first.acquire(offer_of(first, "g6.xlarge"), 1, token="makes-a-group", boot=BOOT)
    (machine,) = aws.machines()
    (group,) = machine.extra["groups"]  # type: ignore[misc]
    aws.wire.forget()
    provider = aws.made(OWNER, security_group=group)
    provider.acquire(offer_of(provider, "g6.xlarge"), 1, token="in-it", boot=BOOT)
    assert not {name for name in aws.wire.counts() if "SecurityGroup" in name}
