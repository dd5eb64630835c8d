"""The simulated AWS refuses what AWS would refuse, and is found out where it answers what AWS would not: by boto3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")
pytest.importorskip("moto", reason="moto is not installed (extra clouds)")

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.aws import conformity, protocol
from orchestrator.simulation.clouds.aws.app import ACCESS_KEY_ID, SECRET_ACCESS_KEY, settings
from orchestrator.simulation.clouds.aws.network import PARAMETERS
from orchestrator.simulation.clouds.wire import Nonconforming, Reply
from tests.wire.aws_cloud import START, SimulatedAws

IMAGE = next(iter(PARAMETERS))
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[SimulatedAws]:
    with SimulatedAws(tmp_path) as cloud:
        yield cloud


def client(aws: SimulatedAws, service: str = "ec2", region: str = "us-east-1", secret: str = SECRET_ACCESS_KEY) -> Any:
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=aws.server.url,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=secret,
        config=ONCE,
    )


def image(aws: SimulatedAws) -> str:
    value: str = client(aws, "ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]
    return value


def launch(aws: SimulatedAws, **more: Any) -> Any:
    params = {"ImageId": image(aws), "InstanceType": "g6.xlarge", "MinCount": 1, "MaxCount": 1}
    return client(aws).run_instances(**{**params, "Placement": {"AvailabilityZone": "us-east-1a"}, **more})


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def raw(aws: SimulatedAws, body: str, *, service: str = "ec2", secret: str = SECRET_ACCESS_KEY) -> httpx.Response:
    """A signed request that no SDK would send."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    if service != "ec2":
        target, _, body = body.partition(" ")
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
    request = AWSRequest("POST", f"{aws.server.url}/", data=body.encode(), headers=headers)
    SigV4Auth(Credentials(ACCESS_KEY_ID, secret), service, "us-east-1").add_auth(request)
    return httpx.post(aws.server.url, content=body.encode(), headers=dict(request.headers), trust_env=False)


# Requests


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("Action=DescribeRegions&Version=2016-11-15&Colour=red", "UnknownParameter"),
        ("Action=DescribeInstances&Version=2016-11-15&Filter.1.Nam=x", "UnknownParameter"),
        ("Action=RunInstances&Version=2016-11-15&MinCount=1", "MissingParameter"),
        ("Action=RunInstances&Version=2016-11-15&MinCount=one&MaxCount=1", "InvalidParameterValue"),
        ("Action=MakeCoffee&Version=2016-11-15", "InvalidAction"),
        ("Action=CreateFleet&Version=2016-11-15", "MissingParameter"),
        ("Action=DescribeVpcs&Version=2016-11-15", "InvalidAction"),  # at EC2, not simulated
        ("Action=DescribeRegions&Version=1999-01-01", "NoSuchVersion"),
        ("Action=DescribeRegions&Version=2016-11-15&x", "MalformedQueryString"),
    ],
)
def test_a_form_that_ec2_does_not_know_is_refused(aws: SimulatedAws, body: str, code: str) -> None:
    answer = raw(aws, body)
    assert answer.status_code == 400
    assert f"<Code>{code}</Code>" in answer.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('AWSPriceListService.GetProducts {"ServiceCode": "AmazonEC2", "Colour": 1}', "SerializationException"),
        (
            'AWSPriceListService.GetProducts {"ServiceCode": "AmazonEC2", "Filters": [{"F": "x"}]}',
            "SerializationException",
        ),
        ("AWSPriceListService.GetProducts {}", "MissingParameter"),
        ('AWSPriceListService.GetProducts {"ServiceCode": 3}', "ValidationException"),
        ("AWSPriceListService.GetProducts {", "SerializationException"),
        ("AWSPriceListService.GetCoffee {}", "InvalidAction"),
    ],
)
def test_json_that_the_price_list_does_not_know_is_refused(aws: SimulatedAws, body: str, code: str) -> None:
    answer = raw(aws, body, service="pricing")
    assert answer.status_code == 400
    assert answer.json()["__type"] == code


def test_a_request_that_nobody_signed_or_another_is_refused(aws: SimulatedAws) -> None:
    bare = httpx.post(aws.server.url, content=b"Action=DescribeRegions&Version=2016-11-15", trust_env=False)
    assert "MissingAuthenticationToken" in bare.text
    assert "AuthFailure" in raw(aws, "Action=DescribeRegions&Version=2016-11-15", secret="another").text
    with pytest.raises(ClientError) as refused:
        client(aws, "pricing", secret="another").get_products(ServiceCode="AmazonEC2")
    assert code_of(refused) == ("InvalidSignatureException", 400)


