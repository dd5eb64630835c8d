"""Tenure: leases that end at a known time, and what work that is longer than one of them loses by it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.workload import Checkpointing, FineTune, Inference, Method, Training, Workload

STATE_BYTES = 14.0  # of a checkpoint per trained parameter: 16-bit weights, FP32 master weights, two FP32 moments
WEIGHT_BYTES = 2.0  # of 16-bit weights
RESTORE_BYTES_PER_S = 1e9  # one stream from a network disk; what is larger is read by many machines at once
MOST_RESTORE_H = 0.1
EXACT = 1e-12  # work that fills a lease to the last digit ends in it


class Tenure(NamedTuple):
    """How leases of n offers can be worked in, hours in shape (n,).

    Work of `first_h` is done in the first lease and `next_h` in each after it; 0 where none can go on from it. From the
    end of work in one to that in the next, `change_h` pass: the grace, the boot of other machines (a queue's wait
    included), reading the last checkpoint back, and doing again what was not saved.
    """

    first_h: FloatArray  # infinite where no end is known
    next_h: FloatArray
    change_h: FloatArray

    def take(self, rows: IntArray | BoolArray) -> Tenure:
        """Of the rows named."""
        return Tenure(self.first_h[rows], self.next_h[rows], self.change_h[rows])

    @property
    def once(self) -> BoolArray:
        """Where one lease has to hold all of the work."""
        return ~(self.next_h > 0)

    def ends(self, work_h: FloatArray) -> FloatArray:
        """How many leases end before `work_h` hours of work do."""
        return self._count(work_h - self.first_h, self.next_h)

    def lasts_h(self, work_h: FloatArray) -> FloatArray:
        """Hours from the end of the first boot to that of `work_h` hours of work."""
        found: FloatArray = work_h + self.ends(work_h) * self.change_h
        return found

    def within_h(self, room_h: FloatArray) -> FloatArray:
        """Hours of work that are done `room_h` hours after the first boot: the most whose `lasts_h` is no longer."""
        over = room_h - self.first_h
        going = (over > 0) & (self.next_h > 0)
        over, each = np.where(going, over, 0.0), np.where(going, self.next_h, 0.0)
        cycle = each + self.change_h
        whole = np.floor(over / np.maximum(cycle, EXACT) * (1.0 + EXACT))
        more = whole * each + np.maximum(over - whole * cycle - self.change_h, 0.0)
        found: FloatArray = np.minimum(room_h, self.first_h) + np.minimum(more, over)
        return found

    def ends_within(self, held_h: FloatArray) -> FloatArray:
        """How many leases end in `held_h`, which `lasts_h` gave."""
        return self._count(held_h - self.first_h, self.next_h + self.change_h)

    def _count(self, over: FloatArray, each: FloatArray) -> FloatArray:
        going = (over > EXACT * np.minimum(self.first_h, 1e9)) & (self.next_h > 0)
        found: FloatArray = np.where(
            going, np.ceil(np.where(going, over, 0.0) / np.where(going, each, 1.0) * (1.0 - EXACT)), 0.0
        )
        return found


def tenure(workload: Workload, book: OfferBook) -> Tenure | None:
    """How leases of `book` can be worked in; None where no offer says that they end.

    A job that may be tried once only is not resumed, and neither is one that gets no grace to save in and saves less
    often than a lease ends. A service saves nothing: every lease is as long as the first.
    """
    told = book.max_lease_s
    if told is None:
        return None
    first_h = np.where(np.isnan(told), np.inf, np.maximum(told, 0.0) / 3600.0)
    saves = workload.program.checkpoint if workload.program else Checkpointing()
    pause_h = (saves.grace_s + book.boot_s) / 3600.0
    if isinstance(workload, Inference):
        return Tenure(first_h, first_h, pause_h)
    again_h = 0.0 if saves.grace_s > 0 else saves.interval_s / 7200.0
    lost_h = again_h + restore_h(workload)
    resumed = workload.program is None or workload.program.max_attempts > 1
    goes_on = np.isinf(first_h) | (resumed & (first_h > max(lost_h, 2.0 * again_h)))
    next_h = np.where(goes_on, first_h - lost_h, 0.0)
    return Tenure(first_h, next_h, pause_h + lost_h)


def restarts(workload: Workload, candidates: Candidates) -> tuple[FloatArray, FloatArray] | None:
    """How many leases end while each candidate is at work, and the hours that this takes, shape (n,) each.

    None where no offer says that its leases end. The hours of finite work hold them; those of a service do not.
    """
    known = tenure(workload, candidates.book)
    if known is None:
        return None
    boot_h = candidates.book.boot_s / 3600.0
    ends = known.ends_within(np.maximum(candidates.hours - boot_h, 0.0))
    return ends, ends * known.change_h


def working_h(workload: Workload, candidates: Candidates) -> FloatArray:
    """Hours of work alone, shape (n,): without the boot, and without what ends of leases take."""
    work_h: FloatArray = np.maximum(candidates.hours - candidates.book.boot_s / 3600.0, 0.0)
    found = None if isinstance(workload, Inference) else restarts(workload, candidates)
    return work_h if found is None else np.maximum(work_h - found[1], 0.0)


def spoken(hours: float) -> str:
    """`16 min`, `23.8 h`, `1,440 h`."""
    if hours < 2.0:
        return f"{hours * 60.0:,.0f} min"
    return f"{hours:,.3g} h" if hours < 1000.0 else f"{hours:,.0f} h"


def trains_all(workload: Workload) -> bool:
    """Whether a checkpoint holds the whole model with its optimiser, not the weights or an adapter alone."""
    return isinstance(workload, Training) or (isinstance(workload, FineTune) and workload.method is Method.FULL)


def restore_h(workload: Workload) -> float:
    """Hours to read the last checkpoint, or the weights, back."""
    each = STATE_BYTES if trains_all(workload) else WEIGHT_BYTES
    return min(MOST_RESTORE_H, each * workload.model.parameters / RESTORE_BYTES_PER_S / 3600.0)
