"""Candidates: from offers that passed the limits and sizings by accelerator to counted nodes and hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import UNKNOWN, BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.tenure import Tenure, spoken, tenure
from orchestrator.domain.workload import Inference, Workload
from orchestrator.planning.limits import BY, due_h, hours_left
from orchestrator.planning.refusing import blocked
from orchestrator.planning.sieve import Sieve
from orchestrator.planning.speed import Paces, Sizings, paces, whole_devices

MAX_NODES = 1_000_000  # more than any site has: beyond it a count is arithmetic, not a plan


def build(workload: Workload, snapshot: Snapshot, sizings: Mapping[str, Sizing | Reason], sieve: Sieve) -> Candidates:
    """The candidates among the offers still open in `sieve`; those that cannot be sized are refused there.

    Rules, in order: the device is unknown or its sizing refuses it; the state does not fit; too late even at once; the
    quota allows too few nodes; so many were refused a short while ago; too few nodes on sale.

    *Finite work* takes the fewest nodes that hold the state and, with a deadline, finish in time at the median: more
    nodes never cost less, because each pays for its boot and does no more than its share of the work: n devices take
    n^(growth - 1) of the time of one (`FiniteWork.growth`). `hours` is boot and work. Its speed counts all devices
    of the nodes; that the replicas of batch inference come in multiples of `min_gpus` is neglected. Where leases end
    before the work does, `hours` is longer by what each end takes, and of work that cannot be resumed the nodes are
    those that end it within one lease (`domain.tenure`).
    A *service* puts whole replicas on single nodes, as many as fit, for the horizon.

    An offer with a fraction of a device holds that fraction of its memory and has that fraction of its speed.
    """
    sized = _sized(snapshot.book, sizings, sieve)
    sized = _fitting(sized, sizings, sieve, whole_replicas=isinstance(workload, Inference))
    if isinstance(workload, Inference):
        return _serve(workload, snapshot, sized, sieve)
    return _finish(workload, snapshot, sized, sieve)


@dataclass(frozen=True, slots=True, eq=False)
class _Sized:
    """Open rows of the book with the facts of their sizing: what a sizing says is looked up when it is asked for."""

    rows: IntArray
    sizing: IntArray
    devices: FloatArray  # per node: whole, or the fraction of one
    sizings: tuple[Sizing, ...]
    least: FloatArray  # shape (len(sizings),): `Sizing.min_gpus`
    paces: Paces

    @property
    def min_gpus(self) -> FloatArray:
        return self.least[self.sizing]

    def take(self, keep: BoolArray) -> _Sized:
        if keep.all():
            return self
        kept = np.flatnonzero(keep)
        return _Sized(self.rows[kept], self.sizing[kept], self.devices[kept], self.sizings, self.least, self.paces)


def _sized(book: OfferBook, sizings: Mapping[str, Sizing | Reason], sieve: Sieve) -> _Sized:
    words = book.accelerator
    usable = Sizings(answer for word in words.vocab if isinstance(answer := sizings.get(word), Sizing))
    place = {sizing.accelerator: index for index, sizing in enumerate(usable)}
    index = np.fromiter((place.get(word, -1) for word in words.vocab), np.int64, len(words.vocab))
    rows = sieve.open_rows
    sizing = index[words.codes[rows]]
    unsized = sizing < 0
    if unsized.any():
        _refuse_unsized(rows[unsized], book, sizings, sieve)
        rows, sizing = rows[~unsized], sizing[~unsized]
    least = np.array([s.min_gpus for s in usable], np.float64)
    return _Sized(rows, sizing, whole_devices(book.gpus[rows]), usable, least, paces(usable))


def _refuse_unsized(rows: IntArray, book: OfferBook, sizings: Mapping[str, Sizing | Reason], sieve: Sieve) -> None:
    words = book.accelerator
    answers = [sizings.get(word) for word in words.vocab]
    kinds = [(a.by, a.code) if isinstance(a, Reason) else (BY, ReasonCode.UNKNOWN_ACCELERATOR) for a in answers]

    def sentence(row: int) -> str:
        answer = answers[words.codes[row]]
        return answer.detail if isinstance(answer, Reason) else f"no facts are held about a device '{words[row]}'"

    codes = words.codes[rows]
    for kind in sorted({kinds[code] for code in np.flatnonzero(np.bincount(codes, minlength=len(kinds))).tolist()}):
        of_kind = np.fromiter((k == kind for k in kinds), np.bool_, len(kinds))[codes]
        sieve.refuse_rows(rows[of_kind], *kind, sentence, spread=codes[of_kind].astype(np.int64))


def _fitting(sized: _Sized, sizings: Mapping[str, Sizing | Reason], sieve: Sieve, *, whole_replicas: bool) -> _Sized:
    """Refuse nodes that cannot hold their share of the state."""
    book, devices, min_gpus = sieve.book, sized.devices, sized.min_gpus
    memory = np.array([(s.memory_per_gpu_gib, s.capacity_per_gpu_gib) for s in sized.sizings], np.float64)
    each, capacity = (column[sized.sizing] for column in memory.reshape(-1, 2).T)
    fraction = devices < 1
    misfit = ~(devices > 0) | (fraction & ((min_gpus > 1) | (each > devices * capacity)))
    if whole_replicas:
        misfit |= ~fraction & (min_gpus > devices)

    def sentence(row: int) -> str:
        sizing, gpus = sizings[book.accelerator[row]], float(book.gpus[row])
        if not isinstance(sizing, Sizing) or not gpus > 0:
            return f"the offer has {gpus:g} accelerators"
        if gpus >= 1:
            return f"a replica of {sizing.min_gpus} GPUs does not fit one node of {gpus:g}"
        holds = gpus * sizing.capacity_per_gpu_gib
        return f"needs {sizing.memory_gib:,.1f} GiB; {gpus:g} of a device holds {holds:,.1f} GiB"

    sieve.refuse_rows(sized.rows[misfit], BY, ReasonCode.NO_FIT, sentence, spread=sized.sizing[misfit])
    return sized.take(~misfit)


def _finish(workload: Workload, snapshot: Snapshot, sized: _Sized, sieve: Sieve) -> Candidates:
    """Finite work: the fewest nodes that hold the state and meet the deadline, on spot with time to fall back."""
    left_h = hours_left(workload, snapshot)
    boot_h = sieve.book.boot_s[sized.rows] / 3600.0
    leases = tenure(workload, _part(sieve.book, sized.rows))
    work_h = np.full(len(boot_h), np.inf)
    if left_h is not None:
        work_h = due_h(workload, left_h, _part(sieve.book, sized.rows)) - boot_h
        late = work_h <= 0
        sentence = partial(_boots_too_long, sieve.book, left_h)
        sieve.refuse_rows(sized.rows[late], BY, ReasonCode.DEADLINE, sentence, figure=boot_h[late])
        if late.any():
            sized, boot_h, work_h = sized.take(~late), boot_h[~late], work_h[~late]
            leases = None if leases is None else leases.take(~late)
    # A fraction of a device that got here holds the whole state.
    whole = np.maximum(1.0, sized.devices)
    nodes = np.ceil(np.where(sized.devices < 1, 1.0, np.maximum(1.0, sized.min_gpus) / whole))
    if left_h is not None:
        within_h = work_h if leases is None else np.where(leases.once, work_h, leases.within_h(work_h))
        nodes = np.maximum(nodes, sized.paces.nodes_within(sized.sizing, sized.devices, within_h))
    if leases is not None:
        keep, nodes = _in_one_lease(sized, nodes, leases, sieve)
        sized, nodes, boot_h, leases = sized.take(keep), nodes[keep], boot_h[keep], leases.take(keep)
    purpose = "to hold the state" if left_h is None else f"to hold the state and finish within {left_h:,.1f} h"
    keep = _enough(sized.rows, nodes, sieve, snapshot, purpose)
    if not keep.all():
        sized, nodes, boot_h = sized.take(keep), nodes[keep], boot_h[keep]
        leases = None if leases is None else leases.take(keep)
    hours = sized.paces.hours(sized.sizing, sized.devices, nodes, boot_h, leases)
    return _candidates(sized, nodes, sieve.book, hours)


def _in_one_lease(sized: _Sized, nodes: FloatArray, leases: Tenure, sieve: Sieve) -> tuple[BoolArray, FloatArray]:
    """Where the work can be done in leases that end, and on how many nodes; refuses the rest."""
    keep = np.ones(len(nodes), np.bool_)
    once = np.flatnonzero(leases.once)
    if not len(once):
        return keep, nodes
    least = sized.paces.nodes_within(sized.sizing[once], sized.devices[once], np.maximum(leases.first_h[once], 1e-9))
    wanted, stock = nodes.copy(), sieve.book.most_nodes[sized.rows[once]]
    wanted[once] = np.maximum(nodes[once], least)
    short = (least > nodes[once]) & (((stock != UNKNOWN) & (least > stock)) | (least > MAX_NODES))
    keep[once[short]] = False
    refused, counts = sized.rows[once[short]], least[short]

    def sentence(row: int) -> str:
        count, ends_s = float(counts[np.searchsorted(refused, row)]), float(_lease_s(sieve.book)[row])
        few = (
            f"needs {count:,.0f} nodes to end within it" if count <= MAX_NODES else "no number of nodes ends within it"
        )
        return f"a lease ends after {spoken(ends_s / 3600.0)}, from which the job does not go on; {few}"

    sieve.refuse_rows(refused, BY, ReasonCode.LEASE_TOO_SHORT, sentence, figure=counts)
    return keep, wanted


def _lease_s(book: OfferBook) -> FloatArray:
    return np.full(len(book), np.nan) if book.max_lease_s is None else book.max_lease_s


def _boots_too_long(book: OfferBook, left_h: float, row: int) -> str:
    boot_h = float(book.boot_s[row]) / 3600
    back = "" if boot_h >= left_h else ", and may have to be left for others that boot"
    return f"boots for {boot_h:,.1f} h{back}; the deadline leaves {left_h:,.1f} h"


def _serve(workload: Inference, snapshot: Snapshot, sized: _Sized, sieve: Sieve) -> Candidates:
    """A service: its replicas packed onto nodes."""
    replicas = sized.paces.p50[sized.sizing]
    per_node = np.where(sized.devices < 1, sized.devices, np.floor(sized.devices / sized.min_gpus))
    nodes = np.maximum(1.0, np.ceil(replicas / per_node))
    keep = _enough(sized.rows, nodes, sieve, snapshot, "to answer all requests")
    sized, nodes = sized.take(keep), nodes[keep]
    leases = tenure(workload, _part(sieve.book, sized.rows))
    if leases is not None:
        down = (leases.first_h <= leases.change_h) & (leases.first_h < workload.duration_s / 3600.0)
        sentence = partial(_down_too_long, sieve.book)
        sieve.refuse_rows(sized.rows[down], BY, ReasonCode.LEASE_TOO_SHORT, sentence, figure=leases.first_h[down])
        sized, nodes = sized.take(~down), nodes[~down]
    horizon = np.full(len(nodes), workload.duration_s / 3600.0)
    return _candidates(sized, nodes, sieve.book, (horizon, horizon, horizon))


def _down_too_long(book: OfferBook, row: int) -> str:
    ends_h, boot_h = float(_lease_s(book)[row]) / 3600.0, float(book.boot_s[row]) / 3600.0
    return f"a lease ends after {spoken(ends_h)}, and the next boots for {spoken(boot_h)}: it would be down for longer"


def _obtainable(rows: IntArray, nodes: FloatArray, sieve: Sieve, snapshot: Snapshot) -> BoolArray:
    """Where the account's quota allows the nodes and no fresh refusal stands against them; refuses the rest."""
    book, keep = sieve.book, np.ones(len(rows), np.bool_)
    if book.quota_nodes is not None:
        quota = book.quota_nodes
        keep = (quota[rows] == UNKNOWN) | (nodes <= quota[rows])
        over, wanted = rows[~keep], nodes[~keep]

        def sentence(row: int) -> str:
            count = float(wanted[np.searchsorted(over, row)])
            return f"quota allows {int(quota[row])} of {count:,.0f} nodes in {book.region[row]}"

        sieve.refuse_rows(over, BY, ReasonCode.QUOTA, sentence, figure=wanted)
    if snapshot.blocks:
        refused = blocked(book, snapshot)
        again = keep & refused.among(rows, nodes)
        sieve.refuse_rows(rows[again], BY, ReasonCode.RECENTLY_REFUSED, refused.sentence)
        keep &= ~again
    return keep


