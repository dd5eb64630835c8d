"""Interruptions: how often machines are taken back, and how many hours of work that is expected to lose."""

from __future__ import annotations

import numpy as np

from orchestrator.domain.offer import Billing
from orchestrator.domain.offerbook import FloatArray, IntArray, OfferBook
from orchestrator.domain.workload import BatchInference, Checkpointing, Inference, Workload

MAX_EXPONENT = 50.0  # e^50 hours is longer than the Earth is old: such a placement never ends, and stays finite
NEVER_PER_HOUR = 1e-12  # once in a hundred million years: what is rarer is no risk, and its quotients no numbers
ASSUMED_SPOT_PER_HOUR = 0.02  # one loss in 50 hours: more than the 5-15 % a day that vendors have published
# Failures of a usual node of eight devices, which nobody takes back: the sizing's number, which gives its origin.
USUAL_FAILURES_PER_NODE_HOUR = 3.79 / 1000.0 / 24.0


def hazards(book: OfferBook, assumed_spot_per_hour: float = ASSUMED_SPOT_PER_HOUR) -> FloatArray:
    """Losses per node and hour, shape (n,): as observed, else assumed for spot and 0 for the rest."""
    spot = book.billing.isin(frozenset((str(Billing.SPOT),)))
    known = book.interruption_rate
    return np.where(np.isnan(known), np.where(spot, assumed_spot_per_hour, 0.0), known)


def rework(workload: Workload, hazard: FloatArray, nodes: IntArray | FloatArray, boot_h: FloatArray) -> FloatArray:
    """Expected hours lost to interruptions per hour of work, shape (n,).

    `hazard` is per node and hour. Work saved every τ hours under a constant hazard λ, with a restart that takes R hours
    and can itself be interrupted, takes E = (1/λ)·e^(λR)·(e^(λτ) − 1) hours per τ hours of progress (J. T. Daly,
    "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006, with the time of a dump at 0);
    about λ·(τ/2 + R) while interruptions are rare. Training is a gang: losing any node loses all nodes' work, so its λ
    is n times the hazard, as if nodes were lost independently. A request of batch inference or of a service concerns
    its own node alone; a service saves nothing and pays for the replacement's boot. `nodes` may be fewer than there
    are, and no whole number, where some of them are lost together.
    """
    if isinstance(workload, Inference):
        return hazard * boot_h
    checkpoint = workload.program.checkpoint if workload.program else Checkpointing()
    tau = max(checkpoint.interval_s, 1.0) / 3600.0
    rate = hazard if isinstance(workload, BatchInference) else hazard * nodes
    risky = rate > NEVER_PER_HOUR
    lost = np.zeros(len(hazard), np.float64)
    exposed, restart = rate[risky], boot_h[risky]
    saved = np.minimum(exposed * tau, MAX_EXPONENT)
    growth = np.exp(np.minimum(exposed * restart, MAX_EXPONENT)) * np.expm1(saved)
    # The same bound on both sides of the line: what more hazard costs never falls.
    lost[risky] = np.maximum(growth / saved - 1.0, 0.0)
    return lost
