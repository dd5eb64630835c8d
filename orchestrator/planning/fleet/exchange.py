"""Local search by ejection chains: a job moves in, whom it pushes out moves on, until somebody finds free room.

Chains are found for all jobs at once, level by level as Bellman and Ford find shortest paths: what a job pays to land
somewhere is the option's cost plus, where the offer is full, the least anybody there pays to move on (Yagiura, Ibaraki
and Glover's ejection chains for the generalised assignment problem, INFORMS J. on Computing 16 (2004) 133-151, without
their tabu list).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray
from orchestrator.planning.fleet.state import State

WAVES = 8  # of chains with no offer in common, in a round
EPSILON = 1e-7  # of the cost of a placement: chains that gain less are not worth their noise
PAIRS_AMONG = 10  # two of an offer's occupants are pushed out together only where so few stand there


class _Occupants(NamedTuple):
    """Who could be pushed out of an offer, alone or two together: entries by offer, largest first."""

    start: IntArray  # (O + 1,)
    first: IntArray  # job
    second: IntArray  # job, or -1
    nodes: FloatArray
    offer: IntArray


class _Level(NamedTuple):
    """The cheapest landing of every job: its column, its price with all that it pushes on, and the entry pushed out."""

    column: IntArray
    usd: FloatArray
    entry: IntArray  # -1 where there is room


def _occupants(state: State, offers: int) -> _Occupants:
    columns = state.columns
    offer, nodes = columns.offer[state.at], columns.nodes[state.at]
    jobs = np.flatnonzero(offer < offers)
    by = jobs[np.lexsort((jobs, offer[jobs]))]
    start = np.searchsorted(offer[by], np.arange(offers + 1))
    count = np.diff(start)
    few = np.flatnonzero((count >= 2) & (count <= PAIRS_AMONG))
    ones, twos = [by], [np.full(len(by), -1, np.int64)]
    for size in np.unique(count[few]):
        a, b = np.triu_indices(int(size), 1)
        base = start[few[count[few] == size]][:, None]
        ones.append(by[(base + a).ravel()])
        twos.append(by[(base + b).ravel()])
    first, second = np.concatenate(ones), np.concatenate(twos)
    total = nodes[first] + np.where(second >= 0, nodes[second], 0.0)
    at = offer[first]
    order = np.lexsort((second, first, -total, at))
    at = at[order]
    return _Occupants(np.searchsorted(at, np.arange(offers + 1)), first[order], second[order], total[order], at)


def _prefix_best(start: IntArray, value: FloatArray) -> IntArray:
    """For every entry, the entry of least `value` from its group's first to itself."""
    best = np.arange(len(value))
    count = np.diff(start)
    groups = np.flatnonzero(count > 1)
    for rank in range(1, int(count.max(initial=0))):
        groups = groups[count[groups] > rank]
        here = start[groups] + rank
        before = best[here - 1]
        best[here] = np.where(value[before] <= value[here], before, here)
    return best


def _shortest(job: int, levels: list[_Level], who: _Occupants) -> dict[int, int]:
    """The chain of `job` from the last level on that does not meet itself; empty where none of them gains."""
    for level in range(len(levels), 0, -1):
        moves = _chain(job, levels[:level], who)
        if moves:
            return moves
    return {}


class Landing(NamedTuple):
    """The columns looked at: those of `rows`, which of them have room, and for the rest the entries large enough."""

    rows: IntArray
    first_of_job: IntArray
    room: BoolArray
    last_entry: IntArray  # the last entry of the offer with enough nodes to make room; -1 where none has


def _landing(state: State, rows: IntArray, who: _Occupants, offers: int) -> Landing:
    columns = state.columns
    rows = rows[columns.offer[rows] != columns.offer[state.at][columns.job[rows]]]
    offer = columns.offer[rows]
    room = state.fits(rows)
    lacking = columns.nodes[rows] - state.nodes_left[offer]
    wide = float(who.nodes.max(initial=0.0)) + 1.0
    key = who.offer * wide + (wide - who.nodes)  # rises within an offer as entries get smaller
    at = np.searchsorted(key, offer * wide + (wide - np.maximum(lacking, 0.0)) + 1e-9, side="right") - 1
    inside = np.minimum(offer, offers - 1) if offers else offer
    ok = ~room & (offer < offers) & (lacking > 0)
    if offers:
        ok &= at >= who.start[inside]
    return Landing(rows, np.flatnonzero(np.diff(columns.job[rows], prepend=-1)), room, np.where(ok, at, -1))


def _land(state: State, landing: Landing, usd: FloatArray, entry: IntArray) -> _Level:
    """The cheapest column of every job, given what each costs to land on."""
    columns, jobs = state.columns, len(state.at)
    job = columns.job[landing.rows]
    least = np.minimum.reduceat(usd, landing.first_of_job) if len(usd) else usd
    per_job = np.full(jobs, np.inf)
    per_job[job[landing.first_of_job]] = least
    hit = np.flatnonzero(usd == per_job[job])
    hit = hit[np.flatnonzero(np.diff(job[hit], prepend=-1))]
    column, pushed = np.full(jobs, -1, np.int64), np.full(jobs, -1, np.int64)
    column[job[hit]] = landing.rows[hit]
    pushed[job[hit]] = entry[hit]
    return _Level(column, per_job, pushed)


