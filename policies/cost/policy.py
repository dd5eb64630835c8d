"""The cost policy: what a candidate is expected to be invoiced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.billed import billed_hours
from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offer import Billing, Tier
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.tenure import STATE_BYTES, WEIGHT_BYTES, restarts, spoken, tenure, trains_all
from orchestrator.domain.workload import DataSet, Inference, Workload
from policies.cost.traffic import Way, priced, ways

NAME = "cost"
RESTARTS = "restarts"
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
CHECKPOINTS = 2.0  # the last whole one, and the one that is being written
BYTES_PER_GIB = float(2**30)


class CostPolicy:
    """Terms, all of them money at the candidates' hours h (boot included), nodes n and price p per node-hour.

    - `compute` + `boot` + `restarts` = n·p·(billed hours): what the leases are invoiced, of which the boot is n·p·boot
      and `restarts` n·p times the hours that ends of leases take (`domain.tenure`). Of a service, whose hours do not
      hold them, `restarts` is n·p·boot for each lease that ends, on top.
    - `storage`: the model on every node's disk and the data on a shared one for h hours; nothing on one's own machines.
    - `egress`: moving the input from `data.location` by the source provider's tiers.
    - `delivery`: moving the result to `data.deliver_to` by the candidate's provider's tiers.
    """

    name = NAME
    bills = frozenset({"compute", "boot", RESTARTS, "storage", "egress", "delivery"})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)
        self._known: _Known | None = None

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """A volume that all nodes share is billed for the time the job takes, whatever their number; and on more nodes
        fewer leases may end before the work does.
        """
        ends = frozenset({RESTARTS, "storage"}) if view.snapshot.book.max_lease_s is not None else frozenset()
        return ends | {"storage"} if _shared_gib(view.workload.data) > 0 else ends

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """Nothing: what is too dear is for the budget to say."""
        return ()

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The terms; `egress` and `delivery` only where there is data to move, `restarts` where leases end.

        Raises: UserError where `data.location` or `data.deliver_to` names no place and no provider we know.
        """
        settings = overridden(view.workload, NAME, self._settings)
        book = candidates.book
        rate = candidates.nodes * book.usd_per_hour
        boot_h = np.minimum(book.boot_s / 3600.0, candidates.hours)
        terms = {"compute": rate * (billed_hours(candidates) - boot_h), "boot": rate * boot_h}
        found = restarts(view.workload, candidates)
        if found is not None:
            count, hours = found
            service = isinstance(view.workload, Inference)
            terms[RESTARTS] = rate * (count * boot_h if service else hours)
            if not service:
                terms["compute"] = terms["compute"] - terms[RESTARTS]
        terms["storage"] = _storage(view.workload, candidates, settings)
        for name, way in self._ways(view, settings).items():
            terms[name] = priced(way, candidates).usd
        return terms

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """What was assumed because nobody says."""
        settings = overridden(view.workload, NAME, self._settings)
        which_of = {"egress": f"leaving {view.workload.data.location}", "delivery": "that brings the result"}
        notes = _ends(view, candidates)
        for name, way in self._ways(view, settings).items():
            which, count = which_of[name], int(np.count_nonzero(priced(way, candidates).assumed))
            if count:
                notes.append(
                    f"price of data {which} unknown for {count} of the placements shown; "
                    f"assumed {settings['assumed_egress_usd_per_gib']:g} USD/GiB"
                )
        return notes

    def _ways(self, view: PlanView, settings: Mapping[str, float]) -> Mapping[str, Way]:
        """The ways of the data by the term that prices them: looked up once for a job and a network, and then kept."""
        asked = (view.workload.data, settings["assumed_egress_usd_per_gib"], settings["egress_gib_this_month"])
        snapshot, known = view.snapshot, self._known
        if known is None or known.snapshot is not snapshot or known.asked != asked:
            known = self._known = _Known(snapshot, asked, ways(view, *asked[1:]))
        return known.ways


class _Known(NamedTuple):
    snapshot: Snapshot
    asked: tuple[DataSet, float, float]
    ways: Mapping[str, Way]


def node_gib(workload: Workload) -> float:
    """GiB of the model on the disk of each node: two checkpoints of what is trained, or the weights alone.

    Disks are bought with the nodes, before anybody knows which part of the state lands on which: each holds all of it.
    """
    each = CHECKPOINTS * STATE_BYTES if trains_all(workload) else WEIGHT_BYTES
    return each * workload.model.parameters / BYTES_PER_GIB


def _shared_gib(data: DataSet) -> float:
    return data.size_gib + data.result_gib


def _ends(view: PlanView, candidates: Candidates) -> list[str]:
    """In how many leases the best placement is worked, where that is more than one."""
    best = candidates.take(np.arange(min(1, len(candidates))))
    found, leases = restarts(view.workload, best), tenure(view.workload, best.book)
    if found is None or leases is None or not found[0].any():
        return []
    count, first_h = int(found[0][0]), spoken(float(leases.first_h[0]))
    if isinstance(view.workload, Inference):
        gap = spoken(float(leases.change_h[0]))
        return [
            f"the best placement is interrupted {count:,} times, for {gap} each: a lease of it ends after {first_h}"
        ]
    spent = spoken(float(found[1][0]))
    return [
        f"the best placement takes {count + 1:,} leases of {first_h}: {spent} of restarts, in its time and its cost"
    ]


def _storage(workload: Workload, candidates: Candidates, settings: Mapping[str, float]) -> FloatArray:
    book = candidates.book
    ours = str(Billing.OWNED) in book.billing.vocab or any(tier != Tier.CLOUD for tier in book.tier.vocab)
    listed = [settings.get(f"{STORAGE}_{name}", settings[STORAGE]) / HOURS_PER_MONTH for name in book.provider.vocab]
    usd_per_gib_hour = np.array(listed, np.float64)[book.provider.codes]
    stored = candidates.nodes * node_gib(workload) + _shared_gib(workload.data)
    usd: FloatArray = usd_per_gib_hour * stored * candidates.hours
    if ours:
        usd[book.billing.isin(frozenset((str(Billing.OWNED),)))] = 0.0
        usd[~book.tier.isin(frozenset((str(Tier.CLOUD),)))] = 0.0
    return usd


def create(context: PolicyContext) -> CostPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return CostPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
