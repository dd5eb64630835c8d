"""The simulated market keeps its books: stock, quotas, prices, reclaims and faults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.machines import End, Phase
from orchestrator.simulation.clouds.market import Market, Purchase, Refusal, Refused
from orchestrator.simulation.clouds.pools import Key, Pool

START = datetime(2026, 11, 21, tzinfo=UTC)
DEMAND = Key("aws", "us-east-1", "us-east-1a", "p5.48xlarge", Billing.ON_DEMAND)
SPOT = DEMAND._replace(billing=Billing.SPOT)


def pool(key: Key, **changes: float) -> Pool:
    facts = {"gpus": 8.0, "vcpus": 192.0, "host_memory_gib": 2048.0, "usd_per_hour": 55.04, "capacity": 4}
    return Pool(key=key, accelerator="H100-SXM", **{**facts, **changes})  # type: ignore[arg-type]


def market(*, seed: int = 1, hazards: bool = False) -> Market:
    spot = pool(SPOT, usd_per_hour=20.0, volatility=0.2, hazard_per_hour=0.2)
    return Market((pool(DEMAND), spot), seed=seed, clock=MarketClock(START), hazards=hazards)


def buy(where: Market, count: int = 1, key: Key = DEMAND, **more: object) -> list[int]:
    purchase = Purchase(key=key, account="me", count=count, **{"least": count, **more})  # type: ignore[arg-type]
    return [machine.serial for machine in where.buy(purchase)]


def test_what_is_bought_is_off_the_market_until_it_is_gone() -> None:
    here = market()
    (first, _, _) = buy(here, 3)
    assert here.available(DEMAND) == 1
    with pytest.raises(Refused) as refused:
        buy(here, 2)
    assert refused.value.why is Refusal.STOCKOUT
    here.end(first)
    assert here.available(DEMAND) == 1
    here.clock.advance(60.0)
    assert here.available(DEMAND) == 2


def test_a_purchase_may_be_met_in_part_where_the_customer_says_so() -> None:
    here = market()
    assert len(buy(here, 6, least=1)) == 4


def test_many_buyers_at_once_get_no_more_than_there_is() -> None:
    here = market()

    def attempt(_: int) -> int:
        try:
            return len(buy(here))
        except Refused:
            return 0

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(12))) == 4


def test_quotas_hold_by_region_and_by_default() -> None:
    here = market()
    here.set_quota("aws", "P", 192.0)
    charges = (("P", "us-east-1", 192.0),)
    buy(here, charges=charges)
    with pytest.raises(Refused) as refused:
        buy(here, charges=charges)
    assert (refused.value.why, refused.value.quota) == (Refusal.QUOTA, "P")
    here.set_quota("aws", "P", 384.0, "us-east-1")
    buy(here, charges=charges)
    assert here.used("aws", "P", "us-east-1") == 384.0
    assert here.limit("aws", "P", "eu-west-1") == 192.0


def test_spot_prices_wander_below_on_demand_and_have_a_past() -> None:
    here, again, other = market(), market(), market(seed=2)
    hours = [START - timedelta(hours=h) for h in range(200)]
    path = [here.price(SPOT, hour) for hour in hours]
    assert path == [again.price(SPOT, hour) for hour in hours]
    assert path != [other.price(SPOT, hour) for hour in hours]
    assert len(set(path)) > 100
    assert all(0 < price <= 0.95 * 55.04 for price in path)
    assert {here.price(DEMAND, hour) for hour in hours} == {55.04}


def test_a_moved_price_leaves_the_past_as_it_was() -> None:
    here = market()
    here.clock.advance(3600.0)
    here.move_prices(2.0, DEMAND.__eq__)
    assert here.price(DEMAND) == 110.08
    assert here.price(DEMAND, START) == 55.04


def test_machines_boot_run_are_warned_and_go() -> None:
    here = market()
    (serial,) = buy(here, key=SPOT)
    phases = []
    for step in (0.0, 600.0):
        here.clock.advance(step)
        machine = here.machine(serial)
        assert machine is not None
        phases.append(machine.phase(here.clock.now()))
    here.end(serial, End.PREEMPTED, notice_s=120.0)
    for step in (60.0, 61.0, 60.0):
        machine = here.machine(serial)
        assert machine is not None
        assert machine.warned(here.clock.now())
        here.clock.advance(step)
        phases.append(here.machine(serial).phase(here.clock.now()))  # type: ignore[union-attr]
    assert phases == [Phase.BOOTING, Phase.RUNNING, Phase.RUNNING, Phase.STOPPING, Phase.GONE]
    assert not here.machine(serial).warned(here.clock.now())  # type: ignore[union-attr]


def test_a_machine_with_a_limit_ends_itself_and_its_bill() -> None:
    here = market()
    (serial,) = buy(here, lifetime_s=3600.0)
    here.clock.advance(7200.0)
    machine = here.machine(serial)
    assert machine is not None
    assert machine.end is End.LIFETIME
    before = here.billed_usd("aws")
    here.clock.advance(7200.0)
    assert here.billed_usd("aws") == before > 55.04


def test_hazards_take_spot_machines_alone() -> None:
    here = market(hazards=True)
    spot, demand = buy(here, 3, key=SPOT), buy(here, 3)
    here.clock.advance(400 * 3600.0)
    now = here.clock.now()
    assert {here.machine(serial).phase(now) for serial in spot} == {Phase.GONE}  # type: ignore[union-attr]
    assert {here.machine(serial).phase(now) for serial in demand} == {Phase.RUNNING}  # type: ignore[union-attr]


def test_faults_strike_as_often_as_they_say_and_where() -> None:
    here = market()
    here.script(Fault(provider="aws", kind=Kind.STOCKOUT, where="us-east-1/*/p5.48xlarge/spot", times=2))
    for _ in range(2):
        with pytest.raises(Refused):
            buy(here, key=SPOT)
    buy(here, key=SPOT)
    here.script(Fault(provider="aws", kind=Kind.PARTIAL))
    with pytest.raises(Refused):
        buy(here, 2)
    assert [line.what for line in here.log()].count("fault stockout") == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("buy"), st.integers(1, 4), st.booleans()),
            st.tuples(st.just("end"), st.integers(1, 20), st.booleans()),
            st.tuples(st.just("wait"), st.integers(0, 7200), st.booleans()),
        ),
        max_size=30,
    )
)
def test_no_order_of_calls_sells_more_than_there_is_or_bills_a_machine_that_is_gone(
    steps: list[tuple[str, int, bool]],
) -> None:
    here = market(hazards=True)
    for what, number, spot in steps:
        key = SPOT if spot else DEMAND
        if what == "buy":
            try:
                buy(here, number, key=key)
            except Refused:
                assert here.available(key) < number
        elif what == "end" and here.machine(number) is not None:
            here.end(number)
        elif what == "wait":
            before = here.billed_usd()
            here.clock.advance(float(number))
            assert here.billed_usd() >= before
        assert 0 <= here.available(DEMAND) <= 4
        assert 0 <= here.available(SPOT) <= 4
    for machine in here.machines("aws"):
        here.end(machine.serial)
    here.clock.advance(3600.0)
    whole = here.billed_usd()
    here.clock.advance(3600.0)
    assert here.billed_usd() == whole
    assert (here.available(DEMAND), here.available(SPOT)) == (4, 4)
