"""A fast start: populations one after the other to the pool where they cost least more, then moved while that pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from orchestrator.planning.continuum.model import CALM, latency_usd, load_of
from orchestrator.planning.continuum.problem import Option, Problem
from orchestrator.planning.continuum.solution import Solution, evaluate

PASSES = 6
MOST_PARTITIONS = 16


class Unit(NamedTuple):
    """What is placed as one: a population's slice, of the requests of one set of size classes."""

    who: int
    slice: int
    buckets: tuple[int, ...]


def greedy(problem: Problem, options: Sequence[Option]) -> Solution | None:
    """The best of what every way to group the size classes leads to; None where none serves everybody."""
    found = [_Search(problem, options).run(partition) for partition in _partitions(problem.buckets)]
    solved = [one for one in found if one is not None]
    return min(solved, key=lambda one: one.usd) if solved else None


def _partitions(buckets: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Ways to cut the size classes into runs of neighbours, few cuts first."""
    count = 0
    for cuts in range(buckets):
        for places in combinations(range(1, buckets), cuts):
            edges = (0, *places, buckets)
            yield tuple(tuple(range(a, b)) for a, b in pairwise(edges))
            count += 1
            if count == MOST_PARTITIONS:
                return


class _Search:
    """Nodes and loads of the pools so far, in one scenario after the other."""

    def __init__(self, problem: Problem, options: Sequence[Option]) -> None:
        self._problem, self._options = problem, options
        self._by_unit: dict[tuple[int, tuple[int, ...], int], list[int]] = {}
        for index, option in enumerate(options):
            buckets = problem.groups[option.group].buckets
            for who in option.allowed:
                self._by_unit.setdefault((option.slice, buckets, who), []).append(index)
        self._floor: dict[int, int] = {}  # nodes that are there already for another scenario
        self._load: dict[int, float] = {}
        self._flow: dict[tuple[int, int], float] = {}
        self._parts: dict[Unit, list[tuple[int, float]]] = {}

    def run(self, partition: tuple[tuple[int, ...], ...]) -> Solution | None:
        problem = self._problem
        units = [
            Unit(who, layer, buckets)
            for who in sorted(range(len(problem.rates)), key=lambda who: (-problem.rates[who], who))
            if problem.rates[who] > 0.0
            for layer in range(len(problem.slices))
            for buckets in partition
        ]
        self._floor = {}
        flow: dict[tuple[int, int, int], float] = {}
        lost = sorted({problem.columns[option.column].site for option in self._options}) if problem.survive else []
        for scenario in (CALM, *lost):
            self._load, self._parts = {}, {}
            if not all(self._place(unit, scenario) for unit in units):
                return None
            self._improve(units, scenario)
            for unit, parts in self._parts.items():
                for index, share in parts:
                    flow[scenario, index, unit.who] = flow.get((scenario, index, unit.who), 0.0) + share
            for index, load in self._load.items():
                self._floor[index] = max(self._floor.get(index, 0), self._nodes(index, load) or 0)
        return evaluate(problem, self._options, flow)

    def _nodes(self, index: int, load: float) -> int | None:
        option = self._options[index]
        if load <= 1e-12:
            return 0
        return option.curve.need(load, self._problem.columns[option.column].stock)

    def _held(self, index: int) -> int:
        return max(self._floor.get(index, 0), self._nodes(index, self._load.get(index, 0.0)) or 0)

    def _spare(self, index: int) -> int:
        """Nodes that the pool may have: what other pools of its column leave."""
        column = self._options[index].column
        others = (i for i in {**self._load, **self._floor} if i != index and self._options[i].column == column)
        return self._problem.columns[column].stock - sum(self._held(i) for i in others)

    def _more(self, index: int, unit: Unit, share: float) -> float | None:
        """USD that it costs to add `share` of the unit to a pool; None where it does not fit."""
        option = self._options[index]
        before = self._held(index)
        after = self._nodes(index, self._load.get(index, 0.0) + share * load_of(self._problem, option, unit.who))
        if after is None:
            return None
        after = max(after, self._floor.get(index, 0))
        if after > self._spare(index):
            return None
        opening = option.usd_open if after and not before else 0.0
        return (after - before) * option.usd + opening + share * latency_usd(self._problem, option, unit.who)

    def _choices(self, unit: Unit, scenario: int) -> list[int]:
        indices = self._by_unit.get((unit.slice, unit.buckets, unit.who), ())
        columns = self._problem.columns
        return [index for index in indices if columns[self._options[index].column].site != scenario]

    def _place(self, unit: Unit, scenario: int, but: int | None = None) -> bool:
        """Put the whole unit where it costs least more; where it fits nowhere as a whole, in parts."""
        choices = [index for index in self._choices(unit, scenario) if index != but]
        priced = [(usd, index) for index in choices if (usd := self._more(index, unit, 1.0)) is not None]
        if priced:
            self._put(unit, min(priced)[1], 1.0)
            return True
        left = 1.0
        for _, index in sorted((self._each(index), index) for index in choices):
            option = self._options[index]
            room = option.curve.rate(max(0, self._spare(index))) - self._load.get(index, 0.0)
            share = min(left, room / load_of(self._problem, option, unit.who))
            if share > 1e-9:
                self._put(unit, index, share)
                left -= share
            if left <= 1e-9:
                return True
        return False

    def _each(self, index: int) -> float:
        option = self._options[index]
        return option.usd / max(option.curve.rate(min(16, option.most)) / min(16, option.most), 1e-12)

    def _put(self, unit: Unit, index: int, share: float) -> None:
        load = share * load_of(self._problem, self._options[index], unit.who)
        self._load[index] = self._load.get(index, 0.0) + load
        self._parts.setdefault(unit, []).append((index, share))

    def _take(self, unit: Unit) -> list[tuple[int, float]]:
        parts = self._parts.pop(unit, [])
        for index, share in parts:
            self._load[index] -= share * load_of(self._problem, self._options[index], unit.who)
        return parts

    def _usd(self) -> float:
        nodes = {index: self._held(index) for index in {**self._load, **self._floor}}
        usd = sum(self._options[i].usd * n + self._options[i].usd_open for i, n in sorted(nodes.items()) if n)
        return usd + sum(
            share * latency_usd(self._problem, self._options[index], unit.who)
            for unit, parts in self._parts.items()
            for index, share in parts
        )

    def _improve(self, units: list[Unit], scenario: int) -> None:
        """Move single units, and close whole pools, while that pays."""
        for _ in range(PASSES):
            before = self._usd()
            for unit in units:
                self._try([unit], scenario, None)
            for index in sorted(index for index, load in self._load.items() if load > 1e-12):
                self._try([unit for unit in units if any(i == index for i, _ in self._parts[unit])], scenario, index)
            if self._usd() >= before * (1.0 - 1e-9):
                return

    def _try(self, units: list[Unit], scenario: int, but: int | None) -> None:
        before, taken = self._usd(), {}
        for unit in units:
            taken[unit] = self._take(unit)
        if all(self._place(unit, scenario, but) for unit in units) and self._usd() < before - 1e-9:
            return
        for unit in units:
            self._take(unit)
        for unit, parts in taken.items():
            for index, share in parts:
                self._put(unit, index, share)
