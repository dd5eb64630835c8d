"""Filtering and ordering offers."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from orchestrator.catalog import ages, query
from orchestrator.catalog.query import OfferFilter, Order, matching_gpus, order, select
from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.builders import accelerator, offer
from orchestrator.testing.clock import EPOCH

BOOK = OfferBook.of(
    [
        offer(provider="aws", region="us-east-1", instance_type="p5", usd_per_hour=55.0, gpus=8.0, available=None),
        offer(
            provider="aws", region="eu-west-1", zone="eu-west-1a", instance_type="p5", usd_per_hour=60.0, available=0
        ),
        offer(provider="gcp", region="europe-west4", instance_type="g2", accelerator="L4", gpus=1.0, usd_per_hour=0.7),
        offer(
            provider="gcp",
            region="europe-west4",
            instance_type="g2",
            accelerator="L4",
            gpus=1.0,
            usd_per_hour=0.3,
            billing=Billing.SPOT,
            observed_at=EPOCH - timedelta(days=100),
        ),
        offer(
            provider="lambda", region="us-east-1", instance_type="h", accelerator="H100-PCIe", gpus=1.0, usd_per_hour=3
        ),
        offer(provider="lambda", region="us-east-1", instance_type="l", accelerator="L40S", gpus=0.5, usd_per_hour=0.6),
    ]
)
NAMES = ("A10", "A100-40GB", "A100-80GB", "A10G", "H100-PCIe", "H100-SXM", "L4", "L40", "L40S", "RTX-4090", "T4", "T4g")


def types(wanted: OfferFilter) -> list[str]:
    found = select(BOOK, wanted, accelerators=(accelerator(),), now=EPOCH)
    return [f"{o.provider}/{o.region}/{o.instance_type}/{o.billing.value}" for o in found]


def test_an_empty_filter_shows_everything() -> None:
    assert len(select(BOOK, OfferFilter())) == len(BOOK)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("h100", {"H100-PCIe", "H100-SXM"}),
        ("H100-sxm", {"H100-SXM"}),
        ("A100", {"A100-40GB", "A100-80GB"}),
        ("A10", {"A10"}),
        ("T4", {"T4"}),
        ("L4", {"L4"}),
        ("l40*", {"L40", "L40S"}),
        ("A100 80GB", {"A100-80GB"}),
        ("NVIDIA L40S", {"L40S"}),
        ("rtx", {"RTX-4090"}),
        ("abacus", set()),
        ("", set()),
    ],
)
def test_a_gpu_is_found_by_name_family_glob_and_vendors_spelling(word: str, found: set[str]) -> None:
    assert matching_gpus(word, NAMES) == found


def test_regions_match_region_zone_and_provider_slash_region_with_globs() -> None:
    assert types(OfferFilter(regions=("eu*",))) == [
        "aws/eu-west-1/p5/on-demand",
        "gcp/europe-west4/g2/on-demand",
        "gcp/europe-west4/g2/spot",
    ]
    assert types(OfferFilter(regions=("EU-WEST-1A",))) == ["aws/eu-west-1/p5/on-demand"]
    assert types(OfferFilter(regions=("lambda/us-*",))) == [
        "lambda/us-east-1/h/on-demand",
        "lambda/us-east-1/l/on-demand",
    ]
    assert types(OfferFilter(regions=("*/us-east-1", "nowhere"))) == [
        "aws/us-east-1/p5/on-demand",
        "lambda/us-east-1/h/on-demand",
        "lambda/us-east-1/l/on-demand",
    ]


def test_providers_types_and_billing_narrow_each_other() -> None:
    assert types(OfferFilter(providers=("g*",), billing=(Billing.SPOT,))) == ["gcp/europe-west4/g2/spot"]
    assert types(OfferFilter(providers=("aws",), instance_types=("g*",))) == []


def test_prices_are_per_node_or_per_gpu() -> None:
    assert types(OfferFilter(max_usd_per_hour=0.6)) == ["gcp/europe-west4/g2/spot", "lambda/us-east-1/l/on-demand"]
    assert types(OfferFilter(max_usd_per_gpu_hour=0.7)) == ["gcp/europe-west4/g2/on-demand", "gcp/europe-west4/g2/spot"]


def test_gpus_memory_stock_and_age_are_filters_too() -> None:
    assert len(types(OfferFilter(min_gpus=8))) == 2
    assert types(OfferFilter(min_gpu_memory_gib=80)) == [
        "aws/eu-west-1/p5/on-demand",
        "aws/us-east-1/p5/on-demand",
    ], "devices that the table does not hold do not pass"
    assert "aws/us-east-1/p5/on-demand" not in types(OfferFilter(available_only=True)), "unknown is not in stock"
    assert "aws/eu-west-1/p5/on-demand" not in types(OfferFilter(available_only=True)), "sold out"
    assert "gcp/europe-west4/g2/spot" not in types(OfferFilter(max_age_s=86400.0))
    with pytest.raises(ValueError, match="moment"):
        select(BOOK, OfferFilter(max_age_s=1.0))


def test_the_default_order_is_by_the_price_of_a_whole_gpu() -> None:
    prices = query.usd_per_gpu_hour(BOOK.take(order(BOOK)))
    assert prices.tolist() == sorted(prices.tolist())
    assert prices[2] == pytest.approx(1.2), "half an L40S at $0.60 is a whole one at $1.20"


@pytest.mark.parametrize("by", list(Order))
def test_every_order_shows_every_row_once_and_ties_keep_the_order_of_the_book(by: Order) -> None:
    rows = order(BOOK, by)
    assert sorted(rows.tolist()) == list(range(len(BOOK)))
    assert order(BOOK.take(np.array([0, 0, 0])), by).tolist() == [0, 1, 2]


def test_a_filter_of_no_offers_finds_no_offers() -> None:
    empty = OfferBook.empty()
    assert len(select(empty, OfferFilter(gpus=("H100",), regions=("*",), min_gpus=1))) == 0
    assert order(empty).tolist() == []


def test_a_misspelt_word_is_answered_with_its_neighbours() -> None:
    assert query.suggest("h100-smx", NAMES)[0] == "H100-SXM"
    assert query.suggest("zzzzzz", NAMES) == ()


def test_ages_count_from_now_and_are_never_negative() -> None:
    book = OfferBook.of([offer(), offer(region="x", observed_at=EPOCH + timedelta(hours=5))])
    assert ages.age_s(book, EPOCH + timedelta(hours=1)).tolist() == [3600.0, 0.0]
    assert ages.older_than(book, EPOCH + timedelta(hours=1), 3599.0).tolist() == [True, False]
    assert ages.older_than(book, EPOCH + timedelta(hours=1), 3600.0).tolist() == [False, False]
