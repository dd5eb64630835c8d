"""Training over more than one site: the exchange, the pace, the cost and the verdict."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log

import pytest

from orchestrator.domain.errors import UserError
from orchestrator.sizing.multisite import (
    DILOCO,
    EXCHANGES,
    INT8,
    STREAMING,
    Exchange,
    Link,
    MultiSite,
    Site,
    equal_sites,
    extra_tokens,
    least_gbit_s,
    ring_bytes,
    ring_s,
    verdict,
)

WIDE = Link(gbit_s=100.0, rtt_s=0.03)
STEPS = 250_000.0


def seventy(count: int = 2, *, link: Link = WIDE, exchange: Exchange = DILOCO, **price: float) -> MultiSite:
    """70B parameters on 2 048 devices that take 700 hours in one place."""
    sites = equal_sites(count, devices=2048, hours_together=700.0, steps=STEPS, **price)
    return verdict(parameters=70e9, steps=STEPS, sites=sites, link=link, exchange=exchange)


@pytest.mark.parametrize(("sync_s", "utilisation"), [(103.0, 0.957), (382.0, 0.856), (469.0, 0.830)])
def test_intellect_1_computed_for_the_published_share_of_its_time(sync_s: float, utilisation: float) -> None:
    # 10B parameters in int8, 100 inner steps in 38 minutes, up to 14 nodes; the link is the one that gives its time.
    share, nodes = 0.8, 14
    gbit_s = ring_bytes(10e9, nodes) * 8e-9 / share / sync_s
    sites = tuple(Site(name=f"node {number}", devices=8, step_s=38 * 60 / 100) for number in range(nodes))
    result = verdict(parameters=10e9, steps=1e5, sites=sites, link=Link(gbit_s=gbit_s, rtt_s=0.0), exchange=INT8)
    assert result.sync_s == pytest.approx(sync_s)
    assert 0.3 < gbit_s < 4.0  # between nodes 0.5 to 4 Gbit/s were reported
    assert 1.0 / (1.0 + result.sync_share) == pytest.approx(utilisation, abs=0.002)


def test_int8_every_hundred_steps_sends_four_hundredths_of_what_gradients_send() -> None:
    gradients = ring_bytes(10e9 * 4.0, 14) * 100  # FP32 gradients at every step
    assert gradients / ring_bytes(10e9 * INT8.bytes_per_parameter, 14) == pytest.approx(400)  # published: 400x


def test_a_ring_sends_twice_its_size_but_for_one_part() -> None:
    assert ring_bytes(8.0, 2) == 8.0
    assert ring_bytes(8.0, 4) == 12.0
    assert ring_s(1e9, 2, Link(gbit_s=8.0, rtt_s=0.5), 1.0) == pytest.approx(1.0 + 0.5)


def test_a_wide_link_costs_little_and_is_worth_it() -> None:
    result = seventy()
    assert result.worth_it
    assert 1.0 < result.slowdown < 1.06
    assert result.why.startswith("Worth it where no one site has the room")
    assert result.speedup == pytest.approx(2.0 / result.slowdown)


def test_a_thin_link_is_not_worth_it_and_the_sentence_says_why() -> None:
    result = seventy(link=Link(gbit_s=0.1, rtt_s=0.06))
    assert not result.worth_it
    assert result.hours > result.hours_alone
    assert result.why.startswith("Not worth it: 2 sites take")
    assert "11.1 Gbit/s between sites" in result.why


def test_less_than_half_of_the_added_speed_is_not_worth_it() -> None:
    result = seventy(link=Link(gbit_s=1.0, rtt_s=0.06))
    assert result.hours < result.hours_alone
    assert not result.worth_it
    assert "so only 24 %" in result.why


def test_hiding_the_exchange_behind_the_steps_takes_a_tenth_of_the_link() -> None:
    thin = Link(gbit_s=1.0, rtt_s=0.06)
    assert seventy(link=thin, exchange=STREAMING).sync_share == 0.0
    assert seventy(link=thin, exchange=INT8).sync_share > 0.5
    assert seventy(exchange=STREAMING).least_gbit_s < seventy(exchange=DILOCO).least_gbit_s / 10


def test_plain_data_parallelism_is_far_slower_over_a_wide_area_link() -> None:
    result = seventy(link=Link(gbit_s=10.0, rtt_s=0.06))
    assert result.hours_data_parallel > 10 * result.hours


def test_plain_data_parallelism_wins_where_the_link_is_that_of_one_site() -> None:
    result = seventy(link=Link(gbit_s=1e6, rtt_s=1e-5))
    assert result.hours_data_parallel == pytest.approx(result.hours_together)
    assert result.hours > result.hours_data_parallel  # low communication takes more tokens


def test_the_least_bandwidth_is_that_of_five_per_cent() -> None:
    needed = least_gbit_s(70e9, 2, 0.06, DILOCO, 10.08)
    assert seventy(link=Link(gbit_s=needed, rtt_s=0.06)).sync_share == pytest.approx(0.05)


def test_round_trips_that_take_longer_than_the_tolerance_leave_no_bandwidth() -> None:
    hasty = Exchange(name="every step", inner_steps=1)
    assert least_gbit_s(1e6, 4, 0.2, hasty, 0.1) == inf
    sites = equal_sites(4, devices=4, hours_together=10.0, steps=360_000.0)
    result = verdict(parameters=1e6, steps=360_000.0, sites=sites, link=Link(gbit_s=1e9, rtt_s=0.2), exchange=hasty)
    assert "No bandwidth" in result.why


def test_the_slowest_site_sets_the_pace() -> None:
    sites = (Site(name="fast", devices=512, step_s=5.0), Site(name="slow", devices=512, step_s=10.0))
    result = verdict(parameters=7e9, steps=1e5, sites=sites, link=WIDE)
    assert result.straggler == pytest.approx(10.0 / (2 / (1 / 5 + 1 / 10)))
    assert result.hours_alone == pytest.approx(1e5 * 10.0 / 3600)  # the fast one does the whole batch in twice its time
    assert not result.worth_it
    assert "waiting for the slowest site 50.0 %" in result.why


def test_a_site_too_slow_to_count_does_not_break_the_arithmetic() -> None:
    sites = (Site(name="fast", devices=512, step_s=1.0), Site(name="dead", devices=1, step_s=1e300))
    assert not verdict(parameters=7e9, steps=1e5, sites=sites, link=WIDE).worth_it


def test_two_sites_lose_no_tokens_to_the_number_of_replicas_and_eight_lose_a_fifth() -> None:
    assert extra_tokens(1, 500) == 0.0
    assert extra_tokens(2, 30) == 0.0
    assert extra_tokens(4, 30) == pytest.approx(0.07)
    assert extra_tokens(8, 30) == pytest.approx(0.21)
    assert extra_tokens(2, 960) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("parameters", "tokens", "loss", "excess", "replicas"),
    [(2.4e9, 48e9, 2.326, 0.003, 4), (10e9, 200e9, 2.090, 0.0029, 4), (2.4e9, 48e9, 2.326, 0.011, 8)],
)
def test_the_tokens_of_more_sites_follow_from_the_published_losses(
    parameters: float, tokens: float, loss: float, excess: float, replicas: int
) -> None:
    # Hoffmann et al. 2022: the data term 410.7/D^0.28 falls by 0.28 of itself for every e-fold of tokens.
    per_e_fold = 0.28 * 410.7 / tokens**0.28
    needed = loss * excess / per_e_fold
    assert extra_tokens(replicas, 30) == pytest.approx(needed, abs=0.025), parameters
    assert log(1 + extra_tokens(replicas, 30)) < needed + 0.02


def test_traffic_and_egress_are_of_every_site_and_every_outer_step() -> None:
    result = seventy(egress_usd_per_gb=0.05)
    outer = STEPS * (1 + result.extra_tokens) / 500
    assert result.outer_traffic_gb == pytest.approx(280.0)  # 70e9 x 4 bytes, one to the other
    assert result.traffic_gb == pytest.approx(2 * 280.0 * outer)
    assert result.egress_usd == pytest.approx(result.traffic_gb * 0.05)


def test_an_unknown_price_of_one_site_makes_the_egress_unknown_and_not_free() -> None:
    sites = (
        Site(name="a", devices=8, step_s=1.0, egress_usd_per_gb=0.0),
        Site(name="b", devices=8, step_s=1.0, egress_usd_per_gb=None),
    )
    assert verdict(parameters=1e9, steps=1e4, sites=sites, link=WIDE).egress_usd is None
    free = tuple(replace(site, egress_usd_per_gb=0.0) for site in sites)
    assert verdict(parameters=1e9, steps=1e4, sites=free, link=WIDE).egress_usd == 0.0


def test_equal_sites_share_devices_and_take_the_whole_steps_time() -> None:
    sites = equal_sites(4, devices=64, hours_together=10.0, steps=36_000.0)
    assert [site.devices for site in sites] == [16] * 4
    assert {site.step_s for site in sites} == {1.0}
    result = verdict(parameters=1e9, steps=36_000.0, sites=sites, link=WIDE)
    assert result.hours_together == pytest.approx(10.0)
    assert result.hours_alone == pytest.approx(40.0)
    assert result.devices == 64


def test_the_named_exchanges_are_those_of_the_papers() -> None:
    assert set(EXCHANGES) == {"diloco", "int8", "streaming"}
    assert (DILOCO.inner_steps, DILOCO.bytes_per_parameter, DILOCO.overlap_steps) == (500, 4.0, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parameters": 0.0}, "parameters"),
        ({"steps": inf}, "optimizer steps"),
        ({"sites": (Site(name="a", devices=8, step_s=1.0),)}, "at least 2"),
        ({"sites": equal_sites(2, devices=8, hours_together=0.0, steps=1.0)}, "step time of site 1"),
        ({"link": Link(gbit_s=0.0, rtt_s=0.0)}, "bandwidth"),
        ({"link": Link(gbit_s=1.0, rtt_s=-1.0)}, "round trip"),
        ({"exchange": Exchange(name="x", inner_steps=0)}, "after 1 step"),
        ({"exchange": Exchange(name="x", bytes_per_parameter=0.0)}, "bytes per parameter"),
        ({"exchange": Exchange(name="x", inner_steps=10, overlap_steps=11)}, "hide behind 11"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_name(change: dict[str, object], said: str) -> None:
    asked: dict[str, object] = {
        "parameters": 7e9,
        "steps": 1e5,
        "sites": equal_sites(2, devices=8, hours_together=1.0, steps=1e5),
        "link": WIDE,
        **change,
    }
    with pytest.raises(UserError, match=said):
        verdict(**asked)  # type: ignore[arg-type]


def test_devices_that_cannot_be_shared_out_evenly_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 3"):
        equal_sites(3, devices=64, hours_together=1.0, steps=1.0)
    with pytest.raises(UserError, match="at least 2"):
        equal_sites(1, devices=64, hours_together=1.0, steps=1.0)
