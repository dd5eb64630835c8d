"""Approval: above which amount a named person has to agree before anything is bought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

TOLERANCE_USD = 1e-6  # bills are rounded to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`by` has to agree to `usd`, because `expected_usd` is above `above_usd`.

    `usd` is the 90th percentile of what it costs, so that a price that moves a little, or a restart, asks nobody twice.
    """

    by: str
    above_usd: float
    expected_usd: float  # the 50th percentile
    usd: float


class ApprovalRule(NamedTuple):
    """Of the settings: what is expected to cost more than `above_usd` needs the approval of `by`."""

    by: str
    above_usd: float

    def needed(self, expected_usd: float, most_usd: float, *, approved_usd: float = 0.0) -> Approval | None:
        """The approval that an expected bill needs, whose 90th percentile is `most_usd`; None where it needs none.

        `approved_usd` is what `by` has agreed to already.
        """
        if expected_usd <= max(self.above_usd, approved_usd) + TOLERANCE_USD:
            return None
        most = max(expected_usd, most_usd)
        return Approval(by=self.by, above_usd=self.above_usd, expected_usd=expected_usd, usd=most)
