"""Work in parts that know nothing of each other: who runs them is the caller's to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Spread(Protocol):
    """`map`, or the `map` of a pool of threads: calls a function on every task, answers in the order of the tasks."""

    def __call__(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        """The results."""
