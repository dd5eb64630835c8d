from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Billing
from orchestrator.domain.records import dump_lease, load_lease
from orchestrator.testing import builders as build

MOMENTS = st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001
ENDPOINTS = st.builds(
    Endpoint,
    launcher=st.text(),
    address=st.text(),
    port=st.integers(0, 65535),
    path=st.text(),
    env=st.lists(st.tuples(st.text(), st.text())).map(tuple),
)
OFFERS = st.builds(
    build.offer,
    region=st.text(),
    billing=st.sampled_from(Billing),
    available=st.none() | st.integers(0, 9),
    interruption_rate=st.none() | st.floats(0, 1),
    usd_per_hour=st.floats(0, 1e6),
    observed_at=MOMENTS,
)
LEASES = st.builds(
    build.lease,
    id=st.text(),
    token=st.text(),
    offer=OFFERS,
    state=st.sampled_from(LeaseState),
    acquired_at=MOMENTS,
    endpoints=st.lists(ENDPOINTS, max_size=3).map(tuple),
)


@given(LEASES)
def test_a_lease_comes_back_exactly(lease: Lease) -> None:
    assert load_lease(dump_lease(lease)) == lease


@given(LEASES, st.data())
def test_a_record_cut_short_anywhere_is_refused(lease: Lease, data: st.DataObject) -> None:
    text = dump_lease(lease)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError, match=r".*"):
        load_lease(text[:cut])


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "7", '{"id": "x"}', b"\xff\xfe"])
def test_what_is_no_lease_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        load_lease(text)
