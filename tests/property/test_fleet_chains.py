"""Chains and trees of jobs: the cheapest sites are those of an exhaustive search."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.fleet.chain import Link, cheapest, cost, marginals

SITES = 3


@st.composite
def graphs(draw: st.DrawFn, *, rings: bool) -> tuple[np.ndarray, list[Link]]:
    jobs = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    usd = np.where(rng.random((jobs, SITES)) < 0.2, np.inf, rng.integers(0, 40, (jobs, SITES)).astype(float))
    usd[np.arange(jobs), rng.integers(0, SITES, jobs)] = 7.0
    pairs = [(draw(st.integers(0, job - 1)), job) for job in range(1, jobs) if draw(st.booleans())]
    if rings and jobs > 2:
        pairs += [(0, 1), (1, 2), (0, 2)]
    links = []
    for first, then in dict.fromkeys(pairs):
        table = rng.integers(0, 30, (SITES, SITES)).astype(float)
        np.fill_diagonal(table, 0.0)
        links.append(Link(first, then, table) if draw(st.booleans()) else Link(then, first, table))
    return usd, links


def exhausted(usd: np.ndarray, links: list[Link]) -> float:
    return min(cost(usd, links, np.array(sites)) for sites in product(range(SITES), repeat=len(usd)))


@given(graphs(rings=False))
def test_without_rings_the_sites_are_the_optimum(graph: tuple[np.ndarray, list[Link]]) -> None:
    found = cheapest(*graph)
    assert found.usd == cost(*graph, found.site)
    assert np.isclose(found.usd, exhausted(*graph))
    assert found.bound_usd == found.usd


@given(graphs(rings=True))
def test_with_rings_the_bound_is_below_the_optimum_and_the_answer_is_what_its_sites_cost(
    graph: tuple[np.ndarray, list[Link]],
) -> None:
    found = cheapest(*graph)
    best = exhausted(*graph)
    assert found.bound_usd <= best + 1e-9
    assert best <= found.usd + 1e-9
    assert np.isclose(found.usd, cost(*graph, found.site))


@settings(deadline=None, max_examples=50)
@given(graphs(rings=False))
def test_a_marginal_is_the_optimum_with_one_job_held_where_it_is(graph: tuple[np.ndarray, list[Link]]) -> None:
    usd, links = graph
    found = marginals(usd, links)
    linked = _reached(len(usd), links)
    for job in range(len(usd)):
        others = [other for other in range(len(usd)) if other not in linked[job]]
        for site in range(SITES):
            held = usd.copy()
            held[job] = np.where(np.arange(SITES) == site, usd[job], np.inf)
            held[others] = 0.0
            assert np.isclose(found[job, site], exhausted(held, links))


def _reached(jobs: int, links: list[Link]) -> list[set[int]]:
    group = [{job} for job in range(jobs)]
    for link in links:
        joined = group[link.first] | group[link.then]
        for job in joined:
            group[job] = joined
    return group
