"""The continuum as a mixed-integer program: which pools to open, how large, and who goes where."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf, isfinite
from typing import NamedTuple

from orchestrator.domain.offerbook import FloatArray
from orchestrator.planning.continuum.problem import Option, Problem
from orchestrator.planning.milp import Builder, Program

CALM = -1  # the scenario in which no site is lost


class Model(NamedTuple):
    """A program and where its variables stand.

    `nodes[o]` are the variables that add up to the nodes of option o, `flow[(s, o, p)]` is the share of population p
    (of its slice and group) that goes to option o in scenario s.
    """

    program: Program
    nodes: tuple[tuple[int, ...], ...]
    flow: dict[tuple[int, int, int], int]
    cover: dict[tuple[int, int, int, int], int]  # rows by scenario, population, slice and bucket
    stock: dict[int, int]  # rows by column
    budget: int | None

    def nodes_in(self, x: FloatArray, option: int) -> int:
        """Nodes of an option in a solution."""
        return round(sum(float(x[variable]) for variable in self.nodes[option]))

    def flows_in(self, x: FloatArray) -> dict[tuple[int, int, int], float]:
        """Shares above a millionth in a solution."""
        return {key: float(x[variable]) for key, variable in self.flow.items() if x[variable] > 1e-6}


def build(problem: Problem, options: Sequence[Option], *, relaxed: bool = False, known_usd: float = inf) -> Model:
    """The program of `problem` over `options`.

    Capacities are the lines above the curves, so that the least objective of the program is at most that of the
    problem. Relaxed, a pool may be open in part. Solutions that cost more than `known_usd` may be left out.
    """
    builder = Builder()
    scenarios = [CALM, *(sorted({problem.columns[o.column].site for o in options}) if problem.survive else ())]
    flow = _flows(builder, problem, options, scenarios)
    cover = _cover(builder, problem, options, scenarios, flow)
    pools = _Pools(builder, problem, tuple(scenarios), flow)
    added = [pools.add(index, option) for index, option in enumerate(options)]
    nodes = tuple(count for count, _ in added)
    stock = _stock(builder, problem, options, nodes)
    budget = _budget(builder, problem, options, added)
    if not relaxed:
        _sums(builder, problem, options, nodes, known_usd)
    return Model(builder.program(relaxed=relaxed), nodes, flow, cover, stock, budget)


def _flows(
    builder: Builder, problem: Problem, options: Sequence[Option], scenarios: Sequence[int]
) -> dict[tuple[int, int, int], int]:
    flow = {}
    for scenario in scenarios:
        for index, option in enumerate(options):
            site = problem.columns[option.column].site
            if site == scenario:
                continue
            for who in option.allowed:
                if problem.rates[who] > 0.0:
                    usd = latency_usd(problem, option, who) if scenario == CALM else 0.0
                    flow[scenario, index, who] = builder.variable(usd, 1.0)
    return flow


def latency_usd(problem: Problem, option: Option, who: int) -> float:
    """What the round trips of a population's slice and group are worth, all of it going to `option`."""
    usd = problem.sites[problem.columns[option.column].site].latency_usd[who]
    return usd * problem.slices[option.slice].share * problem.groups[option.group].share


def load_of(problem: Problem, option: Option, who: int) -> float:
    """Requests per second of a population's slice and group."""
    return problem.rates[who] * problem.slices[option.slice].share * problem.groups[option.group].share


def _cover(
    builder: Builder,
    problem: Problem,
    options: Sequence[Option],
    scenarios: Sequence[int],
    flow: dict[tuple[int, int, int], int],
) -> dict[tuple[int, int, int, int], int]:
    rows: dict[tuple[int, int, int, int], list[tuple[int, float]]] = {
        (scenario, who, layer, bucket): []
        for scenario in scenarios
        for who, rate in enumerate(problem.rates)
        if rate > 0.0
        for layer in range(len(problem.slices))
        for bucket in range(problem.buckets)
    }
    for (scenario, index, who), variable in flow.items():
        option = options[index]
        for bucket in problem.groups[option.group].buckets:
            rows[scenario, who, option.slice, bucket].append((variable, 1.0))
    return {key: builder.row(terms, 1.0, 1.0) for key, terms in rows.items()}


