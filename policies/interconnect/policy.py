"""The interconnect policy: what a slow network between nodes costs training, and devices without direct links."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.deadline import hours_left
from orchestrator.domain.knobs import configured, overridden
from orchestrator.domain.offerbook import FloatArray
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.tenure import tenure, working_h
from orchestrator.domain.workload import FineTune, Training, Workload

if TYPE_CHECKING:  # loaded by jobs of several nodes
    from policies.interconnect.exchange import Delays

NAME = "interconnect"
TERM = "slow-network"
DEFAULTS: Mapping[str, float] = {
    # Of one device, where the node's network is plain ethernet or nobody describes it: cloud machines of eight devices
    # have 100 Gbit/s, and smaller ones their share of it (GCP A2: 24 for one device, 100 for eight; from memory).
    "ethernet_gbit_s": 12.5,
    "min_gbit_s": 0.0,  # of one device to other nodes, for training on several; less is refused; 0 is no limit
    "need_links": 0.0,  # 1: devices that share a layer must all be joined by direct links
    "hold_deadline": 1.0,  # what the delay carries past the deadline is refused; 0: a note says so
}
# Most jobs take one node: what is about several is loaded by those that do.
EXCHANGE: Final = "policies.interconnect.exchange"
WIRING: Final = "policies.interconnect.wiring"
SAID_FROM = 0.01  # of the hours: a smaller delay is no news


class InterconnectPolicy:
    """The term `slow-network` is n·p times the hours by which the network delays training on several nodes: money, for
    they are invoiced. The hours of a sizing are those of fast fabrics, on which it is 0.
    """

    name = NAME
    bills = frozenset({TERM})

    def __init__(self, settings: Mapping[str, float]) -> None:
        self._settings = dict(settings)

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """INTERCONNECT where devices are slower to talk, or joined by fewer links, than the settings ask for."""
        settings = overridden(view.workload, NAME, self._settings)
        found: list[Refusals] = []
        if settings["min_gbit_s"]:
            found += self._slow(view, candidates, settings)
        if settings["need_links"]:
            shared, joined = _groups(view, candidates)
            template = "{figure:,.0f} devices share every layer, and direct links do not join them all"
            found.append(Refusals(ReasonCode.INTERCONNECT, shared > joined, template, shared))
        if settings["hold_deadline"]:
            found += self._late(view, candidates)
        return found

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """The term, where any candidate trains on several nodes."""
        delay_h = self._delay_h(view, candidates)
        return {} if delay_h is None else {TERM: candidates.nodes * candidates.book.usd_per_hour * delay_h}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing: more nodes exchange more, and nodes are counted to be in time with the delay (`delay_h`).

        But on fewer of them a delay may outlive one lease more.
        """
        return frozenset() if view.snapshot.book.max_lease_s is None else frozenset({TERM})

    def delay_h(self, view: PlanView, candidates: Candidates) -> FloatArray | None:
        """Hours by which the network delays, where the deadline is to be kept with them."""
        settings = overridden(view.workload, NAME, self._settings)
        return self._delay_h(view, candidates) if settings["hold_deadline"] else None

    def notes(self, view: PlanView, candidates: Candidates) -> Sequence[str]:
        """By how much the best placement is delayed, and whose links do not join what they should."""
        notes, job = [], view.workload
        delay_h = self._delay_h(view, candidates)
        said = delay_h is not None and len(candidates) and delay_h[0] > SAID_FROM * candidates.hours[0]
        if said and delay_h is not None and isinstance(job, Training | FineTune):
            assumed = " (assumed)" if importlib.import_module(WIRING).unknown(candidates.book)[0] else ""
            gbit_s = 8.0 * self._delays(view, job, candidates).node_gb_s(candidates.book)[0]
            left_h = hours_left(view.workload, view.snapshot.taken_at)
            late = left_h is not None and candidates.hours[0] + delay_h[0] > left_h
            notes.append(
                f"the best placement trains on {candidates.nodes[0]:,} nodes that send {gbit_s:,.0f} Gbit/s each"
                f"{assumed}: expect it to take {delay_h[0]:,.0f} h longer than shown"
                + (", which is after the deadline" if late else "")
                + "; its cost includes them"
            )
        return notes + _unlinked(view, candidates)

    def _late(self, view: PlanView, candidates: Candidates) -> list[Refusals]:
        left_h = hours_left(view.workload, view.snapshot.taken_at)
        delay_h = self._delay_h(view, candidates)
        if left_h is None or delay_h is None:
            return []
        hours = candidates.hours + delay_h
        template = f"takes {{figure:,.1f}} h over its network; the deadline leaves {left_h:,.1f} h"
        # What is in time to the last digit without a delay stays so.
        return [Refusals(ReasonCode.DEADLINE, (delay_h > 0) & (hours > left_h), template, hours)]

    def _delay_h(self, view: PlanView, candidates: Candidates) -> FloatArray | None:
        """Hours that the network adds, shape (n,); None where nothing is trained on several nodes."""
        workload = view.workload
        if not isinstance(workload, Training | FineTune) or not (candidates.nodes > 1).any():
            return None
        leases = tenure(workload, candidates.book)
        if leases is None:
            return self._delays(view, workload, candidates).hours(candidates)
        # What a lease's end takes is no work that exchanges anything; but longer work may outlive one lease more.
        boot_h = candidates.book.boot_s / 3600.0
        fast_h = boot_h + working_h(workload, candidates.at(candidates.hours_p10))
        delay_h = self._delays(view, workload, candidates).hours(replace(candidates, hours_p10=fast_h))
        if delay_h is None:
            return None
        work_h = working_h(workload, candidates)
        longer: FloatArray = leases.lasts_h(work_h + delay_h) - leases.lasts_h(work_h)
        return np.maximum(longer, 0.0)

    def _delays(self, view: PlanView, workload: Training | FineTune, candidates: Candidates) -> Delays:
        """Of the view's job, kept with the view: a plan asks a dozen times."""
        kept, ethernet = view.memo.get(NAME), overridden(workload, NAME, self._settings)["ethernet_gbit_s"]
        exchange = importlib.import_module(EXCHANGE)
        if not isinstance(kept, exchange.Delays) or not kept.suits(candidates, ethernet):
            kept = view.memo[NAME] = exchange.Delays(workload, candidates, view.snapshot.accelerators, ethernet)
        return cast("Delays", kept)

    def _slow(self, view: PlanView, candidates: Candidates, settings: Mapping[str, float]) -> list[Refusals]:
        job = view.workload
        if not isinstance(job, Training | FineTune) or not (candidates.nodes > 1).any():
            return []
        limit, several = settings["min_gbit_s"], candidates.nodes > 1
        untold = several & importlib.import_module(WIRING).unknown(candidates.book)
        each = (
            8.0 * self._delays(view, job, candidates).node_gb_s(candidates.book) / np.maximum(candidates.book.gpus, 1.0)
        )
        short = np.where(several, limit - each, 0.0)
        silent = f"nobody says how fast its nodes exchange data; {limit:g} Gbit/s a device are asked for"
        slow = f"the network is {{figure:,.1f}} Gbit/s a device short of the {limit:g} asked for"
        return [
            Refusals(ReasonCode.INTERCONNECT, untold, silent, np.zeros(len(candidates), np.float64)),
            Refusals(ReasonCode.INTERCONNECT, short > 1e-9 * limit, slow, short),
        ]


