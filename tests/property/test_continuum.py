"""Plans over the continuum: everybody is served, no stock, rate or limit is broken, and the bound is one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.planning.autoscale.queueing import kept
from orchestrator.planning.continuum.generate import CHAT, ONE, Case, generate
from orchestrator.planning.continuum.plan import choose, unserved
from orchestrator.planning.continuum.problem import left_s, options

CASES = st.builds(
    Case,
    sites=st.integers(1, 5),
    kinds=st.integers(1, 3),
    populations=st.integers(1, 4),
    rate=st.floats(0.5, 40.0),
    setting=st.sampled_from((ONE, CHAT)),
    first_token_s=st.sampled_from((0.6, 1.0, 2.0)),
    slope_usd_per_ms=st.sampled_from((0.0, 10.0)),
    scarce=st.sampled_from((0.0, 0.6)),
    peak_over_mean=st.sampled_from((1.0, 2.5)),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CASES, st.integers(0, 10_000))
def test_a_plan_serves_everybody_within_stock_rate_and_limit(case: Case, seed: int) -> None:
    problem = generate(case, seed)
    pools = options(problem)
    if unserved(problem, pools):
        return
    chosen = choose(problem, pools)
    solution = chosen.found.solution
    if solution is None:
        return
    served: dict[tuple[int, int, int], float] = {}
    for (_, index, who), share in solution.flow.items():
        option = pools[index]
        engine = problem.engines[problem.columns[option.column].kind, option.group]
        site = problem.sites[problem.columns[option.column].site]
        assert option.curve.promise.first_token_s <= left_s(problem, site, who, engine) * (1 + 1e-9)
        for bucket in problem.groups[option.group].buckets:
            key = (who, option.slice, bucket)
            served[key] = served.get(key, 0.0) + share
    assert all(total == pytest.approx(1.0, abs=1e-4) for total in served.values())
    assert len(served) == len(problem.rates) * len(problem.slices) * problem.buckets
    held: dict[int, int] = {}
    for index, count in solution.nodes.items():
        option = pools[index]
        held[option.column] = held.get(option.column, 0) + count
        load, curve = solution.load(problem, pools, index), option.curve
        if load > 1e-6:
            within = curve.promise.first_token_s
            assert kept(within, load, count * curve.per_node, curve.replica, curve.mix) >= problem.percentile - 1e-3
    assert all(count <= problem.columns[column].stock for column, count in held.items())
    assert chosen.found.bound <= solution.usd * (1 + 1e-9)
    assert all(one.usd is None or solution.usd <= one.usd * (1 + 1e-9) for one in chosen.alternatives)
