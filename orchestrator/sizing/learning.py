"""Learning: what a user's own history says about predictions, as factors on time shrunk towards 1 and wider bands.

Two levels, normal, in the logarithm of observed over predicted time (Gelman et al., Bayesian Data Analysis, chapter 5):

    group g of generation k   m_kg ~ N(theta_k, sigma^2)        rows that share a group are not independent
    generation k              theta_k ~ N(theta, s^2/2)
    all                       theta ~ N(0, s^2/2)

with s the half-width of the uncalibrated band over z = 1.2816, the 90th percentile of a standard normal: where nothing
is known of a user, the band says how far off he may be. The middle of a generation is the median of its groups, so that
one odd run does not move it, and with fewer than three groups none counts for more than 3 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, pi, sqrt
from zlib import crc32

from orchestrator.domain.errors import UserError
from orchestrator.sizing.accuracy import Judged, Quantity, quantile
from orchestrator.sizing.calibration import ALL, CPU, PREFIX, Kind
from orchestrator.sizing.parameters import Parameter, Parameters

LEAST_ROWS = 3  # of one kind: fewer say nothing of the next one
PRIOR_GROUPS = 4.0  # how many groups the uncalibrated band counts for, where spreads are estimated
MEDIAN_COST = pi / 2.0  # variance of a median over that of a mean, normal
CLIP = 3.0  # spreads that an odd row or one of few groups may count for
TO_DEVIATION = 1.4826  # a median distance from the middle as a standard deviation, normal
Z90 = 1.2815515655446004
NARROWEST = 0.02  # of a band in the logarithm: nothing is known better


KINDS = {
    Quantity.TRAINING_TIME: Kind.TRAINING,
    Quantity.STEP_TIME: Kind.STEP,
    Quantity.THROUGHPUT: Kind.THROUGHPUT,
    Quantity.TPOT: Kind.TPOT,
    Quantity.TTFT_ONE: Kind.TTFT,
    Quantity.TTFT_LOAD: Kind.TTFT,
}  # the latency of a request is TTFT and TPOT again


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """By what predicted times of one kind are multiplied on devices of one generation, or on all others."""

    kind: Kind
    generation: str  # "all": generations without a factor of their own
    factor: float  # on times; throughput is divided by it
    spread: float  # half of the p10-p90 band in the logarithm: p90 = p50·exp(spread)
    rows: int
    groups: int  # of rows that are not independent
    before: float  # median absolute relative error of these rows, uncalibrated
    after: float  # the same with the factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was learned, from what and when; `left` says which kinds have too few rows, and how many."""

    name: str
    made_on: str  # ISO date
    sources: tuple[str, ...]  # files, "measured on H200"
    rows: int  # judged, of all kinds
    factors: tuple[Factor, ...]
    numbers: str  # fingerprint of the parameters that it corrects
    left: tuple[tuple[str, int], ...] = ()

    @property
    def origin(self) -> str:
        """What a sizing names it as."""
        return f"calibration {self.name!r} of {self.made_on}"


def fingerprint(parameters: Parameters) -> str:
    """What tells the numbers of one release from those of another."""
    rows = sorted((name, value) for name, value in parameters.items() if not name.startswith(f"{PREFIX}."))
    return f"{crc32(repr(rows).encode()):08x}"


def calibrate(
    judged: Sequence[Judged], parameters: Parameters, *, name: str, made_on: str, sources: Sequence[str]
) -> Calibration:
    """The calibration that `judged` rows, predicted with `parameters`, which hold none, support.

    Raises: UserError where no kind has `LEAST_ROWS` rows.
    """
    by_kind: dict[Kind, list[Judged]] = {}
    for row in judged:
        if row.quantity in KINDS:
            by_kind.setdefault(KINDS[row.quantity], []).append(row)
    enough = [kind for kind in Kind if len(by_kind.get(kind, ())) >= LEAST_ROWS]
    left = tuple((kind.value, len(rows)) for kind, rows in by_kind.items() if kind not in enough)
    if not enough:
        said = ", ".join(f"{count} of {kind}" for kind, count in left) or "none"
        raise UserError(
            f"too few rows to calibrate with: at least {LEAST_ROWS} of one kind are needed, there are {said}"
        )
    return Calibration(
        name=name,
        made_on=made_on,
        sources=tuple(sources),
        rows=sum(map(len, by_kind.values())),
        factors=tuple(factor for kind in enough for factor in _apart(kind, by_kind[kind])),
        numbers=fingerprint(parameters),
        left=left,
    )


def apply(parameters: Parameters, calibration: Calibration) -> Parameters:
    """The parameters with the rows `calibration.<kind>.<generation>` and `... .spread` that `calibrated` reads."""
    rows = []
    stale = "" if calibration.numbers == fingerprint(parameters) else "; made for another release: calibrate again"
    for each in calibration.factors:
        name = f"{PREFIX}.{each.kind}.{each.generation}"
        origin = f"{calibration.origin}: {each.rows} rows in {each.groups} groups{stale}"
        low, high = each.factor * exp(-each.spread), each.factor * exp(each.spread)
        rows.append(Parameter(name=name, value=each.factor, low=low, high=high, unit="ratio", origin=origin))
        spread = Parameter(
            name=f"{name}.spread", value=each.spread, low=0.0, high=each.spread, unit="ln", origin=origin
        )
        rows.append(spread)
    return parameters.replaced(rows)


