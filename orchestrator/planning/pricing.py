"""Pricing: what the policies say of candidates, checked: a faulty policy is named, its answer never used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import Annotates, Audits, Bills, Delays, Enforces, Policy, RewardsSpeed
from orchestrator.domain.errors import ConfigError, IsoflopError
from orchestrator.domain.offerbook import BoolArray, FloatArray

ANYTHING = None  # of a policy that does not say what more nodes may better
REFUSALS = "refusals"  # what a policy says where more nodes may pass that fewer do not


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One term over all candidates; `money` says whether somebody will invoice it."""

    by: str
    name: str
    usd: Usd
    money: bool


class Seat(NamedTuple):
    """One policy and what is asked of it only once: which of its terms are money and which may fall with more nodes."""

    policy: Policy
    money: frozenset[str]
    faster: frozenset[str] | None  # ANYTHING where it does not say
    audits: Audits | None
    delays: Delays | None

    def rewards(self, name: str) -> bool:
        """Whether more nodes may better the term `name`, or lift REFUSALS."""
        return self.faster is None or name in self.faster


class Assessment(NamedTuple):
    """What all policies say of n candidates; the terms of those that are not open are not to be used."""

    open: BoolArray
    terms: tuple[Column, ...]
    objective: FloatArray


class Panel(NamedTuple):
    """All policies in their order, and what they look at."""

    view: PlanView
    seats: tuple[Seat, ...]

    def assess(self, candidates: Candidates) -> Assessment:
        """Judge `candidates` apart from any record of refusals."""
        open_ = np.ones(len(candidates), np.bool_)
        for seat in self.seats:
            for refusals in refused(seat.policy, self.view, candidates):
                open_ &= ~refusals.refused
        if not open_.any():
            return Assessment(open_, (), np.zeros(len(candidates), np.float64))
        terms = self.price(candidates)
        bill = added(terms, len(candidates), money=True)
        for seat in self.seats:
            if seat.audits is not None:
                for refusals in audited(seat.policy, seat.audits, self.view, candidates, bill):
                    open_ &= ~refusals.refused
        return Assessment(open_, terms, added(terms, len(candidates)))

    def delay_h(self, candidates: Candidates) -> FloatArray | None:
        """Hours that policies add to those of `candidates`, shape (n,); None where none does.

        Raises: ConfigError where a policy breaks its contract.
        """
        total: FloatArray | None = None
        for seat in self.seats:
            if seat.delays is None:
                continue
            with named(seat.policy, "said what delays it"):
                found = seat.delays.delay_h(self.view, candidates)
            if found is None:
                continue
            column = np.asarray(found, np.float64)
            if column.shape != (len(candidates),) or not (np.isfinite(column) & (column >= 0)).all():
                raise broken(seat.policy, "delays by what are not hours, one number for each candidate")
            total = column if total is None else total + column
        return total

    def may_fall(self, term: Column) -> bool:
        """Whether more nodes may better `term`."""
        return any(seat.policy.name == term.by and seat.rewards(term.name) for seat in self.seats)

    def price(self, candidates: Candidates) -> tuple[Column, ...]:
        """Every term of every policy."""
        return tuple(term for seat in self.seats for term in price(seat.policy, self.view, candidates, seat.money))


def panel(policies: Sequence[Policy], view: PlanView) -> Panel:
    """Seat `policies` before `view`."""
    seats = []
    for policy in policies:
        faster: frozenset[str] | None = ANYTHING
        if _can(policy, "rewards_speed"):
            with named(policy, "said what more nodes may better"):
                faster = cast(RewardsSpeed, policy).rewards_speed(view)
        seats.append(Seat(policy, billed(policy), faster, _auditor(policy), _delayer(policy)))
    return Panel(view, tuple(seats))


# What a policy can do is asked by the one attribute that its protocol has: `isinstance` of a protocol takes as long as
# a small column.


def _can(policy: Policy, what: str) -> bool:
    return callable(getattr(policy, what, None))


