"""The look at the market: every provider asked at once under one deadline, and the answers made one snapshot."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import Clock, DescribesAccelerators, MeasuresLinks, Provider, survey
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.network import Link, Network, Place
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.sizing import Assumption
from orchestrator.domain.snapshot import Gap, Snapshot


def take(
    providers: Mapping[str, Provider],
    *,
    base: OfferBook,
    accelerators: tuple[Accelerator, ...],
    network: Network,
    gaps: tuple[Gap, ...] = (),
    calibration: tuple[Assumption, ...] = (),
    clock: Clock,
    deadline_s: float,
) -> Snapshot:
    """The market now: `base`, with the offers of every provider that answers in place of its offers in `base`.

    A provider that fails or does not answer within `deadline_s` seconds becomes a gap after those in `gaps`; its offers
    in `base` stay as prices that cannot be bought. What a survey misses is a gap too, beside the offers that it found.
    `buyable` names those that answered. Sold-out offers are kept. A device that a provider describes goes before the
    table's of the same name, and so do places that a provider tells of; links that it measured go before those of
    `network`, and where they are late only they are missing. `taken_at` is when all answers were in.

    Raises: whatever a provider raises beyond ProviderError, and ValueError where it answers in another's name: both are
    faults of its adapter, and a plan from them would be wrong.
    """
    answers, paths, silent = _ask(providers, deadline_s)
    found = {name: answer for name, answer in answers.items() if isinstance(answer, _Answer)}
    blind = [Gap(name, detail) for name, answer in found.items() for detail in answer.gaps]
    blind += [Gap(name, error.detail) for name, error in answers.items() if isinstance(error, ProviderError)]
    blind += [Gap(name, f"no answer within {deadline_s:g} s") for name in silent]
    blind += [Gap(name, path.gap) for name, path in paths.items() if path.gap]
    links = [link for _, path in sorted(paths.items()) for link in path.links]
    for name in sorted(found):
        strangers = set(found[name].offers.provider.compact().vocab) - {name}
        if strangers:
            raise ValueError(f"the provider {name!r} answers with offers of {', '.join(sorted(strangers))}")
    return Snapshot(
        taken_at=clock.now(),
        book=_market(base, [(name, found[name].offers) for name in sorted(found)]),
        accelerators=_devices(accelerators, [found[name].devices for name in sorted(found)]),
        network=_charted(network, [found[name].places for name in sorted(found)], links),
        buyable=tuple(sorted(found)),
        gaps=(*gaps, *sorted(blind, key=lambda gap: gap.provider)),
        calibration=calibration,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    offers: OfferBook
    devices: tuple[Accelerator, ...]
    gaps: tuple[str, ...]  # what is missing of an answer that came
    places: tuple[Place, ...] = ()


class _Paths(NamedTuple):
    links: tuple[Link, ...]
    gap: str = ""


def _ask(
    providers: Mapping[str, Provider], deadline_s: float
) -> tuple[dict[str, _Answer | ProviderError], dict[str, _Paths], tuple[str, ...]]:
    """What every provider answered, the links it measured, and the names of those that did not answer in time."""
    ended: queue.SimpleQueue[tuple[str, _Answer | _Paths | Exception]] = queue.SimpleQueue()

    def ask(name: str, provider: Provider) -> None:
        try:
            ended.put((name, _listing(provider)))
            if isinstance(provider, MeasuresLinks):  # after the offers, which need not wait for it
                ended.put((name, _paths(provider)))
        except Exception as error:  # carried to the caller's thread: it tells failures of providers from our own
            ended.put((name, error))

    # Daemon threads: one that hangs for ever must not hold the process when the user is done with it.
    for name, provider in providers.items():
        threading.Thread(target=ask, args=(name, provider), name=f"look-{name}", daemon=True).start()
    answers: dict[str, _Answer | ProviderError] = {}
    late = f"its links were not measured within {deadline_s:g} s"
    paths: dict[str, _Paths] = {}
    measuring = {name for name, provider in providers.items() if isinstance(provider, MeasuresLinks)}
    until = time.monotonic() + deadline_s
    while len(answers) < len(providers) or measuring:
        try:
            name, answer = ended.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(answer, Exception) and not isinstance(answer, ProviderError):
            raise answer
        if isinstance(answer, _Paths):
            measuring.discard(name)
            paths[name] = answer
            continue
        answers[name] = answer
        if isinstance(answer, ProviderError):
            measuring.discard(name)
    paths.update({name: _Paths((), late) for name in measuring if name in answers})
    return answers, paths, tuple(name for name in providers if name not in answers)


def _listing(provider: Provider) -> _Answer:
    devices = tuple(provider.accelerators()) if isinstance(provider, DescribesAccelerators) else ()
    found = survey(provider)
    places = tuple(provider.places()) if isinstance(provider, MeasuresLinks) else ()
    return _Answer(found.book, devices, found.gaps, places)


def _paths(provider: MeasuresLinks) -> _Paths:
    """What a provider measured, without what cannot be, told as a gap. A failure costs no more than the links."""
    try:
        told = tuple(provider.links())
    except ProviderError as error:
        return _Paths((), f"its links were not measured: {error.detail}")
    links = tuple(link for link in told if _sound(link.rtt_ms) and _sound(link.gbit_s))
    unsound = len(told) - len(links)
    return _Paths(links, f"{unsound} links with impossible figures are left out" if unsound else "")


def _sound(figure: float) -> bool:
    return math.isfinite(figure) and figure >= 0


def _charted(network: Network, told: Sequence[tuple[Place, ...]], links: Sequence[Link]) -> Network:
    """`network` with what providers tell of it first: of two that say something of one thing, the first counts."""
    places = tuple(place for some in told for place in some)
    if not (places or links):
        return network
    return replace(network, places=(*places, *network.places), links=(*links, *network.links))


def _market(base: OfferBook, live: Sequence[tuple[str, OfferBook]]) -> OfferBook:
    if not live:
        return base  # as it is: sorting thousands of sorted offers again would be felt
    rest = base.where(~base.provider.isin(frozenset(name for name, _ in live)))
    return OfferBook.merge([rest, *(book for _, book in live)])


def _devices(table: tuple[Accelerator, ...], described: Sequence[tuple[Accelerator, ...]]) -> tuple[Accelerator, ...]:
    """The table in its order with described devices in place of their namesakes, then the rest by name."""
    live: dict[str, Accelerator] = {}
    for devices in described:
        for device in devices:
            live.setdefault(device.name, device)  # of two providers that describe a device, the first by name
    own = tuple(live.pop(device.name, device) for device in table)
    return (*own, *(live[name] for name in sorted(live)))
