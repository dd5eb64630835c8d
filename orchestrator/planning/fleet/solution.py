"""What the fleet solver answers: a placement, what it costs, and how far from the best it can be at most."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.offerbook import FloatArray, IntArray

UNPLACED = -1
MIDDLING = 3000  # jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much work is done, counted in steps and not in time, so that the same effort gives the same answer."""

    price_steps: int = 60  # of dual ascent, per round
    packing_steps: int = 60  # of the ascent that knows nodes are whole
    columns: int = 14  # nearest options of a job that the search looks at, and as many again further off
    rounds: int = 40  # of exchanges, at most, in one descent
    sweeps: int = 60  # neighbourhoods solved exactly, at most
    jobs_per_part: int = 120
    parts: int = 2  # solved at once where the caller's `spread` can
    exact_jobs: int = 150  # up to so many jobs, the whole is solved exactly
    whole_jobs: int = 400  # and up to so many as a whole, to a tenth of a per cent, instead of in neighbourhoods
    exact_columns: int = 25_000  # both up to so many columns
    gap: float = 1e-6  # proven gap at which the search stops

    @classmethod
    def for_size(cls, jobs: int) -> Effort:
        """The usual effort for so many jobs: a second for hundreds, three for a thousand, a minute for ten thousand.

        Calibrated by benchmarks/bench_fleet.py.
        """
        if jobs <= cls().whole_jobs:
            return cls()
        return cls(sweeps=24, jobs_per_part=50) if jobs <= MIDDLING else cls(sweeps=400, jobs_per_part=80)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Solution:
    """One option or none for every job, in the caller's order of jobs and offers."""

    offer: IntArray  # (J,): the offer, or -1 where the job is left out
    option: IntArray  # (J,): the row of the problem's options; -1 where left out or where a source priced them
    nodes: FloatArray  # (J,): 0 where left out
    usd: FloatArray  # (J,): the penalty where left out
    money_usd: FloatArray  # (J,)
    objective_usd: float
    bound_usd: float  # no placement costs less
    node_price_usd: FloatArray  # (O,): what one node more of an offer would save at most, near the bound
    quota_price_usd: FloatArray  # (Q,): the same for a unit of a quota
    budget_price: FloatArray  # (T,): USD saved per USD of budget
    method: str  # what found it, in words
    stopped: str  # what ended the search, in words
    reproducible: bool  # False where the clock ended it
    counters: dict[str, int]  # work done, by name

    @property
    def gap(self) -> float:
        """How much the placement may cost above the best, as a part of the bound."""
        above = max(0.0, self.objective_usd - self.bound_usd)
        return above / self.bound_usd if self.bound_usd > 0 else (0.0 if above <= 0 else float("inf"))

    @property
    def unplaced(self) -> int:
        """How many jobs are left out."""
        return int((self.offer == UNPLACED).sum())
