from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.errors import CapacityError, ConfigError, LeaseNotFound, MissingCredentials, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.testing.clock import EPOCH, FakeClock
from providers.simulated.provider import SimulatedProvider, create


class Market:
    """A provider as its factory makes it, on a clock of our own."""

    def __init__(self, folder: Path, *faults: dict[str, object], **settings: Any) -> None:
        self.clock = FakeClock()
        self._context = ProviderContext(
            owner="me",
            settings={**settings, "faults": list(faults)} if faults else settings,
            secret=_no_secret,
            clock=self.clock,
            state_dir=folder,
        )
        self.provider = self.again()

    def again(self) -> SimulatedProvider:
        provider = create(self._context)
        assert isinstance(provider, SimulatedProvider)
        return provider

    def offer(self, region: str = "sim-west", billing: Billing = Billing.ON_DEMAND) -> Offer:
        return next(o for o in self.provider.offers() if (o.region, o.billing) == (region, billing))

    def buy(self, token: str = "t", nodes: int = 1, lifetime_s: float | None = None, **which: Any) -> Lease:  # noqa: S107
        boot = Boot(lifetime_s=lifetime_s)
        return self.provider.acquire(self.offer(**which), nodes, token=token, boot=boot)

    def state(self) -> list[LeaseState]:
        return [lease.state for lease in self.provider.leases()]


def _no_secret(reference: str) -> Secret:
    raise MissingCredentials(reference)


def test_a_machine_boots_and_is_ready_with_a_folder_per_node(tmp_path: Path) -> None:
    market = Market(tmp_path)
    lease = market.buy(nodes=2)
    assert (lease.state, lease.endpoints) == (LeaseState.BOOTING, ())
    market.clock.advance(3)
    (ready,) = market.provider.leases()
    assert ready.state is LeaseState.READY
    assert [Path(point.path).is_dir() for point in ready.endpoints] == [True, True]
    assert {point.launcher for point in ready.endpoints} == {"process"}
    assert str(tmp_path) in ready.endpoints[0].path


def test_a_lease_keeps_the_price_it_was_bought_at(tmp_path: Path) -> None:
    market = Market(tmp_path)
    lease = market.buy(billing=Billing.SPOT)
    market.clock.advance(86400 / 4)
    assert market.offer(billing=Billing.SPOT).usd_per_hour != lease.offer.usd_per_hour
    assert market.provider.leases()[0].usd_per_hour == lease.usd_per_hour


def test_a_scripted_reclaim_is_announced_comes_and_leaves_its_mark(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "reclaim", "after_s": 100, "notice_s": 30, "region": "sim-west"})
    market.buy()
    market.clock.advance(3)
    (lease,) = market.provider.leases()
    mark = Path(lease.endpoints[0].path) / "reclaimed"
    market.clock.advance(66)
    assert (market.state(), market.provider.reclaims()) == ([LeaseState.READY], [])
    market.clock.advance(4)
    (notice,) = market.provider.reclaims()
    assert notice.lease_id == lease.id
    assert timedelta(0) < notice.at - market.clock.now() <= timedelta(seconds=30)
    assert market.state() == [LeaseState.RECLAIMING]
    assert not mark.exists()
    market.clock.advance(30)
    assert (market.state(), market.provider.reclaims()) == ([], [])
    assert mark.exists()
    with pytest.raises(LeaseNotFound):
        market.provider.release(lease.id)


def test_a_reclaim_strikes_as_often_as_it_is_told_and_only_where_it_matches(tmp_path: Path) -> None:
    fault = {"kind": "reclaim", "after_s": 10, "notice_s": 5, "region": "sim-w*", "times": 2}
    market = Market(tmp_path, fault)
    market.buy("other", region="sim-east")
    market.buy("first")
    market.buy("second")
    market.buy("third")
    market.clock.advance(3600)
    assert [lease.token for lease in market.again().leases()] == ["other", "third"]


def test_two_faults_that_read_the_same_strike_once_each(tmp_path: Path) -> None:
    fault: dict[str, object] = {"kind": "reclaim", "after_s": 10}
    market = Market(tmp_path, fault, fault)
    market.buy("a")
    market.buy("b")
    market.buy("c")
    market.clock.advance(60)
    assert [lease.token for lease in market.provider.leases()] == ["c"]


