"""What holds for every job: goodput is a share, failures and slow links never help, and sites add up."""

from __future__ import annotations

from math import exp, isclose

from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.sizing import goodput
from orchestrator.sizing.energy import co2_kg, it_watts
from orchestrator.sizing.multisite import Exchange, Link, Site, least_gbit_s, verdict

seconds = st.floats(-3.0, 7.0).map(lambda exponent: 10.0**exponent)
devices = st.integers(1, 200_000)
sizes = st.floats(6.0, 12.3).map(lambda exponent: 10.0**exponent)


def best_interval_s(blocked: float, mtbf: float) -> float:
    """Where the derivative of the goodput is 0: e^((t + d)/M)·(1 - t/M) = 1, by halving."""
    low, high = 0.0, mtbf
    for _ in range(200):
        middle = (low + high) / 2.0
        if exp((middle + blocked) / mtbf) * (1.0 - middle / mtbf) > 1.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


@given(interval=seconds, blocked=seconds, restart=seconds, mtbf=seconds)
def test_goodput_is_a_share_above_nothing(interval: float, blocked: float, restart: float, mtbf: float) -> None:
    assert 0.0 < goodput.goodput(interval, blocked, restart, mtbf) <= 1.0


@given(interval=seconds, blocked=seconds, restart=seconds, mtbf=seconds, factor=st.floats(1.0, 100.0))
def test_goodput_never_rises_with_failures_checkpoints_or_restarts(
    interval: float, blocked: float, restart: float, mtbf: float, factor: float
) -> None:
    base = goodput.goodput(interval, blocked, restart, mtbf) * (1.0 + 1e-9)
    assert goodput.goodput(interval, blocked, restart, mtbf / factor) <= base
    assert goodput.goodput(interval, blocked * factor, restart, mtbf) <= base
    assert goodput.goodput(interval, blocked, restart * factor, mtbf) <= base


@given(mtbf=seconds, share=st.floats(1e-6, 0.5), restart=st.floats(0.0, 2.0))
def test_dalys_interval_is_within_a_hundredth_of_the_best(mtbf: float, share: float, restart: float) -> None:
    blocked = share * mtbf
    best = goodput.goodput(best_interval_s(blocked, mtbf), blocked, restart * mtbf, mtbf)
    dalys = goodput.goodput(goodput.daly_interval_s(blocked, mtbf), blocked, restart * mtbf, mtbf)
    assert best * 0.99 <= dalys <= best * (1.0 + 1e-9)


@given(mtbf=seconds, share=st.floats(1e-6, 0.5), factor=st.floats(0.01, 100.0))
def test_no_other_interval_beats_dalys_by_a_hundredth(mtbf: float, share: float, factor: float) -> None:
    interval = goodput.daly_interval_s(share * mtbf, mtbf)
    other = goodput.goodput(interval * factor, share * mtbf, 0.0, mtbf)
    assert other <= goodput.goodput(interval, share * mtbf, 0.0, mtbf) * 1.01


@given(blocked=seconds, mtbf=seconds)
def test_dalys_interval_is_a_time_and_never_beyond_the_mtbf(blocked: float, mtbf: float) -> None:
    assert 0.0 < goodput.daly_interval_s(blocked, mtbf) <= mtbf * (1.0 + 1e-9)


@given(parameters=sizes, few=devices, more=devices, per_node=st.sampled_from((1, 2, 4, 8, 16, 72)))
def test_more_devices_never_fail_less_often(parameters: float, few: int, more: int, per_node: int) -> None:
    assume(few <= more)
    assert goodput.mtbf_s(more, per_node) <= goodput.mtbf_s(few, per_node) * (1.0 + 1e-9)
    answer = goodput.checkpointing(parameters=parameters, devices=more, devices_per_node=per_node)
    assert 0.0 < answer.goodput <= 1.0
    assert answer.interval_s > 0
    assert answer.gb_per_s > 0


