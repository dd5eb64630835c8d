"""Notes: what a reader of a plan must know beyond its numbers."""

from __future__ import annotations

import numpy as np

from orchestrator.domain.candidates import Candidates
from orchestrator.domain.offerbook import UNKNOWN
from orchestrator.domain.plan import Placement
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import FineTune, Inference, Training
from orchestrator.planning.judge import Judgement
from orchestrator.planning.limits import accelerator_matches, hours_left, matches, region_matches
from orchestrator.planning.pricing import annotator, named

LONG_H = 30 * 24.0  # a job without a deadline that takes longer than this is pointed out
SLOW_FABRICS = frozenset({"", "ethernet"})
NAMED = 5  # words listed before "and n more"


def collect(
    judgement: Judgement, top: Candidates, ranked: tuple[Placement, ...], *, max_price_age_s: float | None
) -> tuple[str, ...]:
    """The notes, in a fixed order: market, limits, prices, stock, purchase, network, time, policies.

    `top` are the candidates of `ranked`, one for each part of each placement.
    """
    notes = []
    if not len(judgement.sieve.book):
        notes.append("the snapshot holds no offers: import a catalogue, or set up a provider")
    notes += _limits_that_match_nothing(judgement)
    if ranked:
        if max_price_age_s is not None:
            notes += _stale(judgement, ranked, max_price_age_s)
        notes += _stock(judgement)
        notes += _purchase(ranked)
        notes += _network(judgement, ranked)
        notes += _time(judgement, ranked)
        for policy, *_ in judgement.panel.seats:
            speaker = annotator(policy)
            if speaker is not None:
                with named(policy, "annotated"):
                    notes += [f"{policy.name}: {note}" for note in speaker.notes(judgement.view, top)]
    notes += _many_places(judgement, feasible=bool(ranked))
    return tuple(notes)


def _many_places(judgement: Judgement, *, feasible: bool) -> list[str]:
    """One placement is one site: whether several would be cheaper takes a plan of its own to know."""
    workload = judgement.view.workload
    if not isinstance(workload, Inference) or not len(judgement.sieve.book):
        return []
    places = len({population.place for population in workload.users})
    if places > 1:
        return [f"the users of {places} places are all served from one site here; --continuum may use several"]
    return [] if feasible else ["this plan looks for one site alone; --continuum may use several"]


def _limits_that_match_nothing(judgement: Judgement) -> list[str]:
    """A misspelt region refuses everything: say so, and what was probably meant."""
    limits, book = judgement.view.workload.limits, judgement.view.snapshot.book
    providers, accelerators, regions = book.provider.vocab, book.accelerator.vocab, book.region.vocab
    if not len(book):
        return []
    notes = []
    for word in limits.providers:
        if not any(matches(name, (word,)) for name in providers):
            notes.append(f"no offer is from a provider '{word}'; {hint(word, providers)}")
    for word in limits.accelerators:
        if not any(accelerator_matches(name, (word,)) for name in accelerators):
            notes.append(f"no offer has an accelerator '{word}'; {hint(word, accelerators)}")
    for word in limits.regions:
        region = word.rpartition("/")[2]
        if not any(region_matches(provider, name, (word,)) for name in regions for provider in (*providers, "")):
            notes.append(f"no offer is in a region '{word}'; {hint(region, regions)}")
    return notes


def _stale(judgement: Judgement, ranked: tuple[Placement, ...], max_age_s: float) -> list[str]:
    taken_at = judgement.view.snapshot.taken_at
    age_s = taken_at.timestamp() - judgement.candidates.book.observed_at
    old = int(np.count_nonzero(age_s > max_age_s))
    if not old:
        return []
    days = max_age_s / 86400.0
    oldest = min(part.offer.observed_at for part in ranked[0].parts)
    best_d = (taken_at - oldest).total_seconds() / 86400.0
    which = f"the best placement's is {best_d:,.0f} days old" if best_d > days else "the best placement's is not"
    return [f"prices of {old:,} of {len(age_s):,} feasible offers are older than {days:,.0f} days; {which}"]


def _stock(judgement: Judgement) -> list[str]:
    book = judgement.candidates.book
    unknown = book.available == UNKNOWN
    if not unknown.any():
        return []
    counts = np.bincount(book.provider.codes[unknown], minlength=len(book.provider.vocab))
    names = [book.provider.vocab[code] for code in np.flatnonzero(counts).tolist()]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [
        f"{int(unknown.sum()):,} feasible offers of {', '.join(names[:NAMED])}{more} do not say how many nodes are on "
        "sale; they are taken to have enough"
    ]


def _purchase(ranked: tuple[Placement, ...]) -> list[str]:
    if ranked[0].buyable:
        return []
    provider, count = ranked[0].parts[0].offer.provider, len(ranked[0].parts)
    note = f"the best placement is a list price: buying it takes an adapter with credentials for {provider}"
    if count > 1:
        note = f"the best placement is in {count} parts, which the control plane does not buy as one"
    for rank, placement in enumerate(ranked, 1):
        if placement.buyable:
            return [f"{note}; the best that can be bought now is no. {rank}, {placement.label}"]
    return [f"{note}; none of the {len(ranked)} shown can be bought now"]


def _network(judgement: Judgement, ranked: tuple[Placement, ...]) -> list[str]:
    """Training exchanges gradients between nodes at every step, and the hours are of clusters with a fast fabric."""
    if any(seat.policy.name == "interconnect" for seat in judgement.panel.seats):
        return []  # that policy says by how much
    part, *others = ranked[0].parts
    gang = isinstance(judgement.view.workload, Training | FineTune)
    if not gang or others or part.nodes == 1 or part.offer.fabric not in SLOW_FABRICS:
        return []
    network = "an ethernet of unknown speed" if part.offer.fabric else "a network that the offer does not describe"
    return [
        f"the best placement trains on {part.nodes:,} nodes over {network}, while its hours are those of "
        "clusters with a fast fabric: expect fewer tokens a second"
    ]


def _time(judgement: Judgement, ranked: tuple[Placement, ...]) -> list[str]:
    view = judgement.view
    if isinstance(view.workload, Inference) or hours_left(view.workload, view.snapshot) is not None:
        return []
    days = ranked[0].hours.p50 / 24.0
    if ranked[0].hours.p50 <= LONG_H:
        return []
    return [f"without a deadline the fewest nodes are used, and the best takes {days:,.0f} days; set limits.deadline"]
