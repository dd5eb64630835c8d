"""What goes wrong at a simulated cloud, by script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

ALWAYS = -1


class Kind(StrEnum):
    """What happens to a call."""

    THROTTLE = "throttle"  # refused in the vendor's own words for too many requests, for `seconds` where it says so
    ERROR = "error"  # the vendor's own internal error, before anything was done
    UNAUTHORISED = "unauthorised"  # the key is refused
    EXPIRED = "expired"  # the token has run out
    SKEW = "skew"  # the signature's clock is refused
    LOST_RESPONSE = "lost-response"  # it is done, and the connection breaks before the answer
    TRUNCATED = "truncated"  # the answer ends in the middle, though its length said more is fine
    HTML = "html"  # a web page in place of the answer
    EMPTY_SUCCESS = "error-in-success"  # status 200 with the vendor's error inside
    ENDLESS = "endless-pages"  # the last page names the first as its next
    STOCKOUT = "stockout"  # sold out at the purchase, whatever listings say
    PARTIAL = "partial"  # all but one of the nodes asked for are delivered, where the vendor can do so
    HIDE = "hide"  # machines bought now are in no listing for `seconds`
    SLOW = "slow"  # the answer takes `seconds` of real time
    PRICE = "price"  # prices are multiplied by `factor` from now on


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault; `operation` and `where` are patterns as file names have them."""

    provider: str
    kind: Kind
    operation: str = "*"  # the vendor's own name of the call: "RunInstances", "GET /instances"
    where: str = "*"  # "region/zone/instance type/billing" of a purchase; "*" for calls that have no place
    times: int = 1  # how often it still strikes; ALWAYS
    seconds: float = 0.0
    factor: float = 1.0


class Faults:
    """The script of faults; each is used up as it strikes. Not safe between threads: the market's lock guards it."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """Script one more."""
        self._faults.append(fault)

    def clear(self, provider: str = "") -> None:
        """Forget the faults of `provider`, or all."""
        self._faults = [fault for fault in self._faults if provider and fault.provider != provider]

    def left(self) -> tuple[Fault, ...]:
        """Those that may still strike."""
        return tuple(self._faults)

    def strike(self, provider: str, kind: Kind, operation: str, where: str = "") -> Fault | None:
        """The first fault that strikes here, counted; None where none does."""
        for number, fault in enumerate(self._faults):
            if (fault.provider, fault.kind) != (provider, kind) or not fnmatchcase(operation, fault.operation):
                continue
            if fault.where != "*" and not fnmatchcase(where, fault.where):
                continue
            if fault.times != ALWAYS:
                self._faults[number] = replace(fault, times=fault.times - 1)
                if fault.times <= 1:
                    del self._faults[number]
            return fault
        return None