@dataclass(frozen=True, slots=True)
class _Generation:
    """The rows of one generation, and per group their logarithms of observed over predicted time."""

    name: str
    rows: tuple[Judged, ...]
    groups: tuple[tuple[float, ...], ...]

    def middle(self, most: float) -> float:
        """The median of the groups' medians. Of fewer than three groups none counts for more than `most`."""
        middles = sorted(quantile(group, 0.5) for group in self.groups)
        if len(middles) < 3:
            middles = [max(-most, min(most, middle)) for middle in middles]
        return quantile(middles, 0.5)


def _apart(kind: Kind, rows: Sequence[Judged]) -> tuple[Factor, ...]:
    """CPUs by themselves: what a program makes of one says nothing of accelerators, nor the other way round."""
    slow = [row for row in rows if row.generation == CPU]
    rest = [row for row in rows if row.generation != CPU]
    own = tuple(factor for factor in _factors(kind, slow) if factor.generation != ALL) if slow else ()
    return (*(_factors(kind, rest) if rest else ()), *own)


def _factors(kind: Kind, rows: Sequence[Judged]) -> tuple[Factor, ...]:
    prior = max(NARROWEST, _half_width(rows) / Z90)
    found = [_generation(name, rows) for name in sorted({row.generation for row in rows})]
    middles = [each.middle(CLIP * prior) for each in found]
    half = prior**2 / 2.0  # of the prior's variance: between generations, and of all of them alike
    freedom = PRIOR_GROUPS + sum(len(each.groups) for each in found) - len(found)
    noise = (PRIOR_GROUPS * prior**2 + _squares(found, middles, prior)) / freedom
    sampling = [noise * (MEDIAN_COST if len(each.groups) > 2 else 1.0) / len(each.groups) for each in found]
    precision = 1.0 / half + sum(1.0 / (half + variance) for variance in sampling)
    weighted = sum(middle / (half + variance) for middle, variance in zip(middles, sampling, strict=True))
    everywhere = weighted / precision
    unseen = noise + half + 1.0 / precision  # of a run of a generation without rows
    factors = [_factor(kind, ALL, rows, theta=everywhere, variance=unseen, freedom=freedom)]
    for each, middle, variance in zip(found, middles, sampling, strict=True):
        if each.name and len(each.rows) >= LEAST_ROWS:
            share = half / (half + variance)
            theta = everywhere + share * (middle - everywhere)
            # What is not known of theta_k: its own half after its groups, and theta's through what they leave.
            doubt = share * variance + (1.0 - share) ** 2 / precision
            factors.append(_factor(kind, each.name, each.rows, theta=theta, variance=noise + doubt, freedom=freedom))
    return tuple(factors)


def _factor(
    kind: Kind, generation: str, rows: Sequence[Judged], *, theta: float, variance: float, freedom: float
) -> Factor:
    sign = -1.0 if kind is Kind.THROUGHPUT else 1.0
    # Student's t at 90 %, by the first term of its expansion: the spread itself is known from few groups.
    t90 = Z90 * (1.0 + (Z90**2 + 1.0) / (4.0 * freedom))
    return Factor(
        kind=kind,
        generation=generation,
        factor=exp(theta),
        spread=max(NARROWEST, t90 * sqrt(variance)),
        rows=len(rows),
        groups=len({(row.generation, row.group) for row in rows}),
        before=quantile(sorted(abs(row.error) for row in rows), 0.5),
        after=quantile(sorted(abs(exp(sign * (theta - _log_ratio(row))) - 1.0) for row in rows), 0.5),
    )


def _squares(found: Sequence[_Generation], middles: Sequence[float], prior: float) -> float:
    """Squared distances of rows from their generation's middle, the mean of each group, summed over the groups.

    A distance counts for `CLIP` spreads at most, of the prior or of most rows, whichever is wider.
    """
    distances = [
        [abs(value - middle) for value in group]
        for each, middle in zip(found, middles, strict=True)
        for group in each.groups
    ]
    usual = TO_DEVIATION * quantile(sorted(value for group in distances for value in group), 0.5)
    most = CLIP * max(prior, usual)
    return sum(sum(min(value, most) ** 2 for value in group) / len(group) for group in distances)


def _generation(name: str, rows: Sequence[Judged]) -> _Generation:
    mine = tuple(row for row in rows if row.generation == name)
    by_group: dict[str, list[float]] = {}
    for row in mine:
        by_group.setdefault(row.group, []).append(_log_ratio(row))
    return _Generation(name, mine, tuple(tuple(sorted(values)) for values in by_group.values()))


def _log_ratio(row: Judged) -> float:
    """The logarithm of observed over predicted time; a throughput's time is its inverse."""
    ratio = log(row.true / row.predicted.p50)
    return -ratio if row.quantity is Quantity.THROUGHPUT else ratio


def _half_width(rows: Sequence[Judged]) -> float:
    """Half of the predicted bands in the logarithm, the median of the rows."""
    widths = sorted(log(row.predicted.p90 / row.predicted.p10) / 2.0 for row in rows)
    return quantile(widths, 0.5)
