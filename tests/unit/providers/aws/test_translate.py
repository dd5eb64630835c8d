"""AWS's words into ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain.offer import Billing
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.money import Rates
from providers.aws import translate
from providers.aws.translate import Running, Type

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def row(name: str, gpu: dict[str, Any] | None = None, **more: Any) -> Document:
    described: dict[str, Any] = {
        "InstanceType": name,
        "VCpuInfo": {"DefaultVCpus": 96},
        "MemoryInfo": {"SizeInMiB": 1179648},
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "SupportedUsageClasses": ["on-demand", "spot"],
        **more,
    }
    if gpu is not None:
        described["GpuInfo"] = {"Gpus": [gpu]}
    return Document(described, name)


def gpu(name: str, count: int, gib: float, **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "Manufacturer": "NVIDIA",
        "Count": count,
        "MemoryInfo": {"SizeInMiB": int(gib * 1024)},
        **more,
    }


def kind_of(found: Type | None) -> tuple[str, float]:
    assert found is not None
    return found.accelerator, found.gpus


@pytest.mark.parametrize(
    ("name", "device", "wanted"),
    [
        ("p4d.24xlarge", gpu("A100", 8, 40), ("A100-40GB", 8.0)),
        ("p4de.24xlarge", gpu("A100", 8, 80), ("A100-80GB", 8.0)),
        ("p5.48xlarge", gpu("H100", 8, 80), ("H100-SXM", 8.0)),
        ("p6-b200.48xlarge", gpu("B200", 8, 183359 / 1024), ("B200", 8.0)),
        ("p6-b300.48xlarge", gpu("B300", 8, 275040 / 1024), ("B300", 8.0)),
        ("p3.2xlarge", gpu("V100", 1, 16), ("V100-16GB", 1.0)),
        ("p3dn.24xlarge", gpu("V100", 8, 32), ("V100-32GB", 8.0)),
        ("g5.xlarge", gpu("A10G", 1, 22888 / 1024), ("A10G", 1.0)),
        ("g6e.12xlarge", gpu("L40S", 4, 45776 / 1024), ("L40S", 4.0)),
        ("g7e.48xlarge", gpu("RTX PRO Server 6000", 8, 96), ("RTX-PRO-6000", 8.0)),
        ("g7.2xlarge", gpu("RTX PRO 4500", 1, 32), ("RTX-PRO-4500", 1.0)),
    ],
)
def test_a_device_is_known_by_name_and_memory(name: str, device: dict[str, Any], wanted: tuple[str, float]) -> None:
    assert kind_of(translate.instance_type(row(name, device))) == wanted


@pytest.mark.parametrize(
    ("name", "device", "share"),
    [
        ("g6f.large", gpu("L4", 0, 2861 / 1024, GpuPartitionSize=0.125, LogicalGpuCount=1), 0.125),
        ("g6f.4xlarge", gpu("L4", 0, 11444 / 1024, GpuPartitionSize=0.5, LogicalGpuCount=1), 0.5),
        ("gr6f.4xlarge", gpu("L4", 1, 11444 / 1024), 0.5),  # as live answers were before partitions
        ("g6f.2xlarge", gpu("L4", 1, 5722 / 1024), 0.25),
        ("g6f.xlarge", gpu("L4", 1, 2861 / 1024, GpuPartitionSize=1.0), 0.125),
    ],
)
def test_a_share_of_a_gpu_is_a_fraction_whatever_the_count_says(
    name: str, device: dict[str, Any], share: float
) -> None:
    accelerator, gpus = kind_of(translate.instance_type(row(name, device)))
    assert accelerator == "L4"
    assert gpus == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "told", "wanted"),
    [
        ("p4de.24xlarge", gpu("A100", 8, 40), ("A100-80GB", 8.0)),
        ("p5en.48xlarge", gpu("H100", 8, 80), ("H200", 8.0)),
        ("p5e.48xlarge", gpu("H200", 4, 141), ("H200", 8.0)),
        ("p5.4xlarge", gpu("H100", 8, 80), ("H100-SXM", 1.0)),
    ],
)
def test_what_aws_tells_wrongly_is_mended(name: str, told: dict[str, Any], wanted: tuple[str, float]) -> None:
    assert kind_of(translate.instance_type(row(name, told))) == wanted


def test_aws_s_own_devices_are_named_whatever_memory_is_told() -> None:
    neuron = {"NeuronDevices": [{"Name": "Trainium2", "Count": 16, "MemoryInfo": {"SizeInMiB": 524288}}]}
    found = translate.instance_type(row("trn2.48xlarge", NeuronInfo=neuron))
    assert kind_of(found) == ("Trainium2", 16.0)
    assert found is not None
    assert found.neuron


def test_other_inference_devices_are_named_too() -> None:
    info = {"Accelerators": [{"Name": "Inferentia", "Manufacturer": "AWS", "Count": 4}]}
    assert kind_of(translate.instance_type(row("inf1.6xlarge", InferenceAcceleratorInfo=info))) == ("Inferentia", 4.0)


def test_a_type_without_an_accelerator_is_none() -> None:
    assert translate.instance_type(row("m7i.large")) is None


def test_an_unknown_device_keeps_the_vendors_word() -> None:
    found = translate.instance_type(row("g99.xlarge", gpu("Quark", 1, 24)))
    assert found is not None
    assert (found.accelerator, found.known) == ("NVIDIA Quark", False)


def test_an_a100_of_a_size_that_there_is_not_is_not_the_nearest() -> None:
    found = translate.instance_type(row("p4x.24xlarge", gpu("A100", 8, 64)))
    assert found is not None
    assert not found.known


def test_no_gpus_at_all_are_malformed() -> None:
    with pytest.raises(Malformed, match="0 accelerators"):
        translate.instance_type(row("g5.xlarge", gpu("A10G", 0, 24)))


# Prices


def product(price: str, *, unit: str = "Hrs", currency: str = "USD", terms: int = 1) -> str:
    dimension = {"unit": unit, "pricePerUnit": {currency: price}}
    terms_of = {f"S.{number}": {"priceDimensions": {f"S.{number}.R": dimension}} for number in range(terms)}
    return json.dumps({"product": {"attributes": {"instanceType": "p5.48xlarge"}}, "terms": {"OnDemand": terms_of}})


def price_of(text: str) -> float | None:
    name, price = translate.list_price(text, Rates())
    assert name == "p5.48xlarge"
    return None if price is None else price.usd_per_hour


def test_a_price_is_json_within_json() -> None:
    assert price_of(product("55.0400000000")) == 55.04


@pytest.mark.parametrize("price", ["0.0000000000", "-3.0", "-0"])
def test_a_price_of_zero_or_below_is_none(price: str) -> None:
    assert price_of(product(price)) is None


def test_a_price_that_is_not_by_the_hour_or_in_no_known_currency_is_none() -> None:
    assert price_of(product("55.04", unit="Quantity")) is None
    assert price_of(product("55.04", currency="XTS")) is None


def test_another_currency_is_converted_and_marked() -> None:
    _, price = translate.list_price(product("100.0", currency="EUR"), Rates())
    assert price is not None
    assert 80 < price.usd_per_hour < 160
    assert "EUR" in price.note


def test_the_same_price_twice_is_that_price_and_two_prices_are_none() -> None:
    assert price_of(product("55.04", terms=2)) == 55.04
    both = json.loads(product("55.04", terms=2))
    both["terms"]["OnDemand"]["S.1"]["priceDimensions"]["S.1.R"]["pricePerUnit"]["USD"] = "9.0"
    assert price_of(json.dumps(both)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"product": {}}', '{"product": {"attributes": {}}}', product("x")])
def test_a_product_that_cannot_be_read_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        translate.list_price(text, Rates())


def spot(usd: str, hours_ago: float, *, system: str = "Linux/UNIX") -> Document:
    seen = {
        "InstanceType": "p5.48xlarge",
        "AvailabilityZone": "us-east-1a",
        "ProductDescription": system,
        "SpotPrice": usd,
        "Timestamp": NOW - timedelta(hours=hours_ago),
    }
    return Document(seen, "row")


def test_the_newest_spot_price_counts_in_whatever_order_they_come() -> None:
    rows = [spot("20.5", 2), spot("21.25", 1), spot("19.0", 9), spot("99.0", 0, system="Windows")]
    for order in (rows, rows[::-1]):
        assert translate.newest(map(translate.spot_price, order)) == {("p5.48xlarge", "us-east-1a"): 21.25}


@pytest.mark.parametrize("usd", ["0", "-1.0"])
def test_a_spot_price_of_zero_or_below_hides_the_older_one(usd: str) -> None:
    assert translate.newest(map(translate.spot_price, [spot(usd, 0), spot("20.0", 1)])) == {
        ("p5.48xlarge", "us-east-1a"): 0.0
    }


@pytest.mark.parametrize("usd", ["nan", "inf", "free", ""])
def test_a_spot_price_that_is_no_number_is_malformed(usd: str) -> None:
    with pytest.raises(Malformed):
        translate.spot_price(spot(usd, 0))


# Quotas

P5 = Type("p5.48xlarge", "H100-SXM", True, 8.0, 192.0, 2048.0, frozenset({"spot"}), "x86_64", False, False, 32)


def test_a_quota_counts_machines_of_all_types_of_its_class() -> None:
    limits = {"L-417A185B": 600.0, "L-7212CCBC": 192.0}
    held = [
        Running("p4d.24xlarge", Billing.ON_DEMAND, 96.0),
        Running("p5.48xlarge", Billing.ON_DEMAND, None),  # its type's, where EC2 does not say
        Running("g5.xlarge", Billing.ON_DEMAND, 4.0),
        Running("p5.48xlarge", None, 192.0),  # a capacity block
    ]
    used = translate.vcpus_in_use(held, {"p5.48xlarge": P5}, limits)
    assert used == {"L-417A185B": 288.0}
    assert translate.quota_nodes(P5, Billing.ON_DEMAND, limits, used) == 1
    assert translate.quota_nodes(P5, Billing.SPOT, limits, used) == 1


def test_p5_spot_has_a_quota_of_its_own_where_the_account_lists_one() -> None:
    merged, apart = {"L-7212CCBC": 1.0}, {"L-7212CCBC": 1.0, "L-C4BD4855": 2.0}
    codes = [
        translate.quota_code(name, Billing.SPOT, limits)
        for limits in (merged, apart)
        for name in ("p4d.24xlarge", "p5en.48xlarge", "p6-b200.48xlarge")
    ]
    assert codes == ["L-7212CCBC", "L-7212CCBC", "L-7212CCBC", "L-7212CCBC", "L-C4BD4855", ""]


def test_a_quota_below_what_is_used_leaves_none_and_an_unknown_one_is_unknown() -> None:
    assert translate.quota_nodes(P5, Billing.ON_DEMAND, {"L-417A185B": 96.0}, {"L-417A185B": 192.0}) == 0
    assert translate.quota_nodes(P5, Billing.ON_DEMAND, {}, {}) is None
    assert translate.quota_nodes(P5, Billing.RESERVED, {"L-417A185B": 96.0}, {}) is None


# Advice


def test_scores_are_tenths_and_others_are_left_out() -> None:
    rows = [{"Region": "us-east-1", "AvailabilityZoneId": f"use1-az{n}", "Score": n} for n in (0, 1, 9, 10, 11)]
    found = translate.scores(Document(each, "row") for each in rows)
    assert sorted(found.values()) == [0.1, 0.9, 1.0]


def test_a_feed_that_is_none_is_malformed() -> None:
    for text in ("", "[]", '{"spot_advisor": 3}', '{"spot_advisor": {"r": {"Linux": {"t": {"r": "x"}}}}}'):
        with pytest.raises(Malformed):
            translate.advisor(text)
    assert translate.advisor('{"spot_advisor": {"r": {"Windows": {"t": {"r": 1}}}}}') == {}
    assert translate.advisor('{"spot_advisor": {"r": {"Linux": {"t": {"r": 7}}}}}') == {}