def test_a_changed_body_breaks_the_signature(aws: SimulatedAws) -> None:
    body = "Action=DescribeRegions&Version=2016-11-15"
    request = AWSRequest("POST", f"{aws.server.url}/", data=body.encode(), headers={})
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "ec2", "us-east-1").add_auth(request)
    changed = (body + "&AllRegions=true").encode()
    assert "AuthFailure" in httpx.post(aws.server.url, content=changed, headers=dict(request.headers)).text


def test_a_signature_of_yesterday_is_refused(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.simulation.clouds.aws import signature

    monkeypatch.setattr(signature, "VALID_FOR", timedelta(seconds=-1))
    assert "RequestExpired" in raw(aws, "Action=DescribeRegions&Version=2016-11-15").text


def test_who_one_is_is_told(aws: SimulatedAws) -> None:
    assert client(aws, "sts").get_caller_identity()["Account"] == "000000000001"


# Launches


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"InstanceType": "g6.48xlarge"}, "InvalidParameterValue"),
        ({"InstanceType": "g4dn.metal"}, "Unsupported"),
        ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "debian"}, "InvalidAMIID.Malformed"),
        ({"MinCount": 2}, "InvalidParameterValue"),
        ({"SubnetId": "subnet-00000000000000000"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-1"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": "subnet-1", "NetworkInterfaces": [{"DeviceIndex": 0}]}, "InvalidParameterCombination"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x"}]}]}, "InvalidParameterValue"),
        (
            {"TagSpecifications": [{"ResourceType": "volume", "Tags": [{"Key": "x", "Value": "v" * 257}]}]},
            "InvalidParameterValue",
        ),
        ({"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.01"}}}, "SpotMaxPriceTooLow"),
    ],
)
def test_a_launch_that_ec2_finds_fault_with_is_refused(aws: SimulatedAws, changed: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        launch(aws, **changed)
    assert code_of(refused) == (code, 400)
    assert not aws.machines()


def test_a_dry_run_buys_nothing(aws: SimulatedAws) -> None:
    with pytest.raises(ClientError) as refused:
        launch(aws, DryRun=True)
    assert code_of(refused) == ("DryRunOperation", 412)
    assert not aws.machines()


def test_no_capacity_is_a_server_error_which_the_sdk_would_repeat(aws: SimulatedAws) -> None:
    with pytest.raises(ClientError) as refused:
        launch(aws, MinCount=99, MaxCount=99)
    assert code_of(refused) == ("InsufficientInstanceCapacity", 500)


def test_part_of_what_is_wished_for_is_delivered_where_that_is_enough(aws: SimulatedAws) -> None:
    assert len(launch(aws, MinCount=1, MaxCount=99)["Instances"]) == 6


def test_a_client_token_buys_once_and_never_with_other_parameters(aws: SimulatedAws) -> None:
    first, again = launch(aws, ClientToken="t"), launch(aws, ClientToken="t")
    assert again["ReservationId"] == first["ReservationId"]
    with pytest.raises(ClientError) as refused:
        launch(aws, ClientToken="t", EbsOptimized=True)
    assert code_of(refused) == ("IdempotentParameterMismatch", 400)
    assert len(aws.machines()) == 1


def test_ec2_remembers_a_token_for_a_day_after_its_machines_ended(aws: SimulatedAws) -> None:
    ids = [each["InstanceId"] for each in launch(aws, ClientToken="t")["Instances"]]
    client(aws).terminate_instances(InstanceIds=ids)
    aws.wait(3600)
    (old,) = launch(aws, ClientToken="t")["Instances"]
    assert (old["InstanceId"], old["State"]["Name"]) == (ids[0], "terminated")
    aws.wait(25 * 3600)
    (new,) = launch(aws, ClientToken="t")["Instances"]
    assert new["InstanceId"] != ids[0]


def test_a_machine_just_bought_may_not_be_known_yet(aws: SimulatedAws) -> None:
    aws.hide_next(20.0)
    (machine,) = launch(aws)["Instances"]
    for call in (client(aws).describe_instances, client(aws).terminate_instances):
        with pytest.raises(ClientError) as refused:
            call(InstanceIds=[machine["InstanceId"]])
        assert code_of(refused) == ("InvalidInstanceID.NotFound", 400)
    aws.wait(21)
    assert client(aws).describe_instances(InstanceIds=[machine["InstanceId"]])["Reservations"]


def test_an_ended_machine_is_described_for_an_hour_with_its_reason(aws: SimulatedAws) -> None:
    (machine,) = launch(aws)["Instances"]
    client(aws).terminate_instances(InstanceIds=[machine["InstanceId"]])
    aws.wait(60)
    (seen,) = client(aws).describe_instances()["Reservations"][0]["Instances"]
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("terminated", "Client.UserInitiatedShutdown")
    aws.wait(3600)
    assert client(aws).describe_instances()["Reservations"] == []


def test_machines_of_another_region_are_not_seen(aws: SimulatedAws) -> None:
    launch(aws)
    assert client(aws, region="eu-west-1").describe_instances()["Reservations"] == []


# Filters, pages, prices


def test_a_filter_that_there_is_not_is_refused(aws: SimulatedAws) -> None:
    with pytest.raises(ClientError, match="colour"):
        client(aws).describe_instances(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_filters_have_wildcards_and_tags(aws: SimulatedAws) -> None:
    launch(aws, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b c"}]}])
    for filters, found in (
        ([{"Name": "instance-type", "Values": ["g6.*"]}], 1),
        ([{"Name": "instance-type", "Values": ["p*", "trn*"]}], 0),
        ([{"Name": "tag:a", "Values": ["b*"]}], 1),
        ([{"Name": "tag:A", "Values": ["b*"]}], 0),
        ([{"Name": "tag-key", "Values": ["a"]}, {"Name": "instance-lifecycle", "Values": ["spot"]}], 0),
    ):
        assert len(client(aws).describe_instances(Filters=filters)["Reservations"]) == found


def test_pages_go_on_to_the_end_and_a_token_of_nobody_is_refused(aws: SimulatedAws) -> None:
    for _ in range(7):
        launch(aws, InstanceType="g6.xlarge") if len(aws.machines()) < 6 else None
    paged = client(aws).get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
    sizes = [len(page["Reservations"]) for page in paged]
    assert sizes == [5, 1]
    with pytest.raises(ClientError):
        client(aws).describe_instances(NextToken="bm9ib2R5")
    with pytest.raises(ClientError):
        client(aws).describe_instances(NextToken="%%%")


def test_spot_prices_of_the_past_are_a_path_and_those_of_now_one_row(aws: SimulatedAws) -> None:
    def rows(**more: Any) -> list[dict[str, Any]]:
        pages = client(aws).get_paginator("describe_spot_price_history")
        filters = [{"Name": "availability-zone", "Values": ["us-east-1a"]}]
        found = pages.paginate(InstanceTypes=["p5.48xlarge"], Filters=filters, **more)
        return [row for page in found for row in page["SpotPriceHistory"]]

    (now,) = rows(StartTime=START)
    past = rows(StartTime=START - timedelta(hours=48))
    assert len(past) == 49
    assert len({row["SpotPrice"] for row in past}) > 40
    assert now["SpotPrice"] == max(past, key=lambda row: row["Timestamp"])["SpotPrice"]


def test_the_price_list_needs_its_filters(aws: SimulatedAws) -> None:
    def found(*filters: tuple[str, str, str]) -> int:
        wanted = [{"Type": kind, "Field": name, "Value": value} for kind, name, value in filters]
        answer = client(aws, "pricing").get_products(ServiceCode="AmazonEC2", Filters=wanted)
        return len(answer["PriceList"])

    of_type = ("TERM_MATCH", "instanceType", "p5.48xlarge")
    assert found(of_type) == 4  # on demand, capacity block, Windows, unused reservation
    assert found(of_type, ("TERM_MATCH", "marketoption", "OnDemand"), ("EQUALS", "operatingSystem", "Linux")) == 2
    assert found(("ANY_OF", "instanceType", "p5.48xlarge,p4d.24xlarge"), ("NONE_OF", "operatingSystem", "Windows")) == 6
    assert found(("CONTAINS", "instanceType", "p4d")) == 8  # p4d and p4de


def test_few_different_questions_about_placement_are_answered_in_a_day(aws: SimulatedAws) -> None:
    for count in range(1, 51):
        client(aws).get_spot_placement_scores(InstanceTypes=["p5.48xlarge"], TargetCapacity=count)
    client(aws).get_spot_placement_scores(InstanceTypes=["p5.48xlarge"], TargetCapacity=1)
    with pytest.raises(ClientError) as refused:
        client(aws).get_spot_placement_scores(InstanceTypes=["p5.48xlarge"], TargetCapacity=51)
    assert code_of(refused)[0] == "MaxConfigLimitExceeded"
    aws.wait(24 * 3600)
    client(aws).get_spot_placement_scores(InstanceTypes=["p5.48xlarge"], TargetCapacity=51)


def test_a_local_zone_is_among_the_zones_and_sells_nothing_that_is_listed(aws: SimulatedAws) -> None:
    zones = client(aws).describe_availability_zones()["AvailabilityZones"]
    assert {zone["ZoneType"] for zone in zones} == {"availability-zone", "local-zone"}
    assert {offer.zone for offer in aws.made("me").offers()} == {"us-east-1a", "us-east-1b", "eu-west-1a", "eu-west-1b"}


def test_the_names_of_zones_stand_for_other_places_than_their_letters_say(aws: SimulatedAws) -> None:
    zones = client(aws).describe_availability_zones()["AvailabilityZones"]
    ids = {zone["ZoneName"]: zone["ZoneId"] for zone in zones if zone["ZoneType"] == "availability-zone"}
    assert set(ids) == {"us-east-1a", "us-east-1b"}
    assert set(ids.values()) == {"use1-az1", "use1-az2"}


# Its own answers


def reply_to(operation: str, result: dict[str, Any], service: str = "ec2") -> Reply:
    return protocol.write(protocol.Call(service, "us-east-1", ACCESS_KEY_ID, operation, {}), result)


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        ("DescribeRegions", b"regionName", b"regionNames"),
        ("DescribeRegions", b"<item>", b"<member>"),
        ("DescribeRegions", b"DescribeRegionsResponse", b"DescribeRegionResponse"),
        ("DescribeRegions", b"us-east-1", b"<deep>us-east-1</deep>"),
        ("DescribeInstances", b">0<", b">zero<"),
        ("DescribeInstances", b"2026-11-20T12:00:00", b"yesterday"),
        ("DescribeInstances", b"pending", b"napping"),
        ("DescribeInstances", b"false", b"perhaps"),
    ],
)
def test_an_answer_that_ec2_would_not_give_is_found_out(operation: str, before: bytes, after: bytes) -> None:
    state = {"Code": 0, "Name": "pending"}
    instance = {"InstanceId": "i-1", "State": state, "LaunchTime": START, "EbsOptimized": False, "AmiLaunchIndex": 0}
    results = {
        "DescribeRegions": {"Regions": [{"RegionName": "us-east-1", "Endpoint": "x"}]},
        "DescribeInstances": {"Reservations": [{"ReservationId": "r-1", "Instances": [instance]}]},
    }
    good = reply_to(operation, results[operation])
    conformity.check("ec2", operation, good)
    bad = good._replace(
        body=good.body.replace(before, after).replace(b"</item>", b"</member>" if b"<member>" in after else b"</item>")
    )
    assert bad.body != good.body
    with pytest.raises(Nonconforming):
        conformity.check("ec2", operation, bad)


@pytest.mark.parametrize(
    "body",
    [b'{"Quota": []}', b'{"Quotas": {}}', b'{"Quotas": [{"Value": "x"}]}', b'{"Quotas": [{"Adjustable": 1}]}', b"[]"],
)
def test_an_answer_that_service_quotas_would_not_give_is_found_out(body: bytes) -> None:
    good = reply_to("ListServiceQuotas", {"Quotas": [{"QuotaCode": "L-1", "Value": 1.0}]}, "service-quotas")
    conformity.check("service-quotas", "ListServiceQuotas", good)
    with pytest.raises(Nonconforming):
        conformity.check("service-quotas", "ListServiceQuotas", good._replace(body=body))


def test_settings_point_an_adapter_at_it_with_keys_in_files_of_ones_own(aws: SimulatedAws, tmp_path: Path) -> None:
    table = settings(aws.server.url, tmp_path)
    assert table["endpoint_url"] == aws.server.url
    for name in ("access_key_id", "secret_access_key"):
        scheme, _, path = str(table[name]).partition(":")
        assert scheme == "file"
        assert Path(path).stat().st_mode & 0o077 == 0


def test_spot_and_on_demand_draw_on_pools_of_their_own(aws: SimulatedAws) -> None:
    launch(aws, InstanceMarketOptions={"MarketType": "spot"})
    (machine,) = aws.machines()
    assert machine.key.billing is Billing.SPOT
    (request,) = client(aws).describe_spot_instance_requests()["SpotInstanceRequests"]
    assert (request["State"], request["Status"]["Code"]) == ("active", "fulfilled")