class _Pools(NamedTuple):
    builder: Builder
    problem: Problem
    scenarios: tuple[int, ...]
    flow: dict[tuple[int, int, int], int]

    def add(self, index: int, option: Option) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The nodes of an option in segments of which one is taken, and which is."""
        builder = self.builder
        carried: list[tuple[int, float]] = []
        opened: list[tuple[int, float]] = []
        nodes = []
        segments = option.curve.segments(option.most)
        for segment in segments:
            count = builder.variable(option.usd, float(segment.high), integer=True)
            taken = builder.variable(option.usd_open, 1.0, integer=True)
            builder.row([(count, 1.0), (taken, -float(segment.low))], lower=0.0)
            builder.row([(count, 1.0), (taken, -float(segment.high))], upper=0.0)
            nodes.append(count)
            opened.append((taken, 1.0))
            carried += [(count, segment.slope), (taken, segment.level)]
        if len(opened) > 1:
            builder.row(opened, upper=1.0)
        for scenario in self.scenarios:
            self._serve(scenario, index, option, carried, opened)
        return tuple(nodes), tuple(variable for variable, _ in opened)

    def _serve(
        self,
        scenario: int,
        index: int,
        option: Option,
        carried: list[tuple[int, float]],
        opened: list[tuple[int, float]],
    ) -> None:
        served = [
            (self.flow[scenario, index, who], load_of(self.problem, option, who))
            for who in option.allowed
            if (scenario, index, who) in self.flow
        ]
        if served:
            self.builder.row([*carried, *((variable, -load) for variable, load in served)], lower=0.0)
        for variable, _ in served:
            # Nobody goes to a pool that is not open: implied, but it proves the bound far sooner.
            self.builder.row([*opened, (variable, -1.0)], lower=0.0)


def _stock(
    builder: Builder, problem: Problem, options: Sequence[Option], nodes: Sequence[tuple[int, ...]]
) -> dict[int, int]:
    held: dict[int, list[tuple[int, float]]] = {}
    for option, variables in zip(options, nodes, strict=True):
        held.setdefault(option.column, []).extend((variable, 1.0) for variable in variables)
    return {column: builder.row(terms, upper=float(problem.columns[column].stock)) for column, terms in held.items()}


def _budget(
    builder: Builder,
    problem: Problem,
    options: Sequence[Option],
    added: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> int | None:
    if not isfinite(problem.budget_usd):
        return None
    bill: list[tuple[int, float]] = []
    for option, (nodes, taken) in zip(options, added, strict=True):
        bill += [(variable, option.money) for variable in nodes]
        bill += [(variable, option.money_open) for variable in taken]
    return builder.row(bill, upper=problem.budget_usd)


def _sums(
    builder: Builder, problem: Problem, options: Sequence[Option], nodes: Sequence[tuple[int, ...]], known_usd: float
) -> None:
    """Nodes by column, by kind and in all as whole numbers to branch on.

    They are implied, but the relaxed program spreads a broken number of nodes over pools that are alike, and only a
    branch on the sum mends that at once. What is known to be affordable limits them; without that limit the solver's
    own simplification would put the sums in their place again.
    """
    sums: dict[tuple[str, str], list[tuple[int, float]]] = {}
    least: dict[tuple[str, str], float] = {}
    for option, variables in zip(options, nodes, strict=True):
        for key in (("column", str(option.column)), ("kind", problem.columns[option.column].kind), ("all", "")):
            sums.setdefault(key, []).extend((variable, 1.0) for variable in variables)
            least[key] = min(least.get(key, inf), option.usd)
    for key, terms in sums.items():
        if len(terms) > 1 and least[key] > 0.0 and isfinite(known_usd):
            most = floor(known_usd / least[key] + 1e-6)
            builder.row([*terms, (builder.variable(0.0, float(most), integer=True), -1.0)], 0.0, 0.0)
