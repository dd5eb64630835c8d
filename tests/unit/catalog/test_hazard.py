"""Interruption buckets as hazards."""

from __future__ import annotations

from math import exp

import pytest

from orchestrator.catalog import dates, hazard


def test_a_month_under_the_hazard_interrupts_the_share_it_came_from() -> None:
    for bucket, share in enumerate(hazard.MONTHLY_SHARE):
        assert 1 - exp(-hazard.per_hour(bucket) * 730) == pytest.approx(share)


@pytest.mark.parametrize("bucket", [-1, 5])
def test_there_are_five_buckets(bucket: int) -> None:
    with pytest.raises(IndexError):
        hazard.per_hour(bucket)


def test_dates_at_the_end_of_a_name_are_found_and_other_figures_are_not() -> None:
    assert str(dates.named_at_end("karpenter-gcp-2026-08")) == "2026-08-01 00:00:00+00:00"
    assert str(dates.named_at_end("skypilot-2022")) == "2022-01-01 00:00:00+00:00"
    for text in ("50% rule", "catalog v8", "", "x12026", "2026-08 and more"):
        assert dates.named_at_end(text) is None
