"""Launches whose token EC2 has seen before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")

from orchestrator.domain.errors import TransientError
from orchestrator.domain.lease import Boot
from orchestrator.kit.documents import Document
from orchestrator.kit.keys import KeyRing
from orchestrator.testing.clock import FakeClock
from providers.aws.client import Client, Keys
from providers.aws.ground import Ground
from providers.aws.purchase import Launcher, Order
from providers.aws.settings import AwsSettings
from providers.aws.translate import Type
from tests.unit.providers.aws.test_records import OFFER

KIND = Type("p5.48xlarge", "H100-SXM", True, 8.0, 192.0, 2048.0, frozenset({"on-demand"}), "x86_64", False, False, 0)


class Ec2(Client):
    """Remembers a first purchase as it was made, and lists what it is told to."""

    def __init__(self, clock: FakeClock, *, age: timedelta, listed: str = "") -> None:
        super().__init__(AwsSettings(image="ami-1"), Keys(), clock)
        self.tokens: list[str] = []
        self._clock_now, self._age, self._listed = clock.now, age, listed

    def _row(self, number: int, state: str, age: timedelta) -> dict[str, Any]:
        instance = {
            "InstanceId": f"i-{number}",
            "InstanceType": "p5.48xlarge",
            "State": {"Name": state},
            "LaunchTime": self._clock_now() - age,
            "Placement": {"AvailabilityZone": "us-east-1a"},
        }
        return {"ReservationId": f"r-{number}", "Instances": [instance]}

    def once(self, service: str, region: str, operation: str, **params: Any) -> Document:
        assert operation == "RunInstances"
        if params["ClientToken"] not in self.tokens:
            self.tokens.append(params["ClientToken"])
        first = len(self.tokens) == 1
        return Document(self._row(len(self.tokens), "pending", self._age if first else timedelta(0)), operation)

    def each(self, service: str, region: str, operation: str, field: str, **params: Any) -> Iterator[Document]:
        by_reservation = any(each["Name"] == "reservation-id" for each in params.get("Filters", ()))
        if operation == "DescribeInstances" and by_reservation and self._listed:
            yield Document(self._row(1, self._listed, self._age), operation)
        if operation == "DescribeSubnets":
            yield Document({"SubnetId": "subnet-1", "VpcId": "vpc-1"}, operation)


def bought(tmp_path: Path, ec2: Ec2, clock: FakeClock) -> str:
    settings = AwsSettings(image="ami-1", security_group="sg-1")
    launcher = Launcher(ec2, settings, Ground(ec2, settings, "me"), "me", clock)
    order = Order(OFFER, 1, "token", Boot(), KIND, KeyRing(tmp_path).of("token"))
    return launcher.buy(order)[0].id


@pytest.mark.parametrize(
    ("age", "listed", "wanted"),
    [
        (timedelta(seconds=1), "", "i-1"),  # just bought, and not listed yet
        (timedelta(minutes=10), "running", "i-1"),
        (timedelta(minutes=10), "shutting-down", "i-1"),  # its lease until it has ended
        (timedelta(minutes=10), "terminated", "i-2"),
        (timedelta(hours=3), "", "i-2"),  # ended so long ago that EC2 tells of it no more
    ],
)
def test_an_answer_that_is_an_old_one_is_looked_at_again(
    tmp_path: Path, age: timedelta, listed: str, wanted: str
) -> None:
    clock = FakeClock()
    assert bought(tmp_path, Ec2(clock, age=age, listed=listed), clock) == wanted


def test_what_was_bought_a_while_ago_and_is_not_listed_is_in_doubt_and_nothing_more_is_bought(tmp_path: Path) -> None:
    clock = FakeClock()
    ec2 = Ec2(clock, age=timedelta(minutes=10))
    with pytest.raises(TransientError, match="not listed"):
        bought(tmp_path, ec2, clock)
    assert len(ec2.tokens) == 1