def test_the_market_itself_takes_spot_machines_back_with_notice_and_others_never(tmp_path: Path) -> None:
    market = Market(tmp_path, notice_s=120)
    market.buy("spot", billing=Billing.SPOT)
    market.buy("steady")
    for _ in range(100_000):
        if market.provider.reclaims():
            break
        market.clock.advance(60)
    assert [lease.state for lease in market.provider.leases()] == [LeaseState.RECLAIMING, LeaseState.READY]
    market.clock.advance(120)
    assert [lease.token for lease in market.provider.leases()] == ["steady"]


def test_a_machine_ends_itself_after_its_lifetime_without_notice(tmp_path: Path) -> None:
    market = Market(tmp_path)
    market.buy(lifetime_s=600.0)
    market.clock.advance(599)
    assert (market.state(), market.provider.reclaims()) == ([LeaseState.READY], [])
    market.clock.advance(1)
    assert market.state() == []


def test_a_stock_out_lasts_as_long_as_it_is_told_and_lists_none(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "stockout", "region": "sim-west", "after_s": 60, "for_s": 60})
    market.provider.offers()  # the market opens
    held = market.buy("before")
    market.clock.advance(60)
    assert market.offer().available == 0
    assert market.offer(region="sim-east").available == 4
    with pytest.raises(CapacityError, match="0 of 1"):
        market.buy("during")
    assert market.buy("before").id == held.id
    market.clock.advance(60)
    assert market.offer().available == 3


def test_a_stock_out_with_times_is_seen_only_by_those_who_buy(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "stockout", "times": 2})
    for token in ("a", "b"):
        assert market.offer().available == 4
        with pytest.raises(CapacityError, match="has just been sold out"):
            market.again().acquire(market.offer(), 1, token=token, boot=Boot())
    assert market.buy("a").token == "a"


def test_a_lost_answer_has_bought_and_the_token_finds_it(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "lost-response"})
    with pytest.raises(TransientError, match="lost"):
        market.buy("a")
    (held,) = market.again().leases()
    assert market.buy("a").id == held.id
    assert market.offer().available == 3


def test_a_lost_answer_to_a_release_has_released(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "lost-response", "verb": "release"})
    lease = market.buy()
    with pytest.raises(TransientError):
        market.provider.release(lease.id)
    with pytest.raises(LeaseNotFound):
        market.provider.release(lease.id)


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("offers", lambda market: market.provider.offers()),
        ("leases", lambda market: market.provider.leases()),
        ("any", lambda market: market.provider.leases()),
    ],
)
def test_a_throttled_call_says_when_to_come_again(tmp_path: Path, verb: str, call: Callable[[Market], object]) -> None:
    market = Market(tmp_path, {"kind": "throttle", "verb": verb, "times": 1, "delay_s": 7})
    with pytest.raises(TransientError) as caught:
        call(market)
    assert caught.value.retry_after_s == 7
    call(market)


def test_throttling_lasts_for_its_window_and_a_throttled_purchase_buys_nothing(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "throttle", "for_s": 30})
    for _ in range(3):
        with pytest.raises(TransientError):
            market.buy()
    assert market.state() == []
    market.clock.advance(30)
    assert market.buy()


def test_a_new_lease_can_hide_for_a_while(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "hide", "for_s": 40})
    lease = market.buy()
    market.clock.advance(39)
    assert market.state() == []
    market.clock.advance(1)
    assert [held.id for held in market.provider.leases()] == [lease.id]


def test_a_boot_can_be_slow(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "slow-boot", "delay_s": 100})
    market.buy()
    market.clock.advance(100)
    assert market.state() == [LeaseState.BOOTING]
    market.clock.advance(5)
    assert market.state() == [LeaseState.READY]


