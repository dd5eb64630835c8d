"""The look at the market: every provider asked at once under one deadline, and the answers made one snapshot."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import Clock, DescribesAccelerators, Provider, survey
from orchestrator.domain.errors import ProviderError
from orchestrator.domain.network import Network
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
    table's of the same name. `taken_at` is when all answers were in.

    Raises: whatever a provider raises beyond ProviderError, and ValueError where it answers in another's name: both are
    faults of its adapter, and a plan from them would be wrong.
    """
    answers, silent = _ask(providers, deadline_s)
    found = {name: answer for name, answer in answers.items() if isinstance(answer, _Answer)}
    blind = [Gap(name, detail) for name, answer in found.items() for detail in answer.gaps]
    blind += [Gap(name, error.detail) for name, error in answers.items() if isinstance(error, ProviderError)]
    blind += [Gap(name, f"no answer within {deadline_s:g} s") for name in silent]
    for name in sorted(found):
        strangers = set(found[name].offers.provider.compact().vocab) - {name}
        if strangers:
            raise ValueError(f"the provider {name!r} answers with offers of {', '.join(sorted(strangers))}")
    return Snapshot(
        taken_at=clock.now(),
        book=_market(base, [(name, found[name].offers) for name in sorted(found)]),
        accelerators=_devices(accelerators, [found[name].devices for name in sorted(found)]),
        network=network,
        buyable=tuple(sorted(found)),
        gaps=(*gaps, *sorted(blind, key=lambda gap: gap.provider)),
        calibration=calibration,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    offers: OfferBook
    devices: tuple[Accelerator, ...]
    gaps: tuple[str, ...]  # what is missing of an answer that came


def _ask(
    providers: Mapping[str, Provider], deadline_s: float
) -> tuple[dict[str, _Answer | ProviderError], tuple[str, ...]]:
    """What every provider answered, and the names of those that did not in time."""
    ended: queue.SimpleQueue[tuple[str, _Answer | Exception]] = queue.SimpleQueue()

    def ask(name: str, provider: Provider) -> None:
        try:
            ended.put((name, _listing(provider)))
        except Exception as error:  # carried to the caller's thread: it tells failures of providers from our own
            ended.put((name, error))

    # Daemon threads: one that hangs for ever must not hold the process when the user is done with it.
    for name, provider in providers.items():
        threading.Thread(target=ask, args=(name, provider), name=f"look-{name}", daemon=True).start()
    answers: dict[str, _Answer | ProviderError] = {}
    until = time.monotonic() + deadline_s
    while len(answers) < len(providers):
        try:
            name, answer = ended.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(answer, Exception) and not isinstance(answer, ProviderError):
            raise answer
        answers[name] = answer
    return answers, tuple(name for name in providers if name not in answers)


def _listing(provider: Provider) -> _Answer:
    devices = tuple(provider.accelerators()) if isinstance(provider, DescribesAccelerators) else ()
    found = survey(provider)
    return _Answer(found.book, devices, found.gaps)


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
