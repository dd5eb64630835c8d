"""Fresh prices: every provider asked at once and patiently, and each answer kept on disk as soon as it comes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from orchestrator.catalog import history, refreshed
from orchestrator.catalog.changes import Changes, last_changes
from orchestrator.catalog.refreshed import Refreshed
from orchestrator.domain.contracts import Clock, Provider, Survey, survey
from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.offerbook import OfferBook

ATTEMPTS = 5  # of one provider
FIRST_WAIT_S = 1.0  # before the second; doubled every time, and never sooner than the provider asks for
REDRAW_S = 0.5
LIVE, IMPORT = "live-", "import-"  # what the names of histories of refreshed prices and of imports begin with


class Stage(StrEnum):
    """Where asking one provider has got to."""

    ASKING = "asking"
    WAITING = "waiting"  # to ask again
    DONE = "done"
    FAILED = "failed"


class Progress(NamedTuple):
    """How one provider stands: `detail` in words, `offers` that it told of."""

    provider: str
    stage: Stage
    detail: str = ""
    offers: int = 0


Source = Callable[[], Survey]  # raises AuthError, TransientError
Watch = Callable[[tuple[Progress, ...]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of asking one provider.

    `told` is None where it did not answer; `problem` says why, and what it said before is kept. `changes` are those
    against the refresh before.
    """

    provider: str
    told: Refreshed | None
    changes: Changes | None
    gaps: tuple[str, ...] = ()
    problem: str = ""


Keep = Callable[[str, Survey, "Asking"], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Where prices are kept and how, and how long anybody is waited for: `patience_s` altogether."""

    folder: Path  # of the catalogue
    clock: Clock
    patience_s: float
    keep: Keep


def of_providers(providers: Mapping[str, Provider]) -> dict[str, Source]:
    """The providers as sources of prices."""
    return {name: partial(survey, provider) for name, provider in providers.items()}


def refresh(sources: Mapping[str, Source], asking: Asking, watch: Watch) -> tuple[Outcome, ...]:
    """Ask every source for what is sold and keep the answers, each as it comes; the outcomes by name.

    A source that fails for a moment is asked again, not before it said to and no later than `patience_s` allows.
    What a source told before stays whole unless a new answer has been written. `watch` hears how it goes on, at least
    every half second. Progress is real time; waits and dates are the clock's.

    Raises: ConfigError where prices cannot be written; whatever a source raises beyond ProviderError, which is a fault
    of its adapter.
    """
    said: queue.SimpleQueue[Progress | tuple[str, Survey | Exception]] = queue.SimpleQueue()
    for name, source in sources.items():
        # Daemon threads: one that hangs for ever must not hold the process when the user is done with it.
        work = threading.Thread(target=_ask, args=(name, source, asking, said), name=f"refresh-{name}", daemon=True)
        work.start()
    standing = {name: Progress(name, Stage.ASKING) for name in sources}
    outcomes: dict[str, Outcome] = {}
    until = time.monotonic() + asking.patience_s
    while len(outcomes) < len(sources):
        watch(tuple(standing.values()))
        left = until - time.monotonic()
        try:
            heard = said.get(timeout=max(0.0, min(REDRAW_S, left)))
        except queue.Empty:
            if left <= 0:
                break
            continue
        if isinstance(heard, Progress):
            standing[heard.provider] = heard
            continue
        name, answer = heard
        outcomes[name] = _outcome(name, answer, asking)
        standing[name] = _ended(outcomes[name])
    for name in sources:
        if name not in outcomes:
            outcomes[name] = failed(name, f"no answer within {asking.patience_s:g} s")
            standing[name] = _ended(outcomes[name])
    watch(tuple(standing.values()))
    return tuple(outcomes[name] for name in sorted(outcomes))


def _ask(
    name: str,
    source: Source,
    asking: Asking,
    said: queue.SimpleQueue[Progress | tuple[str, Survey | Exception]],
) -> None:
    """Ask until there is an answer, a refusal, or no patience left; put that into `said`."""
    waited = 0.0
    for attempt in range(ATTEMPTS):
        try:
            said.put((name, source()))
            return
        except TransientError as error:
            wait = max(error.retry_after_s, FIRST_WAIT_S * 2**attempt)
            if attempt + 1 == ATTEMPTS or waited + wait > asking.patience_s:
                said.put((name, error))
                return
            said.put(Progress(name, Stage.WAITING, f"{error.detail}; again in {wait:g} s"))
            asking.clock.sleep(wait)
            waited += wait
            said.put(Progress(name, Stage.ASKING, f"attempt {attempt + 2}"))
        except Exception as error:  # carried to the caller's thread: it tells failures of providers from our own
            said.put((name, error))
            return


def _outcome(name: str, answer: Survey | Exception, asking: Asking) -> Outcome:
    if isinstance(answer, ProviderError):
        return failed(name, answer.detail)
    if isinstance(answer, Exception):
        raise answer
    return asking.keep(name, answer, asking)


def keep_live(name: str, answer: Survey, asking: Asking) -> Outcome:
    """Keep what a provider says of itself, in place of what it said before.

    Raises: ConfigError where it cannot be written, ValueError where it answers in another's name.
    """
    strangers = set(answer.book.provider.compact().vocab) - {name}
    if strangers:
        raise ValueError(f"the provider {name!r} answers with offers of {', '.join(sorted(strangers))}")
    book, unusable = refreshed.priced(answer.book)
    gaps = answer.gaps
    if unusable:
        gaps = (*gaps, f"{unusable} offers without a usable price are left out")
    former = refreshed.last(asking.folder, name)
    if not len(book):
        return _empty(name, answer.book, former, gaps)
    told = Refreshed(provider=name, book=book, at=asking.clock.now(), everything=not gaps, gaps=gaps)
    told = refreshed.brought_up(former, told)
    refreshed.store(asking.folder, told)
    grown = history.record(asking.folder, f"{LIVE}{name}", told.book, told.at)
    return Outcome(provider=name, told=told, changes=last_changes(f"{LIVE}{name}", grown), gaps=gaps)


def _empty(name: str, answer: OfferBook, former: Refreshed | None, gaps: tuple[str, ...]) -> Outcome:
    """An answer without prices: machines of one's own have none, and of a vendor it is more likely wrong than true."""
    if len(answer) and not gaps:
        return Outcome(provider=name, told=None, changes=None, problem="")
    kept = "; what it said before is kept" if former is not None else ""
    return Outcome(provider=name, told=None, changes=None, gaps=gaps, problem=f"it lists nothing with a price{kept}")


def failed(name: str, problem: str) -> Outcome:
    """The outcome of a provider that told nothing."""
    return Outcome(provider=name, told=None, changes=None, problem=problem)


def _ended(outcome: Outcome) -> Progress:
    if outcome.problem:
        return Progress(outcome.provider, Stage.FAILED, outcome.problem)
    offers = len(outcome.told.book) if outcome.told is not None else 0
    return Progress(outcome.provider, Stage.DONE, "", offers)