def billed(policy: Policy) -> frozenset[str]:
    """The terms of `policy` that are money."""
    return cast(Bills, policy).bills if hasattr(policy, "bills") else frozenset()


def enforced(policy: Policy) -> frozenset[str]:
    """The limits that `policy` stands for."""
    return cast(Enforces, policy).enforces if hasattr(policy, "enforces") else frozenset()


def annotator(policy: Policy) -> Annotates | None:
    """`policy`, where it has something to say about placements."""
    return cast(Annotates, policy) if _can(policy, "notes") else None


def _auditor(policy: Policy) -> Audits | None:
    return cast(Audits, policy) if _can(policy, "audit") else None


def _delayer(policy: Policy) -> Delays | None:
    return cast(Delays, policy) if _can(policy, "delay_h") else None


def added(terms: Sequence[Column], count: int, *, money: bool = False) -> FloatArray:
    """Shape (count,): the terms added from the first to the last; with `money` only what is invoiced."""
    total = np.zeros(count, np.float64)
    for term in terms:
        if term.money or not money:
            total += term.usd
    return total


def price(policy: Policy, view: PlanView, candidates: Candidates, money: frozenset[str]) -> tuple[Column, ...]:
    """The columns of `policy` over `candidates`, checked; those named in `money` are bills.

    Raises: ConfigError where one is not a finite number of dollars for every candidate: a plan on such a column would
    be wrong without a sign of it.
    """
    columns = []
    with named(policy, "priced"):
        found = policy.price(view, candidates)
    for name, usd in found.items():
        column = np.asarray(usd, np.float64)
        if column.shape != (len(candidates),):
            raise broken(policy, f"priced '{name}' in shape {column.shape}, not ({len(candidates)},)")
        finite = np.isfinite(column)
        if not finite.all():
            wrong = np.flatnonzero(~finite)
            offer = candidates.book[int(wrong[0])].label
            raise broken(policy, f"priced '{name}' as {column[wrong[0]]} for {offer} ({len(wrong)} candidates so)")
        columns.append(Column(policy.name, name, column, name in money))
    return tuple(columns)


def refused(policy: Policy, view: PlanView, candidates: Candidates) -> tuple[Refusals, ...]:
    """What `policy` refuses, checked. Raises: ConfigError where it breaks its contract."""
    with named(policy, "refused"):
        found = policy.refuse(view, candidates)
    return _checked(policy, found, len(candidates))


def audited(policy: Policy, auditor: Audits, view: PlanView, candidates: Candidates, bill: Usd) -> tuple[Refusals, ...]:
    """What `policy` refuses for its bill, checked. Raises: ConfigError where it breaks its contract."""
    with named(policy, "audited"):
        found = auditor.audit(view, candidates, bill)
    return _checked(policy, found, len(candidates))


def _checked(policy: Policy, found: Sequence[Refusals], count: int) -> tuple[Refusals, ...]:
    checked = []
    for refusals in found:
        mask, figure = np.asarray(refusals.refused), np.asarray(refusals.figure, np.float64)
        if mask.dtype != np.bool_ or mask.shape != (count,) or figure.shape != (count,):
            raise broken(policy, f"refused in columns that are not {count} truth values and figures")
        checked.append(replace(refusals, refused=mask, figure=figure))
    return tuple(checked)


def broken(policy: Policy, what: str) -> ConfigError:
    """The error for a policy that breaks its contract."""
    return ConfigError(f"policy '{policy.name}' {what}: a fault of the policy; mend it or take it out of the settings")


@contextmanager
def named(policy: Policy, verb: str) -> Iterator[None]:
    """Raises: ConfigError naming the policy for whatever it lets escape, but what it raises for the user."""
    try:
        yield
    except IsoflopError:
        raise
    except Exception as error:  # anybody may write a policy: its fault must not look like ours
        raise broken(policy, f"failed where it {verb}, with {type(error).__name__}: {error}") from error
