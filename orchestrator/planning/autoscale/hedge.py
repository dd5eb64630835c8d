"""Hedge: how many spot replicas of a service to hold in which zones, how many to spare, and when on-demand steps in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, inf
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from orchestrator.domain.errors import UserError

MEMORIES_S: Final = (3_600.0, 21_600.0, 172_800.0)  # half-lives of what zones are remembered by
PRIOR_S: Final = 8 * 3600.0  # between two losses of a zone that nobody has seen
PRIOR_LOSSES: Final = 0.5  # what the prior counts for
PRIOR_WHOLE: Final = 0.5  # chance that a loss takes all replicas in the zone
AIM: Final = 0.7  # of the shortage that the target allows, so that a bad day at the end does not break it
SLACK_BOOTS: Final = 3.0  # boots' worth of shortage by which the worth of a spare changes e-fold
MOVE_S: Final = 1_800.0  # in which a move to a calmer zone must have paid for its boot
COVERED: Final = 0.05  # of a shortage, what a loss counts that the spares cover
PRIOR_REGION: Final = 0.15  # chance that it comes to another zone of the region
LOOK_S: Final = 300.0  # between two looks at how many to spare while nothing happens


class Held(NamedTuple):
    """What a service knows at a tick: per zone the replicas that serve, boot, and were `lost` since the last tick.

    `refused` are zones that were asked in the last orders and had no capacity. Of other zones nothing is known.
    """

    now_s: float
    ready: tuple[int, ...]
    booting: tuple[int, ...]
    lost: tuple[int, ...]
    refused: tuple[bool, ...]
    on_demand_ready: int
    on_demand_booting: int

    @property
    def spot(self) -> int:
        """Spot replicas that serve or boot."""
        return sum(self.ready) + sum(self.booting)


class Orders(NamedTuple):
    """What there shall be after a tick.

    Keep so many per zone and launch `launch` more in the first zones of `walk` that have capacity. Hold `on_demand`
    replicas, and one more for each launch that no zone took beyond the `spare` ones that may fail.
    """

    keep: tuple[int, ...]
    launch: int
    walk: tuple[int, ...]
    on_demand: int
    spare: int = 0


class HedgeRules(NamedTuple):
    """A service that shall have `needed` replicas ready for the share `target` of the time.

    `regions` numbers the region of each zone, whose losses may come together; empty: each zone is alone.
    """

    usd_per_hour: tuple[float, ...]  # of a spot replica by zone
    on_demand_usd_per_hour: float
    needed: int
    target: float = 0.999
    boot_s: float = 120.0
    tick_s: float = 30.0
    most_spares: int = 3
    regions: tuple[int, ...] = ()

    @property
    def usual_usd_per_hour(self) -> float:
        """The median of the zones' prices, in which shortage is priced."""
        ordered = sorted(self.usd_per_hour)
        return ordered[len(ordered) // 2]

    @property
    def groups(self) -> tuple[int, ...]:
        """The region of each zone."""
        return self.regions or tuple(range(len(self.usd_per_hour)))


class Share(NamedTuple):
    """Chances that a loss takes all replicas of its zone, and comes to another of its region; how often each was seen.

    Means of Beta distributions that start from a prior with the weight of two losses.
    """

    whole: float = PRIOR_WHOLE
    region: float = PRIOR_REGION
    whole_seen: float = 2.0
    region_seen: float = 2.0


class Belief(NamedTuple):
    """Losses and hours watched by zone and memory, and how well each memory has foretold losses (log-likelihood)."""

    losses: tuple[tuple[float, ...], ...]
    watched_s: tuple[tuple[float, ...], ...]
    skill: tuple[float, ...]
    share: Share = Share()


class HedgeState(NamedTuple):
    """What is remembered from tick to tick; the first takes `begin(rules)`."""

    belief: Belief
    begun_s: float = -inf
    at_s: float = -inf
    short_s: float = 0.0
    spares: int = 1
    base: int = 0  # of the needed replicas, those that stay on demand
    extra: int = 0  # on demand in place of spares that no zone has capacity for
    worth: float = 1.0  # share of the time short that one spot replica is worth
    looked_s: float = -inf


def begin(rules: HedgeRules) -> HedgeState:
    """Nothing seen yet.

    Raises: UserError for rules that contradict themselves.
    """
    if rules.needed < 1 or not rules.usd_per_hour or not 0.0 < rules.target < 1.0:
        raise UserError("A hedge needs a zone, a replica and a target between 0 and 1, such as 0.999.")
    prices = (*rules.usd_per_hour, rules.on_demand_usd_per_hour)
    if not all(0.0 <= price < inf for price in prices) or not (rules.boot_s >= 0.0 and rules.tick_s > 0.0):
        raise UserError("Prices must be finite and at least 0, and a tick longer than 0 s.")
    zones = len(rules.usd_per_hour)
    nothing = tuple((0.0,) * zones for _ in MEMORIES_S)
    return HedgeState(Belief(nothing, nothing, (0.0,) * len(MEMORIES_S)))


def hazards(belief: Belief) -> npt.NDArray[np.float64]:
    """Losses per second that each zone is expected to have while held, (zones,).

    Gamma-Poisson: (prior losses + losses) / (prior time + time) for each memory, the memories weighted by how well
    they have foretold (Bayesian model averaging). The prior's own rate is learned from all zones.
    """
    rates = _rates(belief)
    weights = np.exp(np.array(belief.skill) - max(belief.skill))
    return np.asarray(weights @ rates / weights.sum())


def shortfall(
    counts: Sequence[int], hazard_per_s: Sequence[float], share: Share, groups: Sequence[int], window_s: float
) -> npt.NDArray[np.float64]:
    """The probabilities of losing more than 0, 1, 2, ... of the replicas held within `window_s`, (replicas + 1,).

    Regions lose independently, at most once in the window. A loss begins in one of the zones held, in proportion to
    their hazards, and comes to each other zone of the region with the chance `share.region`. A zone that is hit loses
    one replica, or with the chance `share.whole` all. Losses that come together are what makes spreading pay. By
    convolution over zones and regions.
    """
    chances = np.array([1.0])
    for group in sorted(set(groups)):
        held = [zone for zone in range(len(counts)) if groups[zone] == group and counts[zone]]
        rates = [hazard_per_s[zone] for zone in held]
        if not held or not sum(rates):
            chances = np.append(chances, np.zeros(sum(counts[zone] for zone in held)))
            continue
        loss = 1.0 - exp(-sum(rates) * window_s)
        hit = [_zone_losses(counts[zone], share.whole) for zone in held]
        maybe = [share.region * one for one in hit]
        for one in maybe:
            one[0] += 1.0 - share.region
        own = np.zeros(sum(counts[zone] for zone in held) + 1)
        for first, rate in enumerate(rates):
            several = hit[first]
            for other, one in enumerate(maybe):
                if other != first:
                    several = np.convolve(several, one)
            own += loss * rate / sum(rates) * several
        own[0] += 1.0 - loss
        chances = np.convolve(chances, own)
    return np.asarray(np.append(np.cumsum(chances[::-1])[::-1][1:], 0.0))


def _zone_losses(count: int, whole: float) -> npt.NDArray[np.float64]:
    """The distribution of how many a zone of `count` replicas loses when it is hit, (count + 1,)."""
    losses = np.zeros(count + 1)
    losses[1] += 1.0 - whole
    losses[count] += whole
    return losses


def hedge(held: Held, state: HedgeState, rules: HedgeRules) -> tuple[Orders, HedgeState]:
    """What to hold from now on, and what to remember."""
    state = _learned(held, state, rules)
    risk = hazards(state.belief)
    counts = [ready + booting for ready, booting in zip(held.ready, held.booting, strict=True)]
    look = held.now_s - state.looked_s >= LOOK_S
    if look or any(held.lost):
        state = _looked(risk, state, rules)._replace(looked_s=held.now_s)
        state = state._replace(extra=_extra(counts, risk, state, rules) if any(held.refused) else 0)
    wanted = rules.needed - state.base + state.spares
    zones = Zones(risk, state.belief.share, rules, state.spares, state.worth)
    keep = _kept(counts, held, wanted, zones)
    launch = max(0, wanted - sum(keep))
    # On-demand holds the place of spot replicas until they serve. A launch refused everywhere goes there at once, but
    # not one of a spare or of the way back to spot.
    serving = sum(min(up, stay) for up, stay in zip(held.ready, keep, strict=True))
    own = held.on_demand_ready + held.on_demand_booting
    stand_in = max(state.base + state.extra, min(own, max(0, rules.needed - serving)))
    missing = max(0, rules.needed - sum(keep) - stand_in)
    if look and launch == 0 and not sum(held.booting) and _better(keep, zones):
        launch = 1  # once it serves, the worst one goes
    walk = _walk(keep, launch, zones) if launch else ()
    return Orders(tuple(keep), launch, walk, stand_in, launch - min(launch, missing)), state


def _learned(held: Held, state: HedgeState, rules: HedgeRules) -> HedgeState:
    """Beliefs after the time since the last tick: losses count once a zone, however many replicas they took."""
    if state.begun_s == -inf:
        return state._replace(begun_s=held.now_s, at_s=held.now_s)
    elapsed = held.now_s - state.at_s
    before = np.array(held.ready) + np.array(held.booting) + np.array(held.lost)
    watched, hit = before > 0, np.array(held.lost) > 0
    belief = state.belief
    rates = np.maximum(_rates(belief), 1e-12)
    gain = np.where(hit, np.log(rates * max(elapsed, 1.0)), -rates * elapsed)
    fade = 0.5 ** (elapsed / np.array(MEMORIES_S))[:, None]
    losses = np.array(belief.losses) * fade + hit
    seconds = np.array(belief.watched_s) * fade + watched * elapsed
    # What was foretold long ago counts less: a market may change its ways.
    skill = np.array(belief.skill) * 0.5 ** (elapsed / MEMORIES_S[-1]) + (gain * watched).sum(axis=1)
    share = _shared(belief.share, before, np.array(held.lost), rules.groups)
    serving = sum(held.ready) + held.on_demand_ready
    short = elapsed if serving < rules.needed and held.now_s - state.begun_s > rules.boot_s else 0.0
    return state._replace(
        belief=Belief(_rows(losses), _rows(seconds), tuple((skill - skill.max()).tolist()), share),
        at_s=held.now_s,
        short_s=state.short_s + short,
    )


def _rows(table: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _rates(belief: Belief) -> npt.NDArray[np.float64]:
    """Losses per second by memory and zone; the prior of each memory is the rate over all zones in it."""
    losses, watched = np.array(belief.losses), np.array(belief.watched_s)
    pooled = (PRIOR_LOSSES + losses.sum(axis=1)) / (PRIOR_LOSSES * PRIOR_S + watched.sum(axis=1))
    prior_s = PRIOR_LOSSES / pooled[:, None]
    return np.asarray((PRIOR_LOSSES + losses) / (prior_s + watched))


def _shared(share: Share, before: npt.NDArray[np.int64], lost: npt.NDArray[np.int64], groups: tuple[int, ...]) -> Share:
    """The chances after what was lost since the last tick."""
    for group in sorted({groups[zone] for zone in np.flatnonzero(lost)}):
        zones = [zone for zone in np.flatnonzero(before) if groups[zone] == group]
        hit = [zone for zone in zones if lost[zone]]
        others = float(len(zones) - 1)
        if others:
            seen = share.region_seen + others
            with_it = (len(hit) - 1.0 - others * share.region) / seen
            share = share._replace(region=share.region + with_it, region_seen=seen)
        for zone in hit:
            if before[zone] > 1:
                seen = share.whole_seen + 1.0
                all_lost = float(lost[zone] == before[zone])
                share = share._replace(whole=share.whole + (all_lost - share.whole) / seen, whole_seen=seen)
    return share


class Zones(NamedTuple):
    """What the choice between zones looks at."""

    risk: npt.NDArray[np.float64]
    share: Share
    rules: HedgeRules
    spares: int
    worth: float

    def costs(self, counts: Sequence[int]) -> npt.NDArray[np.float64]:
        """What one more replica in each zone costs, in USD per hour, the shortage that it brings priced.

        Without spares any loss is a shortage, so that one calm zone is best for all. With them a shortage takes a zone
        that holds more than the spares, or as many others of the region; other losses count little (`COVERED`), as they
        need a second one.
        """
        rules, share = self.rules, self.share
        own, groups = np.asarray(counts), np.asarray(rules.groups)
        region = np.bincount(groups, weights=own)[groups]
        if self.spares:
            together = np.minimum(1.0, (region - own) * share.region**self.spares)
            hurts = share.whole * (own >= self.spares) + together + COVERED
        else:
            hurts = np.where(own > 0, 1.0 - share.whole, 1.0)
        usd = np.asarray(rules.usd_per_hour)
        window = rules.boot_s + rules.tick_s
        return np.asarray(usd + self.risk * window / self.worth * hurts * rules.usual_usd_per_hour)

    def placed(self, count: int) -> Iterator[list[int]]:
        """No replicas, then one after the other in the cheapest zone, up to `count`."""
        counts = [0] * len(self.rules.usd_per_hour)
        yield counts
        for _ in range(count):
            counts[int(np.argmin(self.costs(counts)))] += 1
            yield counts


def _looked(risk: npt.NDArray[np.float64], state: HedgeState, rules: HedgeRules) -> HedgeState:
    """How many of the needed replicas to hold on demand and how many spot ones to spare: the cheapest, shortage priced.

    The price of shortage is one spot replica for `worth` of the time. It starts from the share that the target allows:
    while less was used than is allowed, shortage is cheaper.
    """
    allowed = AIM * (1.0 - rules.target)
    used = state.short_s - allowed * (state.at_s - state.begun_s)
    worth = allowed * exp(min(20.0, max(-20.0, -used / (SLACK_BOOTS * max(rules.boot_s, rules.tick_s)))))
    hazard, window = risk.tolist(), rules.boot_s + rules.tick_s
    own = rules.on_demand_usd_per_hour / (rules.usual_usd_per_hour or 1.0)
    best, least = (rules.needed, 0), rules.needed * own  # all on demand
    for spares in range(rules.most_spares + 1):
        zones = Zones(risk, state.belief.share, rules, spares, worth)
        for spot, counts in enumerate(zones.placed(rules.needed + spares)):
            base = rules.needed + spares - spot
            if not spares < spot or base > rules.needed:
                continue
            short = float(shortfall(counts, hazard, state.belief.share, rules.groups, window)[spares])
            cost = spot + base * own + short / worth
            if cost < least - 1e-12:
                best, least = (base, spares), cost
    return state._replace(base=best[0], spares=best[1], worth=worth)


def _extra(counts: list[int], risk: npt.NDArray[np.float64], state: HedgeState, rules: HedgeRules) -> int:
    """On-demand replicas that pay where zones refuse the spares: for the replicas that are held, at the same worth."""
    tail = shortfall(counts, risk.tolist(), state.belief.share, rules.groups, rules.boot_s + rules.tick_s)
    own = rules.on_demand_usd_per_hour / (rules.usual_usd_per_hour or 1.0)
    lacking = max(0, rules.needed - state.base + state.spares - sum(counts))
    over = sum(counts) + state.base - rules.needed

    def cost(extra: int) -> float:
        spares = over + extra
        short = 1.0 if spares < 0 else float(tail[min(spares, tail.size - 1)])
        return extra * own + short / state.worth

    return min(range(lacking + 1), key=cost)


def _kept(counts: list[int], held: Held, wanted: int, zones: Zones) -> list[int]:
    """Replicas to keep: the worst go while more than are wanted serve; those that boot are waited for."""
    keep = list(counts)
    for _ in range(max(0, min(sum(held.ready), sum(keep)) - wanted)):
        filled = np.array(keep) > 0
        fewer = np.maximum(np.array(keep) - 1, 0)
        keep[int(np.argmax(np.where(filled, zones.costs(fewer.tolist()), -inf)))] -= 1
    return keep


def _better(keep: list[int], zones: Zones) -> bool:
    """Whether a replica of the worst zone is worth moving to the best one: it saves the boot within `MOVE_S`."""
    if not sum(keep):
        return False
    fewer = np.maximum(np.array(keep) - 1, 0)
    worst = int(np.argmax(np.where(np.array(keep) > 0, zones.costs(fewer.tolist()), -inf)))
    left = [count - (zone == worst) for zone, count in enumerate(keep)]
    costs = zones.costs(left)
    return bool((costs[worst] - costs.min()) * MOVE_S > zones.rules.usd_per_hour[worst] * zones.rules.boot_s)


def _walk(keep: Sequence[int], launch: int, zones: Zones) -> tuple[int, ...]:
    """Zones in the order to ask them: the best for each launch in turn, and then all, in case those refuse."""
    placed, walk = list(keep), []
    for _ in range(launch):
        zone = int(np.argmin(zones.costs(placed)))
        placed[zone] += 1
        walk.append(zone)
    rest = np.argsort(zones.costs(placed), kind="stable").tolist()
    return (*walk, *(zone for _ in range(launch) for zone in rest))
