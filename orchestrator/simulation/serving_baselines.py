"""Spot baselines: SpotHedge, round robin and on-demand alone, as their papers describe them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.planning.autoscale.hedge import Held, Orders


class OnDemand:
    """`needed` on-demand replicas and nothing else."""

    def __init__(self, zones: int, needed: int) -> None:
        self._none, self._needed = (0,) * zones, needed

    def __call__(self, _: Held) -> Orders:
        """The same at every tick."""
        return Orders(self._none, 0, (), self._needed)


class RoundRobin:
    """Spot alone, each lost replica launched in the next zone in turn, `extra` more than needed."""

    def __init__(self, zones: int, needed: int, extra: int = 0) -> None:
        self._zones, self._wanted, self._turn = zones, needed + extra, 0

    def __call__(self, held: Held) -> Orders:
        """One launch per missing replica, each tick from the zone after the last."""
        keep = _counts(held)
        missing = max(0, self._wanted - sum(keep))
        walk = tuple((self._turn + step) % self._zones for step in range(missing))
        self._turn = (self._turn + missing) % self._zones
        return Orders(keep, missing, walk, 0, missing)


class SpotHedge:
    """SpotHedge of SkyServe (Mao et al., EuroSys 2025), sections 3.1 and 3.2.

    Zones are in one of two lists: available (Z_A) or preempting (Z_P). A zone whose replica is lost or refused goes to
    Z_P, one whose replica gets ready to Z_A; where fewer than two zones are left in Z_A, Z_P is emptied into it. A
    launch goes to the zone of Z_A with the fewest replicas. It holds needed + extra spot replicas and as many on demand
    as min(needed, needed + extra - ready spot).
    """

    def __init__(self, zones: int, needed: int, extra: int) -> None:
        self._needed, self._extra = needed, extra
        self._preempting: list[bool] = [False] * zones

    def __call__(self, held: Held) -> Orders:
        """One tick of dynamic placement and fallback."""
        for zone, (lost, refused, ready) in enumerate(zip(held.lost, held.refused, held.ready, strict=True)):
            if lost or refused:
                self._preempting[zone] = True
            elif ready:
                self._preempting[zone] = False
        if self._preempting.count(False) < 2:
            self._preempting = [False] * len(self._preempting)
        keep = _counts(held)
        missing = max(0, self._needed + self._extra - sum(keep))
        ready = sum(held.ready)
        fallback = max(0, min(self._needed, self._needed + self._extra - ready))
        return Orders(keep, missing, self._walk(keep, missing), fallback, missing)

    def _walk(self, keep: Sequence[int], missing: int) -> tuple[int, ...]:
        placed, walk = list(keep), []
        usable = [zone for zone, bad in enumerate(self._preempting) if not bad]
        for _ in range(missing):
            zone = min(usable, key=lambda one: (placed[one], one))
            placed[zone] += 1
            walk.append(zone)
        return tuple(walk)


def _counts(held: Held) -> tuple[int, ...]:
    return tuple(ready + booting for ready, booting in zip(held.ready, held.booting, strict=True))