def _enough(rows: IntArray, nodes: FloatArray, sieve: Sieve, snapshot: Snapshot, purpose: str) -> BoolArray:
    """Where the nodes can be had and are on sale (or nobody says how many are); refuses the rest."""
    free, stock = _obtainable(rows, nodes, sieve, snapshot), sieve.book.available[rows]
    few = free & ~(nodes <= MAX_NODES) | (free & (stock != UNKNOWN) & (nodes > stock))
    refused, wanted = rows[few], nodes[few]

    def sentence(row: int) -> str:
        count, on_sale = float(wanted[np.searchsorted(refused, row)]), int(sieve.book.available[row])
        limit = f"{on_sale} on sale" if on_sale != UNKNOWN else f"no site has more than {MAX_NODES:,}"
        return f"needs {count:,.0f} nodes {purpose}; {limit}"

    sieve.refuse_rows(refused, BY, ReasonCode.TOO_FEW_NODES, sentence, figure=wanted)
    keep: BoolArray = free & ~few
    return keep


def _candidates(
    sized: _Sized, nodes: FloatArray, book: OfferBook, hours: tuple[FloatArray, FloatArray, FloatArray]
) -> Candidates:
    return Candidates(
        book=_part(book, sized.rows),
        offer=sized.rows,
        sizing=sized.sizing,
        sizings=sized.sizings,
        nodes=nodes.astype(np.int64),
        hours=hours[1],
        hours_p10=hours[0],
        hours_p90=hours[2],
    )


def _part(book: OfferBook, rows: IntArray) -> OfferBook:
    """The book at rising `rows`."""
    return book if len(rows) == len(book) else book.take(rows)