@given(parameters=sizes, n=devices, slow=st.floats(0.1, 1e4), factor=st.floats(1.0, 1e3))
def test_faster_storage_never_lowers_the_goodput(parameters: float, n: int, slow: float, factor: float) -> None:
    def share(gb_per_s: float) -> float:
        return goodput.checkpointing(parameters=parameters, devices=n, storage_gb_per_s=gb_per_s).goodput

    assert share(slow) <= share(slow * factor) * 1.0001  # Daly's interval is not exactly the best


@given(tdp=st.floats(1.0, 5000.0), share=st.floats(0.0, 1.0), kwh=st.floats(0.0, 1e9), g=st.floats(0.0, 1000.0))
def test_power_and_carbon_grow_with_what_they_are_made_of(tdp: float, share: float, kwh: float, g: float) -> None:
    assert it_watts(tdp, share) >= tdp * share
    assert it_watts(tdp * 2, share) <= 2 * it_watts(tdp, share)  # the host is there once
    assert co2_kg(kwh, g) <= kwh


steps_s = st.floats(0.05, 60.0)
exchanges = st.builds(
    lambda inner, width, hidden: Exchange(
        name="x", inner_steps=inner, bytes_per_parameter=width, overlap_steps=round(inner * hidden)
    ),
    st.integers(1, 2000),
    st.sampled_from((0.5, 1.0, 2.0, 4.0)),
    st.floats(0.0, 1.0),
)
links = st.builds(Link, gbit_s=st.floats(0.01, 1000.0), rtt_s=st.floats(0.0, 0.5))
sites = st.lists(steps_s, min_size=2, max_size=8).map(
    lambda paces: tuple(Site(name=f"s{n}", devices=8, step_s=pace) for n, pace in enumerate(paces))
)


@given(parameters=sizes, sites=sites, link=links, exchange=exchanges)
def test_several_sites_are_never_faster_than_the_same_devices_in_one_place(
    parameters: float, sites: tuple[Site, ...], link: Link, exchange: Exchange
) -> None:
    result = verdict(parameters=parameters, steps=1e5, sites=sites, link=link, exchange=exchange)
    assert result.slowdown >= 1.0 - 1e-9
    assert result.hours_together <= min(result.hours_alone, result.hours_data_parallel) * (1.0 + 1e-9)
    assert isclose(
        result.slowdown,
        result.straggler * (1.0 + result.sync_share) * (1.0 + result.extra_tokens),
        rel_tol=1e-9,
    )
    assert not result.worth_it or result.hours < result.hours_alone


@given(parameters=sizes, sites=sites, link=links, exchange=exchanges, factor=st.floats(1.0, 100.0))
def test_a_wider_or_shorter_link_never_slows_a_job(
    parameters: float, sites: tuple[Site, ...], link: Link, exchange: Exchange, factor: float
) -> None:
    def hours(of: Link) -> float:
        return verdict(parameters=parameters, steps=1e5, sites=sites, link=of, exchange=exchange).hours

    base = hours(link) * (1.0 + 1e-9)
    assert hours(Link(gbit_s=link.gbit_s * factor, rtt_s=link.rtt_s)) <= base
    assert hours(Link(gbit_s=link.gbit_s, rtt_s=link.rtt_s / factor)) <= base


@given(parameters=sizes, n=st.integers(2, 8), rtt=st.floats(0.0, 0.5), exchange=exchanges, pace=steps_s)
def test_the_least_bandwidth_keeps_the_wait_at_a_twentieth(
    parameters: float, n: int, rtt: float, exchange: Exchange, pace: float
) -> None:
    needed = least_gbit_s(parameters, n, rtt, exchange, pace)
    assume(1e-9 < needed < 1e9)
    alike = tuple(Site(name=f"s{k}", devices=8, step_s=pace) for k in range(n))
    result = verdict(
        parameters=parameters, steps=1e5, sites=alike, link=Link(gbit_s=needed, rtt_s=rtt), exchange=exchange
    )
    assert isclose(result.sync_share, 0.05, rel_tol=1e-6, abs_tol=1e-9)
