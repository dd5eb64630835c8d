"""The sieve: every offer passes, or is refused exactly once, by the first rule that catches it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from orchestrator.domain.offerbook import BoolArray, FloatArray, IntArray, OfferBook
from orchestrator.domain.plan import Example, RefusalCount
from orchestrator.domain.reason import Reason, ReasonCode

EXAMPLES = 3  # offers named per reason
OPEN = -1
ASIDE = -2  # not asked about


class Rule(NamedTuple):
    """One rule that caught offers: `sentence(row)` says why, for a row of the snapshot's book."""

    by: str
    code: ReasonCode
    sentence: Callable[[int], str]
    examples: tuple[int, ...]


class Sieve:
    """The state of one judgement: which rule, if any, refused each offer of `book`.

    An offer that is refused stays refused by its first rule, so the counts of the rules and the offers still open
    always add up to the whole book.
    """

    def __init__(self, book: OfferBook, *, among: BoolArray | None = None) -> None:
        """Of all offers, or of those where `among` (shape (len(book),)) is True: the others are neither."""
        self.book = book
        self.rules: list[Rule] = []
        self._rule = np.full(len(book), OPEN, np.int32)
        if among is not None:
            self._rule[~among] = ASIDE

    @property
    def open(self) -> BoolArray:
        """Shape (len(book),): True where no rule has refused."""
        open_: BoolArray = self._rule == OPEN
        return open_

    @property
    def open_rows(self) -> IntArray:
        """Rows of the book that no rule has refused, rising."""
        return np.flatnonzero(self._rule == OPEN)

    def refuse(self, mask: BoolArray, by: str, code: ReasonCode, sentence: Callable[[int], str]) -> None:
        """Refuse the rows of the book where `mask` (shape (len(book),)) is True and that are still open."""
        self.refuse_rows(np.flatnonzero(mask & (self._rule == OPEN)), by, code, sentence)

    def refuse_rows(
        self,
        rows: IntArray,
        by: str,
        code: ReasonCode,
        sentence: Callable[[int], str],
        *,
        figure: FloatArray | None = None,
        spread: IntArray | None = None,
    ) -> None:
        """Refuse open `rows` of the book.

        The examples are the rows with the least `figure` (row-aligned with `rows`: the nearest misses), or the first
        row of each of the first few groups in `spread` (likewise), or the first rows.
        """
        if not len(rows):
            return
        self._rule[rows] = len(self.rules)
        self.rules.append(Rule(by, code, sentence, _examples(rows, figure, spread)))

    def reopen(self, rows: IntArray) -> None:
        """Take back the refusals of `rows` of the book."""
        self._rule[rows] = OPEN

    def caught(self, code: ReasonCode, by: str | None = None) -> BoolArray:
        """Shape (len(book),): True where a rule of `code`, and of `by` where one is named, refused."""
        rules = [rule.code is code and by in (None, rule.by) for rule in self.rules]
        return np.array([*rules, False, False], np.bool_)[self._rule]  # -2 and -1, aside and open, are the last two

    def reason(self, row: int) -> Reason | None:
        """Why row `row` of the book was refused; None where it was not."""
        index = int(self._rule[row])
        if index < 0:
            return None
        rule = self.rules[index]
        return Reason(rule.by, rule.code, rule.sentence(row))

    def counts(self, *, among: BoolArray | None = None) -> tuple[RefusalCount, ...]:
        """The refusals by who refused and why, the most frequent first; of the rows `among` alone where given."""
        index_of = self._rule if among is None else self._rule[among]
        caught = np.bincount(index_of - ASIDE, minlength=len(self.rules) - ASIDE)[-ASIDE:]
        grouped: dict[tuple[str, ReasonCode], list[int]] = {}
        for index, rule in enumerate(self.rules):
            grouped.setdefault((rule.by, rule.code), []).append(index)
        counts = [
            RefusalCount(
                by=by,
                code=code,
                count=sum(int(caught[index]) for index in indices),
                examples=self._in_words(indices) if among is None else (),
            )
            for (by, code), indices in grouped.items()
            if any(caught[index] for index in indices)
        ]
        return tuple(sorted(counts, key=lambda refusal: (-refusal.count, refusal.by, refusal.code)))

    def _in_words(self, indices: list[int]) -> tuple[Example, ...]:
        """A few examples, taken from the rules in turn so that each has a say."""
        turns = zip_longest(*([(row, self.rules[i]) for row in self._standing(i)] for i in indices))
        picked = [pair for turn in turns for pair in turn if pair is not None][:EXAMPLES]
        return tuple(Example(self.book[row].label, rule.sentence(row)) for row, rule in picked)

    def _standing(self, index: int) -> tuple[int, ...]:
        """Examples of a rule that were not reopened; others where all of them were."""
        examples = tuple(row for row in self.rules[index].examples if self._rule[row] == index)
        return examples or tuple(np.flatnonzero(self._rule == index)[:EXAMPLES].tolist())


def _examples(rows: IntArray, figure: FloatArray | None, spread: IntArray | None) -> tuple[int, ...]:
    if figure is not None and len(rows) > EXAMPLES:
        least = np.partition(figure, EXAMPLES - 1)[EXAMPLES - 1]
        near = np.flatnonzero(figure <= least)
        if len(near):  # none where the figures are not numbers
            return tuple(rows[near[np.argsort(figure[near], kind="stable")[:EXAMPLES]]].tolist())
    if spread is not None:
        first = np.full(int(spread.max()) + 1, -1, np.int64)
        first[spread[::-1]] = rows[::-1]  # the last write wins: the first row of each group
        return tuple(first[first >= 0][:EXAMPLES].tolist())
    return tuple(rows[:EXAMPLES].tolist())
