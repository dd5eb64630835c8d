"""The stock of an offer says how many nodes can be had, and why not more."""

from __future__ import annotations

import pytest

from orchestrator.domain.offer import Offer
from orchestrator.interfaces.views.offers_view import OffersReport
from orchestrator.interfaces.views.page import Table, text_of
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH


@pytest.mark.parametrize(
    ("available", "quota", "told"),
    [
        (None, None, "unknown"),
        (4, None, "4"),
        (4, 9, "4"),
        (4, 2, "4, quota 2"),
        (None, 2, "quota 2"),
        (None, 0, "quota 0"),
        (0, 9, "sold out"),
    ],
)
def test_stock_and_quota_are_told_as_far_as_they_bind(available: int | None, quota: int | None, told: str) -> None:
    sold = offer(available=available, quota_nodes=quota)
    report = OffersReport(offers=(sold,), matching=1, market=1, now=EPOCH, max_price_age_s=1e9)
    (table,) = [block for block in report.page() if isinstance(block, Table)]
    place = [column.title for column in table.columns].index("nodes")
    assert text_of(table.rows[0][place]) == told


def test_how_long_leases_last_is_a_column_where_any_offer_says_so() -> None:
    def rows(*sold: Offer) -> list[str] | None:
        report = OffersReport(offers=sold, matching=1, market=1, now=EPOCH, max_price_age_s=1e9)
        (table,) = [block for block in report.page() if isinstance(block, Table)]
        titles = [column.title for column in table.columns]
        assert all(len(row) == len(titles) for row in table.rows)
        return [text_of(row[titles.index("ends after")]) for row in table.rows] if "ends after" in titles else None

    assert rows(offer()) is None
    assert rows(offer(max_lease_s=86400.0), offer(region="eu")) == ["24 h", ""]