def _groups(view: PlanView, candidates: Candidates) -> tuple[FloatArray, FloatArray]:
    """Devices that share every layer, and how many the links of their node join, shape (n,) each."""
    wiring = importlib.import_module(WIRING)
    devices = {device.name: device for device in view.snapshot.accelerators}
    shared = candidates.sized({row: _sharing(view.workload, sizing) for row, sizing in enumerate(candidates.sizings)})
    joined = candidates.sized(
        {row: wiring.linked(devices.get(sizing.accelerator)) for row, sizing in enumerate(candidates.sizings)}
    )
    return shared, np.minimum(joined, np.maximum(candidates.book.gpus, 1.0))


def _sharing(workload: Workload, sizing: Sizing) -> float:
    """Devices that exchange activations in every layer: a group that splits layers in training, a replica in serving.

    A batch's replica is the `gpus` of its effort: it may take more than hold the state at the least.
    """
    if isinstance(workload, Training | FineTune):
        group: float = importlib.import_module(EXCHANGE).group(sizing)
        return group
    return float(sizing.effort.gpus if isinstance(sizing.effort, FiniteWork) else sizing.min_gpus)


def _unlinked(view: PlanView, candidates: Candidates) -> list[str]:
    """Of the devices shown, those whose links join fewer than share a layer: their speed is that of all linked."""
    shown = [candidates.sizings[row] for row in sorted(set(candidates.sizing.tolist()))]
    if all(_sharing(view.workload, sizing) <= 1 for sizing in shown):
        return []
    shared, joined = _groups(view, candidates)
    # Without links of its own a device is sized at the speed of its host's bus already.
    rows = np.flatnonzero((shared > joined) & (joined > 1))
    if not len(rows):
        return []
    row = int(rows[0])
    return [
        f"direct links join {joined[row]:.0f} {candidates.book.accelerator[row]} of a node, and {shared[row]:.0f} "
        f"share every layer: {len(rows)} of the placements shown may be slower than they look"
    ]


def create(context: PolicyContext) -> InterconnectPolicy:
    """The policy with the configuration file's settings.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    return InterconnectPolicy(configured(f"policy {NAME}", context.settings, DEFAULTS))