def test_calls_block_in_real_seconds_before_and_after_they_work(tmp_path: Path) -> None:
    faults = ({"kind": "slow", "delay_s": 3}, {"kind": "slow-answer", "delay_s": 5})
    market = Market(tmp_path, *faults, time_scale=60, delays={"acquire": 2, "release": 0.5, "leases": 1, "offers": 10})
    offer = market.offer()
    assert market.clock.slept_s == 10
    lease = market.provider.acquire(offer, 1, token="t", boot=Boot())
    assert market.clock.slept_s == 20
    assert lease.acquired_at == EPOCH + timedelta(seconds=15)  # bought after the slow start, before the slow answer
    market.provider.release(lease.id)
    market.provider.leases()
    assert market.clock.slept_s == 21.5


def test_a_release_takes_its_time_and_the_lease_shows_it(tmp_path: Path) -> None:
    market = Market(tmp_path, release_s=30)
    lease = market.buy()
    market.provider.release(lease.id)
    market.provider.release(lease.id)
    assert market.state() == [LeaseState.RELEASING]
    assert market.offer().available == 3
    market.clock.advance(30)
    assert market.offer().available == 4
    with pytest.raises(LeaseNotFound):
        market.provider.release(lease.id)


def test_the_market_runs_faster_than_the_clock_by_the_time_scale(tmp_path: Path) -> None:
    market = Market(tmp_path, {"kind": "reclaim", "after_s": 3600, "notice_s": 600}, time_scale=60)
    market.buy()
    market.clock.advance(1)
    assert market.state() == [LeaseState.READY]
    market.clock.advance(50)
    assert market.state() == [LeaseState.RECLAIMING]
    market.clock.advance(10)
    assert market.state() == []


def test_the_world_market_sells_gpus_whose_machines_are_folders_here(tmp_path: Path) -> None:
    market = Market(tmp_path, market="world", seed=3)
    offer = next(offer for offer in market.provider.offers() if offer.accelerator == "L4" and offer.available)
    market.provider.acquire(offer, 1, token="t", boot=Boot())
    market.clock.advance(1000)
    assert Path(market.provider.leases()[0].endpoints[0].path).is_dir()


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to be taken for one" * 40])
def test_books_that_cannot_be_read_are_named_with_a_remedy(tmp_path: Path, damage: bytes) -> None:
    market = Market(tmp_path)
    market.buy()
    (tmp_path / "market.db").write_bytes(damage)
    if not damage:  # an empty file is an empty database: a market that was opened a moment ago
        assert market.state() == []
        return
    with pytest.raises(TransientError, match=r"market\.db: .*; see that the disk is writable and not full"):
        market.provider.leases()


def test_a_state_folder_that_went_away_is_a_transient_error(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="unable to open"):
        Market(tmp_path / "gone").provider.offers()


def test_a_lease_of_no_nodes_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one node"):
        Market(tmp_path).buy(nodes=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "providers.simulated: unknown setting 'sed' (did you mean 'seed'?)"),
        ({"market": "deom"}, "did you mean 'demo'"),
        ({"time_scale": 0}, "time_scale is above 0"),
        ({"release_s": -1}, "release_s is at least 0"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"faults": {}}, "faults is a list of tables"),
        ({"faults": [3]}, "faults[1] is a table, not 3"),
        ({"faults": [{"region": "x"}]}, "faults[1] needs a kind: one of stockout, reclaim"),
        ({"faults": [{"kind": "reclam"}]}, "providers.simulated.faults[1].kind is one of"),
        ({"faults": [{"kind": "reclam"}]}, "did you mean 'reclaim'"),
        ({"faults": [{"kind": "slow", "dealy_s": 1}]}, "did you mean 'delay_s'"),
        ({"faults": [{"kind": "slow", "delay_s": -1}]}, "delay_s is at least 0"),
        ({"faults": [{"kind": "hide", "for_s": 61}]}, "a lease can hide for_s above 0 and at most 60 s, not 61"),
        ({"faults": [{"kind": "hide"}]}, "a lease can hide for_s above 0"),
        ({"delays": {"aquire": 1}}, "did you mean 'acquire'"),
        ({"delays": {"acquire": -1}}, "acquire is at least 0"),
        ({"delays": 3}, "providers.simulated.delays is a table"),
    ],
)
def test_a_bad_setting_of_the_market_is_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Market(tmp_path, **settings)
    assert message in str(caught.value)