def _levels(
    state: State, landing: Landing, who: _Occupants, cost: FloatArray, price: FloatArray, *, depth: int
) -> list[_Level]:
    free = np.where(landing.room, price, np.inf)
    levels = [_land(state, landing, free, np.full(len(price), -1, np.int64))]
    now = cost[state.at]
    full = np.flatnonzero(landing.last_entry >= 0)
    for _ in range(depth):
        moved = levels[-1].usd - now
        eject = moved[who.first] + np.where(who.second >= 0, moved[who.second], 0.0)
        best = _prefix_best(who.start, eject)[landing.last_entry[full]]
        usd, entry = free.copy(), np.full(len(price), -1, np.int64)
        usd[full] = price[full] + eject[best]
        entry[full] = best
        levels.append(_land(state, landing, usd, entry))
    return levels


def _chain(job: int, levels: list[_Level], who: _Occupants) -> dict[int, int]:
    """The moves that bring `job` to its landing of the last level, as job to column; none where it meets itself."""
    moves: dict[int, int] = {}
    waiting = [(job, len(levels) - 1)]
    while waiting:
        one, level = waiting.pop()
        column = int(levels[level].column[one])
        if one in moves or column < 0:
            return {}
        moves[one] = column
        entry = int(levels[level].entry[one])
        if entry >= 0:
            waiting.append((int(who.first[entry]), level - 1))
            if who.second[entry] >= 0:
                waiting.append((int(who.second[entry]), level - 1))
    return moves


def exchange(state: State, rows: IntArray, cost: FloatArray, *, depth: int = 3) -> tuple[int, float]:
    """One round over the columns `rows` (rising) at `cost`: how many chains were taken, and what they save.

    Chains of one round share no offer, so that each is worth what was found; every move is checked against the limits
    as they then stand.
    """
    columns = state.columns
    offers = len(state.nodes_left) - 1
    who = _occupants(state, offers)
    landing = _landing(state, rows, who, offers)
    if not len(landing.rows):
        return 0, 0.0
    least = EPSILON * max(1.0, float(cost[state.at].mean()))
    touched = _Touched(np.zeros(len(state.at), np.bool_), np.zeros(offers + 1, np.bool_))
    taken, saved = 0, 0.0
    for _ in range(WAVES):
        price = cost[landing.rows]
        closed = touched.offers[columns.offer[landing.rows]] | touched.jobs[columns.job[landing.rows]]
        price[closed] = np.inf
        levels = _levels(state, landing, who, cost, price, depth=depth)
        chains, gained = _take(state, cost, levels, who, touched, least=least)
        taken, saved = taken + chains, saved + gained
        if not chains:
            break
    return taken, saved


class _Touched(NamedTuple):
    """Jobs and offers that have moved in this round."""

    jobs: BoolArray
    offers: BoolArray


def _take(
    state: State, cost: FloatArray, levels: list[_Level], who: _Occupants, touched: _Touched, *, least: float
) -> tuple[int, float]:
    """Take the best chain into every offer, best first, where it meets nothing touched."""
    columns = state.columns
    gain = cost[state.at] - levels[-1].usd
    gain[touched.jobs] = -np.inf
    wanted = np.flatnonzero(gain > least)
    wanted = wanted[np.lexsort((wanted, -gain[wanted]))]
    into = columns.offer[levels[-1].column[wanted]]
    _, best = np.unique(into, return_index=True)
    best = np.union1d(best, np.flatnonzero(into == len(touched.offers) - 1))  # any number may be left out
    taken, saved = 0, 0.0
    for job in wanted[best].tolist():
        moves = _shortest(job, levels, who)
        if not moves:
            continue
        jobs, to = np.array(list(moves)), np.array(list(moves.values()))
        old = state.at[jobs]
        ends = np.concatenate((columns.offer[old], columns.offer[to]))
        if touched.jobs[jobs].any() or touched.offers[ends].any():
            continue
        better = float(cost[old].sum() - cost[to].sum())
        if better > least and state.move(jobs.tolist(), to.tolist()):
            touched.jobs[jobs] = True
            touched.offers[ends] = True
            touched.offers[-1] = False
            taken += 1
            saved += better
    return taken, saved


def swap(state: State, rows: IntArray, cost: FloatArray) -> tuple[int, float]:
    """One round of exchanges of places: a job and one of those that stand where it would rather be."""
    columns = state.columns
    offers = len(state.nodes_left) - 1
    here = columns.offer[state.at]
    usd, nodes = cost[state.at], columns.nodes[state.at]
    by = np.lexsort((np.arange(len(here)), here))
    start = np.searchsorted(here[by], np.arange(offers + 2))
    rows = rows[(cost[rows] < usd[columns.job[rows]]) & (columns.offer[rows] < offers)]
    count = np.diff(start)[columns.offer[rows]]
    row = np.repeat(rows, count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    other = by[start[columns.offer[row]] + step]
    job = columns.job[row]
    ok = nodes[other] + state.nodes_left[columns.offer[row]] >= columns.nodes[row]
    row, other, job = row[ok], other[ok], job[ok]
    every = columns.job * (offers + 1) + columns.offer
    order = np.argsort(every, kind="stable")
    wanted = other * (offers + 1) + here[job]
    at = np.minimum(np.searchsorted(every[order], wanted), len(every) - 1)
    back = order[at]
    gain = np.where(every[back] == wanted, usd[job] + usd[other] - cost[row] - cost[back], -np.inf)
    least = EPSILON * max(1.0, float(usd.mean()))
    good = np.flatnonzero(gain > least)
    taken, saved = 0, 0.0
    done = np.zeros(len(here), np.bool_)
    for i in good[np.argsort(-gain[good], kind="stable")].tolist():
        a, b = int(job[i]), int(other[i])
        if not done[a] and not done[b] and state.move((a, b), (int(row[i]), int(back[i]))):
            done[a] = done[b] = True
            taken += 1
            saved += float(gain[i])
    return taken, saved
