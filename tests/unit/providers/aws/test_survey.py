"""Questions to the price list, whatever it makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("boto3", reason="AWS's SDK is not installed (extra aws)")

from orchestrator.domain.errors import TransientError
from orchestrator.kit.documents import Document
from orchestrator.kit.money import Rates
from orchestrator.testing.clock import FakeClock
from providers.aws.client import Client, Keys
from providers.aws.refusals import Rejected
from providers.aws.settings import AwsSettings
from providers.aws.survey import LONGEST_VALUE, Surveyor


def product(name: str, usd: str) -> str:
    term = {"priceDimensions": {"R": {"unit": "Hrs", "pricePerUnit": {"USD": usd}}}}
    return json.dumps({"product": {"attributes": {"instanceType": name}}, "terms": {"OnDemand": {"T": term}}})


class PriceList(Client):
    """A client whose price list answers from a table, and knows the newer filters or does not."""

    def __init__(self, table: dict[str, Sequence[str]], *, newer: str = "known") -> None:
        super().__init__(AwsSettings(), Keys(), FakeClock())
        self.asked: list[list[dict[str, str]]] = []
        self._table, self._newer = table, newer

    def texts(self, service: str, region: str, operation: str, field: str, **params: object) -> Iterator[str]:
        assert (service, operation, field) == ("pricing", "GetProducts", "PriceList")
        filters: Any = params["Filters"]
        self.asked.append(filters)
        only = [each["Value"].split(",") for each in filters if each["Type"] == "ANY_OF"]
        if only and self._newer == "refused":
            raise Rejected("aws", "no such filter", "InvalidParameterException")
        for name, prices in self._table.items():
            if not only or (self._newer == "known" and name in only[0]):
                yield from (product(name, usd) for usd in prices)


def asked(client: PriceList, types: Sequence[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    found, bad = Surveyor(client, AwsSettings(), Rates())._list_prices("us-east-1", types, [])
    return {name: price.usd_per_hour for name, price in found.items()}, bad


@pytest.mark.parametrize(("newer", "questions"), [("known", 1), ("ignored", 2), ("refused", 2)])
def test_a_price_list_without_the_filter_of_several_types_is_read_whole(newer: str, questions: int) -> None:
    client = PriceList({"p5.48xlarge": ["55.04"], "m7i.large": ["0.1"]}, newer=newer)
    assert asked(client, ["p5.48xlarge"]) == ({"p5.48xlarge": 55.04}, ())
    assert len(client.asked) == questions


def test_two_products_that_differ_in_price_alone_are_told_and_not_guessed() -> None:
    client = PriceList({"p5.48xlarge": ["55.04", "44.0"], "g6.xlarge": ["0.8", "0.8"], "g5.xlarge": ["0", "-1"]})
    assert asked(client, ["g5.xlarge", "g6.xlarge", "p5.48xlarge"]) == (
        {"g6.xlarge": 0.8},
        ("g5.xlarge", "p5.48xlarge"),
    )


def test_bare_metal_is_asked_for_with_its_own_filters() -> None:
    client = PriceList({"g4dn.metal": ["7.8"], "g6.xlarge": ["0.8"]})
    assert asked(client, ["g4dn.metal", "g6.xlarge"])[0] == {"g4dn.metal": 7.8, "g6.xlarge": 0.8}
    tenancies = [each["Value"] for filters in client.asked for each in filters if each["Field"] == "tenancy"]
    assert tenancies == ["Shared", "Dedicated"]


def test_every_question_is_for_on_demand_and_no_filter_is_too_long() -> None:
    types = [f"g{number}.{size}xlarge" for number in range(20) for size in range(20)]
    client = PriceList({name: ["1.0"] for name in types})
    assert len(asked(client, types)[0]) == len(types)
    for filters in client.asked:
        words = {each["Field"]: each["Value"] for each in filters}
        assert (words["marketoption"], words["capacitystatus"], words["regionCode"]) == (
            "OnDemand",
            "Used",
            "us-east-1",
        )
        assert max(len(each["Value"]) for each in filters) <= LONGEST_VALUE
    assert len(client.asked) < 8


def test_a_price_list_that_fails_is_no_empty_one() -> None:
    class Failing(PriceList):
        def texts(self, service: str, region: str, operation: str, field: str, **params: object) -> Iterator[str]:
            raise TransientError("aws", "down")

    with pytest.raises(TransientError):
        asked(Failing({}), ["p5.48xlarge"])


def test_a_product_that_cannot_be_read_costs_the_others_nothing_and_is_told() -> None:
    class Spoilt(PriceList):
        def texts(self, service: str, region: str, operation: str, field: str, **params: object) -> Iterator[str]:
            yield "{"
            yield product("p5.48xlarge", "free")
            yield product("g6.xlarge", "0.8")

    unread: list[str] = []
    found, _ = Surveyor(Spoilt({}), AwsSettings(), Rates())._list_prices("us-east-1", ["g6.xlarge"], unread)
    assert list(found) == ["g6.xlarge"]
    assert len(unread) == 2


def test_a_type_that_cannot_be_read_costs_the_others_nothing_and_is_told() -> None:
    good = {
        "InstanceType": "g6.xlarge",
        "GpuInfo": {"Gpus": [{"Name": "L4", "Manufacturer": "NVIDIA", "Count": 1, "MemoryInfo": {"SizeInMiB": 22888}}]},
        "VCpuInfo": {"DefaultVCpus": 4},
        "MemoryInfo": {"SizeInMiB": 16384},
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "SupportedUsageClasses": ["on-demand"],
    }

    class Types(PriceList):
        def each(self, service: str, region: str, operation: str, field: str, **params: object) -> Iterator[Document]:
            yield Document({**good, "InstanceType": "g6.2xlarge", "VCpuInfo": None}, "first")
            yield Document(good, "second")

    unread: list[str] = []
    found = Surveyor(Types({}), AwsSettings(), Rates()).types("us-east-1", ["g6.xlarge", "g6.2xlarge"], unread)
    assert list(found) == ["g6.xlarge"]
    assert len(unread) == 1
    assert "VCpuInfo" in unread[0]
