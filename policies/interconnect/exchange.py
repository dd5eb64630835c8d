"""Exchange: how much longer training on several nodes takes because the network between them is slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.alike import FEW, alike
from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.sizing import FiniteWork, Sizing
from orchestrator.domain.workload import FineTune, Training
from policies.interconnect.wiring import rates_gb_s

# The sizing's own numbers, which give their origins.
FAST_GB_S = 12.5  # of one device: published runs on slower fabrics are slow for it, and the hours are of the others
BATCH_TOKENS = 2e6  # of one step of a 1 B model where nobody says, with the cube root of the size
EXPOSED = 0.6288  # share of an exchange between steps that computation does not hide
HIDES = 2.0 / 3.0  # of the computation: the backward pass, behind which gradients can travel
TUNED_SEQUENCES = 128.0  # of one step of fine-tuning where nobody says: a usual batch (from memory)
# Of a parameter in each half of an all-reduce: gradients in 16 bits, as who trains over a slow network sends them.
BYTES = 2.0
WIDTH = 2.0  # bytes of an activation


class Job(NamedTuple):
    """What of a training job does not depend on where it runs."""

    tokens: float
    step_tokens: float | None  # None where the job does not say
    active_parameters: float
    parameters: float
    hidden: float
    layers: float
    sequence_tokens: float  # of one device and pass
    tuned: bool

    @classmethod
    def of(cls, workload: Training | FineTune) -> Job:
        """The numbers of `workload`; a shape that nobody gives is a usual one: N = 12·L·h² with h = 128·L."""
        model = workload.model
        hidden = float(model.hidden or (128.0 * model.parameters / 12.0) ** (1.0 / 3.0))
        return cls(
            tokens=workload.tokens,
            step_tokens=workload.global_batch_tokens,
            active_parameters=model.active_parameters,
            parameters=model.parameters,
            hidden=hidden,
            layers=float(model.layers or max(1.0, hidden / 128.0)),
            sequence_tokens=float(workload.sequence_length * workload.micro_batch),
            tuned=isinstance(workload, FineTune),
        )


class Delays:
    """The delays of one job over one snapshot: what does not change from question to question is worked out once.

    Of many candidates the answer is kept by offer, for the next question is about the same or a part of them.
    """

    def __init__(
        self,
        workload: Training | FineTune,
        candidates: Candidates,
        devices: Sequence[Accelerator],
        ethernet_gbit_s: float,
    ) -> None:
        """`candidates` are any of the snapshot: their sizings and the words of their offers are looked at."""
        job, book = Job.of(workload), candidates.book
        self._job, self._words, self._sizings = job, _words(book), candidates.sizings
        facts = [_facts(sizing, job) for sizing in candidates.sizings]
        self._facts = np.array(facts, np.float64).reshape(-1, 4).T
        self._ethernet_gbit_s = ethernet_gbit_s
        # A network that carries nothing would never end: the least is a modem's.
        named, least = {device.name: device for device in devices}, max(ethernet_gbit_s, 1e-4)
        self._gb_s = rates_gb_s(*self._words, named, least)
        self._answered: _Answered | None = None

    def suits(self, candidates: Candidates, ethernet_gbit_s: float) -> bool:
        """Whether `candidates` have the sizings and the words that were looked at, and the ethernet is the same."""
        fabrics, names = _words(candidates.book)
        same = candidates.sizings is self._sizings and fabrics is self._words[0] and names is self._words[1]
        return same and ethernet_gbit_s == self._ethernet_gbit_s

    def node_gb_s(self, book: OfferBook) -> FloatArray:
        """GB/s that one node of each offer sends to others, shape (n,)."""
        rates: FloatArray = self._gb_s[book.fabric.codes, book.accelerator.codes] * np.maximum(book.gpus, 1.0)
        return rates

    def hours(self, candidates: Candidates) -> FloatArray | None:
        """Hours that the candidates take beyond those of a fast fabric, shape (n,); None where all take one node.

        Of n nodes a copy of the model takes s, so that d = n/s copies exchange what they learnt, in every step:

        - data: 2·(d-1)/d · 2 bytes per trained parameter, 1/s of it by each node (a ring over nodes; Patarasuk and Yuan
          2009), at `node_gb_s`;
        - pipeline: 4·h bytes per token and cut between the s nodes of a copy, where it takes several;
        - tensor: 16·L·h·(t-1)/t bytes per token of a group of t devices that split every layer, out of each of its
          nodes, where t is more than a node has: four all-reduces of 16-bit activations per layer (Shoeybi et al.
          2019).

        Of t seconds computation hides some: max(0.63·t, t - 2/3 of the step) are waited for, on this fabric and on one
        of 12.5 GB/s a device, and the difference is what comes on top of the hours. The layout is taken to be the best
        for a slow network: fully sharded weights that are gathered over it cost more.
        """
        several = candidates.nodes > 1
        if not several.any():
            return None
        if len(candidates) <= FEW:
            return self._worked_out(candidates, several)
        known = self._answered.of(candidates) if self._answered else None
        if known is None:
            known = self._worked_out(candidates, several)
            self._answered = _Answered.with_(candidates, known)
        return known

    def _worked_out(self, candidates: Candidates, several: BoolArray) -> FloatArray:
        book = candidates.book
        rates = self._gb_s[book.fabric.codes, book.accelerator.codes]
        extra = np.zeros(len(candidates), np.float64)
        rows = np.flatnonzero(several & (rates < FAST_GB_S))
        slow = _Shapes(
            candidates.sizing[rows],
            np.maximum(book.gpus[rows], 1.0),
            candidates.nodes[rows].astype(np.float64),
            book.boot_s[rows] / 3600.0,
            candidates.hours_p10[rows],
            rates[rows],
        )
        # A market sells the same machines in many places.
        stand, place = alike(slow)
        extra[rows] = self._extra_hours(slow.take(stand))[place]
        return extra

    def _extra_hours(self, shape: _Shapes) -> FloatArray:
        """Of shapes of several nodes."""
        job, nodes, gpus = self._job, shape.nodes, shape.gpus
        least, trained, tensor, middle = self._facts[:, shape.sizing]
        step_tokens = _step_tokens(job, nodes * gpus)
        # What the network adds does not grow with the time that the arithmetic takes: it is that of the middle
        # estimate, also at the ends of the band.
        work_h = np.maximum(shape.hours_p10 - shape.boot_h, 0.0) * middle
        steps = job.tokens / step_tokens
        compute_s = work_h * 3600.0 / steps
        copies_nodes = np.minimum(nodes, np.ceil(least / gpus))
        copies = np.maximum(1.0, np.floor(nodes / copies_nodes))
        # Bytes that one node sends per step.
        data = 2.0 * (copies - 1.0) / copies * BYTES * trained / copies_nodes
        cuts = copies_nodes - 1.0
        pipeline = 2.0 * WIDTH * job.hidden * cuts * step_tokens / nodes
        split = np.where(tensor > gpus, (tensor - 1.0) / tensor, 0.0)
        across = 8.0 * WIDTH * job.layers * job.hidden * split * step_tokens * tensor / (nodes * gpus)
        sent = data + pipeline + across
        slow = _waited_s(sent / (shape.rates_gb_s * gpus * 1e9), compute_s)
        fast = _waited_s(sent / (FAST_GB_S * gpus * 1e9), compute_s)
        hours: FloatArray = np.maximum(slow - fast, 0.0) * steps / 3600.0
        return hours


class _Shapes(NamedTuple):
    """Shapes of several nodes, shape (n,) each."""

    sizing: IntArray
    gpus: FloatArray  # of a node, at least 1
    nodes: FloatArray
    boot_h: FloatArray
    hours_p10: FloatArray
    rates_gb_s: FloatArray  # what one device sends

    def take(self, rows: IntArray) -> _Shapes:
        numbers = (self.gpus, self.nodes, self.boot_h, self.hours_p10, self.rates_gb_s)
        return _Shapes(self.sizing[rows], *(column[rows] for column in numbers))


class _Answered(NamedTuple):
    """What was answered last, by row of the snapshot's book: of 0 nodes where nothing was asked, shape (offers,) each.

    The other columns of an offer that a delay looks at are the offer's own.
    """

    nodes: IntArray
    hours: FloatArray
    delay_h: FloatArray

    @classmethod
    def with_(cls, candidates: Candidates, delay_h: FloatArray) -> _Answered:
        rows, span = candidates.offer, int(candidates.offer.max()) + 1
        answered = cls(np.zeros(span, np.int64), np.zeros(span), np.zeros(span))
        for column, values in zip(answered, (candidates.nodes, candidates.hours_p10, delay_h), strict=True):
            column[rows] = values
        return answered

    def of(self, candidates: Candidates) -> FloatArray | None:
        """The delays, shape (n,), where all of `candidates` were asked about as they are."""
        rows = candidates.offer
        if int(rows.max()) >= len(self.nodes):
            return None
        same = (self.nodes[rows] == candidates.nodes) & (self.hours[rows] == candidates.hours_p10)
        return self.delay_h[rows] if same.all() else None


def _words(book: OfferBook) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return book.fabric.vocab, book.accelerator.vocab


def _waited_s(seconds: FloatArray, compute_s: FloatArray) -> FloatArray:
    return np.maximum(EXPOSED * seconds, seconds - HIDES * compute_s)


def _step_tokens(job: Job, gpus: FloatArray) -> FloatArray:
    """Tokens of one step; at least a pass of every device, at most the whole job."""
    if job.step_tokens is not None:
        usual = job.step_tokens
    elif job.tuned:
        usual = TUNED_SEQUENCES * job.sequence_tokens
    else:
        usual = BATCH_TOKENS * (job.active_parameters / 1e9) ** (1.0 / 3.0)
    least = 0.0 if job.step_tokens is not None else gpus * job.sequence_tokens
    return np.minimum(np.maximum(usual, least), job.tokens)


def _facts(sizing: Sizing, job: Job) -> tuple[float, float, float, float]:
    """Devices of one copy, trained parameters, devices that split a layer, and the 50th over the 10th percentile."""
    effort = sizing.effort
    if not isinstance(effort, FiniteWork):
        return 1.0, 0.0, 1.0, 1.0
    band = effort.gpu_hours
    middle = band.p50 / band.p10 if band.p10 > 0 else 1.0
    return float(sizing.min_gpus), _said(sizing, "adapter_parameters", job.parameters), group(sizing), middle


def group(sizing: Sizing) -> float:
    """Devices of a training job that exchange activations in every layer."""
    effort = sizing.effort
    if isinstance(effort, FiniteWork) and effort.step is not None:
        return float(effort.step.parallelism.tensor)
    return _said(sizing, "tensor_parallel", 1.0)


def _said(sizing: Sizing, name: str, usual: float) -> float:
    return next((assumption.value for assumption in sizing.assumptions if assumption.name == name), usual)
