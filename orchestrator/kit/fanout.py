"""The same question to many regions at once: what they answer, and apart from it what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator.domain.errors import ProviderError

T = TypeVar("T")
WORKERS = 16


def ask(
    places: Iterable[str], question: Callable[[str], T], *, workers: int = WORKERS
) -> tuple[dict[str, T], dict[str, ProviderError]]:
    """`question(place)` for every place, up to `workers` at a time: answers, and errors of those that failed.

    Both keep the order of `places`. Anything but a ProviderError is a bug of the adapter and passes.
    """
    asked = list(dict.fromkeys(places))
    if not asked:
        return {}, {}

    def attempt(place: str) -> T | ProviderError:
        try:
            return question(place)
        except ProviderError as error:
            return error

    with ThreadPoolExecutor(min(workers, len(asked)), thread_name_prefix="ask") as pool:
        answers = dict(zip(asked, pool.map(attempt, asked), strict=True))
    found = {place: answer for place, answer in answers.items() if not isinstance(answer, ProviderError)}
    failed = {place: answer for place, answer in answers.items() if isinstance(answer, ProviderError)}
    return found, failed


def told(failed: Mapping[str, ProviderError]) -> tuple[str, ...]:
    """One sentence for every place that failed, for the gaps of a survey."""
    return tuple(f"{place}: {error.detail}" for place, error in failed.items())
