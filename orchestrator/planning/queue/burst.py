"""When a queued job should stop waiting and buy capacity instead: a wait budget by its size in dollars.

Waiting is rented by the hour and buying is paid once, so a job buys as soon as the price of the hours it has waited
reaches the expected price of what it has left to run (ski rental: never more than twice the cost of one who knew how
long the queue would last; Karlin et al. 1988). Small jobs buy soon, large ones wait long, as in Starburst (ATC'24),
but with no knowledge of run times: what is left comes from the learned curves, and grows as a job turns out long.
"""

from __future__ import annotations

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray
from orchestrator.planning.queue.order import Queue, usd_of_an_hour
from orchestrator.planning.queue.runtimes import Curves, at


def wait_budget_s(queue: Queue, curves: Curves, usd_per_gpu_hour: float) -> FloatArray:
    """Seconds of waiting that each job can afford in all before buying is cheaper, shape (n,).

    Infinite where an hour of waiting costs nothing.
    """
    hours = at(curves.hours_left, queue.gpus, queue.ran_s) + queue.restart_s / 3600.0
    buys_usd = hours * queue.gpus * usd_per_gpu_hour
    hourly_usd = usd_of_an_hour(queue, curves)
    return 3600.0 * np.divide(buys_usd, hourly_usd, out=np.full_like(buys_usd, np.inf), where=hourly_usd > 0)


def buys(queue: Queue, waited_s: FloatArray, curves: Curves, usd_per_gpu_hour: float) -> BoolArray:
    """True for the waiting jobs whose `waited_s` in all, shape (n,), has used up their budget."""
    spent: BoolArray = ~queue.running & (waited_s >= wait_budget_s(queue, curves, usd_per_gpu_hour))
    return spent
