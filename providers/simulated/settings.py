"""Settings of the simulated provider: `[providers.simulated]` of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Offer

LISTED_WITHIN_S = 60.0  # what the provider contract promises of a new lease


class MarketName(StrEnum):
    """Which market is simulated."""

    DEMO = "demo"  # small machines with this machine's CPU, in three regions
    WORLD = "world"  # data-centre GPUs in five regions


class FaultKind(StrEnum):
    """What goes wrong."""

    STOCKOUT = "stockout"  # nothing left; with `times`, listed as if there were, and refused
    RECLAIM = "reclaim"  # the lease is taken back `after_s` after it was ready, announced `notice_s` before
    SLOW = "slow"  # the call blocks for `delay_s` before it does anything
    SLOW_ANSWER = "slow-answer"  # the call does its work and blocks for `delay_s` before it answers
    SLOW_BOOT = "slow-boot"  # the machine takes `delay_s` longer to boot
    THROTTLE = "throttle"  # the call is refused with "again after `delay_s`"
    LOST_RESPONSE = "lost-response"  # the call does its work, and its answer is lost
    HIDE = "hide"  # the lease is left out of listings for `for_s` after the purchase


class Verb(StrEnum):
    """A call of the provider; ANY is each of them."""

    ANY = "any"
    OFFERS = "offers"
    ACQUIRE = "acquire"
    RELEASE = "release"
    LEASES = "leases"


_TIMED = frozenset({FaultKind.STOCKOUT, FaultKind.THROTTLE})  # those that last; the others strike once unless told


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong on purpose, for offers whose type, region and billing match the patterns.

    It can strike from `after_s` after the market opened (for a reclaim: after the lease was ready) and for `for_s`; 0
    is without end. `times` is how often; 0 is without end for those that last, and once for the others. Seconds of
    `after_s`, `for_s` and `notice_s` and of a slow boot are the market's; those of other delays are real ones.
    """

    kind: FaultKind = FaultKind.STOCKOUT
    instance_type: str = "*"
    region: str = "*"
    billing: str = "*"
    verb: Verb = Verb.ACQUIRE  # of slow, slow-answer, throttle and lost-response
    after_s: float = 0.0
    for_s: float = 0.0
    notice_s: float = 30.0
    delay_s: float = 1.0
    times: int = 0

    def __post_init__(self) -> None:
        for name in ("after_s", "for_s", "notice_s", "delay_s", "times"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}")

    @property
    def strikes(self) -> float:
        """How often it strikes at most."""
        if self.times:
            return self.times
        return float("inf") if self.kind in _TIMED else 1

    def concerns(self, offer: Offer) -> bool:
        """Whether the patterns match `offer`."""
        pairs = (
            (offer.instance_type, self.instance_type),
            (offer.region, self.region),
            (offer.billing.value, self.billing),
        )
        return all(fnmatchcase(word, pattern) for word, pattern in pairs)

    def strikes_on(self, verb: Verb) -> bool:
        """Whether it concerns calls of `verb`."""
        return self.verb in {Verb.ANY, verb}

    def is_on(self, elapsed_s: float) -> bool:
        """Whether `elapsed_s` after the market opened lies in its window."""
        return elapsed_s >= self.after_s and (not self.for_s or elapsed_s < self.after_s + self.for_s)


@dataclass(frozen=True, slots=True)
class Delays:
    """How long every call blocks before it does anything, in real seconds: windows for those who pull plugs."""

    offers: float = 0.0
    acquire: float = 0.0
    release: float = 0.0
    leases: float = 0.0

    def __post_init__(self) -> None:
        for verb in (Verb.OFFERS, Verb.ACQUIRE, Verb.RELEASE, Verb.LEASES):
            if self.of(verb) < 0:
                raise ValueError(f"{verb} is at least 0, not {self.of(verb)}")

    def of(self, verb: Verb) -> float:
        """The delay of `verb`, in seconds."""
        return float(getattr(self, verb.value))


def _delays(value: object, place: str) -> Delays:
    return read(Delays, _table(value, place), where=place)


def _faults(value: object, place: str) -> tuple[Fault, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{place} is a list of tables, not {value!r}")
    faults = []
    for number, item in enumerate(value, start=1):
        table = _table(item, f"{place}[{number}]")
        if "kind" not in table:
            raise ConfigError(f"{place}[{number}] needs a kind: one of {', '.join(FaultKind)}")
        faults.append(read(Fault, table, where=f"{place}[{number}]"))
    return tuple(faults)


def _table(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place} is a table, not {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """How the market behaves. `time_scale` is the market's seconds per second of the clock: its prices, boots, reclaims
    and releases run faster by it, while bills are by the clock, as everywhere."""

    seed: int = 0
    market: MarketName = MarketName.DEMO
    time_scale: float = 1.0
    release_s: float = 0.0  # from the request to release until the lease is gone
    notice_s: float = 120.0  # from the announcement of a reclaim by the market itself until it
    faults: tuple[Fault, ...] = field(default=(), metadata={"read": _faults})
    delays: Delays = field(default=Delays(), metadata={"read": _delays})

    def __post_init__(self) -> None:
        if self.time_scale <= 0:
            raise ValueError(f"time_scale is above 0, not {self.time_scale}")
        for name in ("release_s", "notice_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0, not {getattr(self, name)}")
        longest_s = LISTED_WITHIN_S * self.time_scale
        for fault in self.faults:
            if fault.kind is FaultKind.HIDE and not 0 < fault.for_s <= longest_s:
                raise ValueError(f"a lease can hide for_s above 0 and at most {longest_s:g} s, not {fault.for_s:g}")
