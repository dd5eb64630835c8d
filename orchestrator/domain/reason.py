"""Reasons: every refusal has one, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReasonCode(StrEnum):
    """Why an offer is not the choice. A new code is one line here and one in `docs/reasons.md`."""

    UNKNOWN_ACCELERATOR = "unknown-accelerator"  # we hold no facts about the device
    NO_PRECISION = "no-precision"  # the device does not compute in the precision asked for
    STACK = "stack"  # the serving software asked for does not run on the device
    NO_FIT = "no-fit"  # the job's state does not fit the device's memory at any count allowed
    NO_PRICE = "no-price"  # the offer has no usable price
    SOLD_OUT = "sold-out"
    QUOTA = "quota"  # the account's quota allows fewer nodes than the job needs
    RECENTLY_REFUSED = "recently-refused"  # the provider said no a short while ago, and is not asked again yet
    TOO_FEW_NODES = "too-few-nodes"  # fewer nodes on sale than the job needs
    NOT_BUYABLE = "not-buyable"  # we hold a price, but no adapter or credentials to buy with
    PROVIDER = "provider"  # outside the providers the user allows
    REGION = "region"  # outside the regions the user allows
    RESIDENCY = "residency"  # the data may not go there
    BILLING = "billing"  # a kind of billing the user does not allow
    ACCELERATOR = "accelerator"  # a device the user does not allow
    DEADLINE = "deadline"  # finishes too late
    BUDGET = "budget"  # costs too much
    PACE = "pace"  # a purse that several jobs share would be empty before its time
    LATENCY = "latency"  # answers too slowly, or the users are too far
    CARBON = "carbon"  # emits more than the user allows
    POWER = "power"  # draws more than the user allows
    RELIABILITY = "reliability"  # fails more often than the user accepts
    INTERRUPTION = "interruption"  # is taken back more often than the user accepts
    LEASE_TOO_SHORT = "lease-too-short"  # its leases end before the job has got anywhere, or it cannot be resumed
    SPREAD = "spread"  # too much would be in one place
    INTERCONNECT = "interconnect"  # the devices cannot exchange data as fast as the job needs
    STALE_PRICE = "stale-price"  # the price is older than the user accepts
    PRICE_MOVED = "price-moved"  # the price rose since the plan was made
    POLICY = "policy"  # a third-party policy's own reason: the detail says it


@dataclass(frozen=True, slots=True)
class Reason:
    """One refusal: who refused (`sizing`, `planning`, a policy's name), the code, and the arithmetic as a sentence."""

    by: str
    code: ReasonCode
    detail: str
