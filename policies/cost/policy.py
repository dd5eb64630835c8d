"""The cost policy: what a candidate is expected to be invoiced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain.billed import billed_hours, in_steps, least_hours
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offer import Billing, Tier
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.workload import FineTune, Method, Training, Workload
from policies.cost.traffic import arrival, departure

NAME = "cost"
STORAGE = "storage_usd_per_gib_month"
DEFAULTS: Mapping[str, float] = {
    # The dearest first tier of a large vendor's list, so that an unknown rate never makes an offer look good.
    "assumed_egress_usd_per_gib": 0.12,
    "egress_gib_this_month": 0.0,
    # List prices of SSD volumes or shared file systems, read from the vendors' pages as of 2026-11 (from memory): EBS
    # gp3, Azure Premium SSD v2, Google balanced disks, OCI block volumes at 10 VPU, Lambda's and RunPod's and
    # CoreWeave's file storage, Crusoe's disks. The first is for everybody else.
    STORAGE: 0.1,
    f"{STORAGE}_aws": 0.08,
    f"{STORAGE}_azure": 0.081,
    f"{STORAGE}_gcp": 0.1,
    f"{STORAGE}_oci": 0.0425,
    f"{STORAGE}_lambda": 0.2,
    f"{STORAGE}_coreweave": 0.07,
    f"{STORAGE}_runpod": 0.07,
    f"{STORAGE}_crusoe": 0.08,
}
HOURS_PER_MONTH = 730.0
STATE_BYTES = 14.0  # of a checkpoint per trained parameter: 16-bit weights, FP32 master weights, two FP32 moments
WEIGHT_BYTES = 2.0  # of 16-bit weights
CHECKPOINTS = 2.0  # the last whole one, and the one that is being written
BYTES_PER_GIB = float(2**30)


class CostPolicy:
    """Terms, all of them money at the candidates' hours h (boot included), nodes n and price p per node-hour.

    - `compute` + `boot` = n·p·max(h, least billing): what the lease is invoiced, of which the boot is n·p·boot.
    - `rounding`: the rest of the minute or hour that is begun, where the vendor counts in them.
    - `storage`: the data and the checkpoints on disks for h hours; nothing on machines of one's own.
    - `egress`: moving the input from `data.location` by the source provider's tiers.
    - `delivery`: moving the result to `data.deliver_to` by the candidate's provider's tiers.
    """

    name = NAME
    bills = frozenset({"compute", "boot", "rounding", "storage", "egress", "delivery"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def rewards_speed(self, _view: PlanView) -> frozenset[str]:
        """What is billed for the time the job takes, whatever the number of nodes; and the luck of begun minutes."""
        return frozenset({"storage", "rounding"})

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing: what is too dear is for the budget to say."""
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The terms; `egress` and `delivery` only where there is data to move.

        Raises: UserError where `data.location` or `data.deliver_to` names no place and no provider we know.
        """
        settings = overridden(view.workload, NAME, self._settings)
        book = candidates.book
        rate = candidates.nodes * book.usd_per_hour
        boot_h = np.minimum(book.boot_s / 3600.0, candidates.hours)
        least_h = least_hours(candidates)
        terms = {"compute": rate * (least_h - boot_h), "boot": rate * boot_h}
        if in_steps(candidates):
            terms["rounding"] = rate * (billed_hours(candidates) - least_h)
        terms["storage"] = _storage(view.workload, candidates, settings)
        for name, move in (("egress", arrival), ("delivery", departure)):
            traffic = move(view, candidates, *_traffic(settings))
            if traffic is not None:
                terms[name] = traffic.usd
        return terms

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """What was assumed because nobody says."""
        settings = overridden(view.workload, NAME, self._settings)
        data = view.workload.data
        moves = ((arrival, f"leaving {data.location}"), (departure, "that brings the result"))
        notes = []
        for move, which in moves:
            traffic = move(view, candidates, *_traffic(settings))
            count = 0 if traffic is None else int(np.count_nonzero(traffic.assumed))
            if count:
                notes.append(
                    f"price of data {which} unknown for {count} of the placements shown; "
                    f"assumed {settings['assumed_egress_usd_per_gib']:g} USD/GiB"
                )
        return notes


def _traffic(settings: Mapping[str, float]) -> tuple[float, float]:
    return settings["assumed_egress_usd_per_gib"], settings["egress_gib_this_month"]


def stored_gib(workload: Workload) -> float:
    """GiB on disks while the job runs: its input, its result, and the model: two checkpoints, or the weights alone."""
    whole = isinstance(workload, Training) or (isinstance(workload, FineTune) and workload.method is Method.FULL)
    each = CHECKPOINTS * STATE_BYTES if whole else WEIGHT_BYTES
    data = workload.data
    return data.size_gib + data.result_gib + each * workload.model.parameters / BYTES_PER_GIB


def _storage(workload: Workload, candidates: Candidates, settings: Mapping[str, float]) -> FloatArray:
    """One shared copy for all nodes: USD, shape (n,)."""
    book = candidates.book
    listed = [settings.get(f"{STORAGE}_{name}", settings[STORAGE]) for name in book.provider.vocab]
    usd = np.array(listed, np.float64)[book.provider.codes] * (stored_gib(workload) / HOURS_PER_MONTH)
    ours = book.tier.isin(frozenset((str(Tier.HPC), str(Tier.EDGE))))
    ours |= book.billing.isin(frozenset((str(Billing.OWNED),)))
    stored: FloatArray = np.where(ours, 0.0, usd * candidates.hours)
    return stored


def create(context: PolicyContext) -> CostPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return CostPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
