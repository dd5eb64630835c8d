"""How long jobs run, learned from those that ended and from those that still run: survival curves by gang size.

Run times of training jobs are heavy-tailed and unknown at submission. Within one class of gang sizes they are held as
hazards over bins of run time that widen by the factor sqrt(2): deaths over jobs at risk (Kaplan and Meier, 1958), where
a job that still runs counts as at risk in the bins it has survived. Each class shrinks to the curve of all jobs, and
that one to a Pareto prior, so that the first jobs of a cluster are ordered by attained service.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import FloatArray, IntArray

STEP = 2.0**0.5
EDGES_S = np.concatenate([[0.0], 30.0 * STEP ** np.arange(36)])  # 30 s to 64 days
BINS = len(EDGES_S) - 1
GANG_CLASSES = np.array([2.0, 4.0, 8.0, 16.0])  # lower edges: 1, 2-3, 4-7, 8-15, 16 GPUs and more
PRIOR_HAZARD = 0.15  # per bin: a Pareto tail of exponent 0.43 = -ln(1 - 0.15) / ln(STEP), rounded
PRIOR_WEIGHT = 20.0  # jobs that the parent's curve counts for


class Curves(NamedTuple):
    """What is known of run times now: one row per class of gang sizes.

    `survival` has shape (classes, BINS + 1): P(run time > edge). `hours_per_finish` has shape (classes, BINS): the
    fewest expected hours of running per expected finish for a job that has just reached the bin, over all times at
    which to look again; the inverse of its Gittins index. `hours_left` has the same shape: expected hours to the end.
    """

    survival: FloatArray
    hours_per_finish: FloatArray
    hours_left: FloatArray


class RuntimeModel:
    """Counts of run times by class of gang sizes; the same observations in any order give the same curves."""

    def __init__(self) -> None:
        self._ended = np.zeros((len(GANG_CLASSES) + 1, BINS))

    def finished(self, gpus: IntArray, ran_s: FloatArray) -> None:
        """Count jobs that ended by themselves: their GPUs and seconds run, shapes (n,). Never count a preemption."""
        np.add.at(self._ended, (gang_class(gpus), bin_of(ran_s)), 1.0)

    def curves(self, gpus: IntArray, ran_s: FloatArray) -> Curves:
        """The curves as of now, where jobs that have not ended hold `gpus` and have run `ran_s`, shapes (n,)."""
        alive = np.zeros_like(self._ended)
        np.add.at(alive, (gang_class(gpus), bin_of(ran_s)), 1.0)
        at_risk = _from_here_on(self._ended) + _from_here_on(alive) - alive
        everything = (self._ended.sum(axis=0) + PRIOR_WEIGHT * PRIOR_HAZARD) / (at_risk.sum(axis=0) + PRIOR_WEIGHT)
        return curves_of((self._ended + PRIOR_WEIGHT * everything) / (at_risk + PRIOR_WEIGHT))


def gang_class(gpus: IntArray) -> IntArray:
    """The class of each gang size."""
    return np.searchsorted(GANG_CLASSES, gpus, side="right")


def bin_of(ran_s: FloatArray) -> IntArray:
    """The bin that each run time lies in; what outlasts the last edge stays in the last bin."""
    return np.clip(np.searchsorted(EDGES_S, ran_s, side="right") - 1, 0, BINS - 1)


def curves_of(hazards: FloatArray) -> Curves:
    """Curves of hazards, shape (classes, BINS), each in (0, 1); jobs that outlast the last edge end there.

    The Gittins index (Gittins 1979; for jobs of unknown length Aalto, Ayesta and Righter 2009) is the largest
    P(ends before t) / E[hours run before t] over t; its inverse is kept, as it is finite.
    """
    one = np.ones((len(hazards), 1))
    survival = np.concatenate([one, np.cumprod(1.0 - hazards, axis=1)], axis=1)
    hours = np.diff(EDGES_S) / 3600.0
    lived = np.cumsum(0.5 * (survival[:, 1:] + survival[:, :-1]) * hours, axis=1)
    lived = np.concatenate([0.0 * one, lived], axis=1)
    spent = lived[:, None, :] - lived[:, :, None]
    ends = survival[:, :, None] - survival[:, None, :]
    later = np.triu(np.ones((BINS + 1, BINS + 1), bool), 1)
    ratio = np.divide(spent, ends, out=np.full_like(spent, np.inf), where=later & (ends > 0))
    left = (lived[:, -1:] - lived[:, :-1]) / survival[:, :-1]
    return Curves(survival, ratio.min(axis=2)[:, :-1], left)


def at(table: FloatArray, gpus: IntArray, ran_s: FloatArray) -> FloatArray:
    """`table` of `Curves` (classes, BINS or BINS + 1) for each job, interpolated within its bin: shape (n,)."""
    row, low = gang_class(gpus), bin_of(ran_s)
    high = np.minimum(low + 1, table.shape[1] - 1)
    share = np.clip((ran_s - EDGES_S[low]) / (EDGES_S[low + 1] - EDGES_S[low]), 0.0, 1.0)
    value: FloatArray = table[row, low] * (1.0 - share) + table[row, high] * share
    return value


def _from_here_on(counts: FloatArray) -> FloatArray:
    total: FloatArray = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    return total
