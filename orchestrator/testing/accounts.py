"""An account at a provider under test: its levers, and the words that tests are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from enum import StrEnum
from math import isfinite

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import LeaseNotFound
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.clock import EPOCH

OWNER, OTHER = "isoflop-test", "isoflop-neighbour"
LISTED_WITHIN_S = 60.0  # the contract's bound for a new lease to show in `leases`
CANARY = "canary-9f2c41d8"  # stands for a secret that is handed to the provider


class Refusal(StrEnum):
    """How a provider refuses a call that it would else have answered."""

    THROTTLED = "throttled"
    FAILED = "failed"  # the provider's own internal error
    WRONG_KEY = "wrong key"
    EXPIRED = "expired"
    CLOCK_SKEW = "clock skew"


class Spoilt(StrEnum):
    """How an answer cannot be used."""

    WEB_PAGE = "a web page"
    CUT_OFF = "cut off"
    ERROR_IN_SUCCESS = "an error inside a success"
    ENDLESS = "pages without end"
    FAILED = "an internal error"


class Account:
    """One account at the provider under test, and the levers that a test may pull on it.

    Only `provider` and `wait` are required; a lever that an account does not have skips the tests that need it.
    """

    def provider(self, owner: str) -> Provider:
        """A *new* provider object of `owner` over this same account, as another process would have it."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass on the provider's clock."""
        raise NotImplementedError

    def lose_next_answer(self) -> Provider:
        """A provider of OWNER whose first `acquire` buys and then raises TransientError."""
        pytest.skip("this account cannot lose an answer")

    def announce_reclaim(self, lease: Lease) -> None:
        """Make the provider announce that it takes `lease` back."""
        pytest.skip(f"this account cannot reclaim {lease.id}")

    def sell_out(self, offer: Offer) -> None:
        """Make the provider refuse every purchase of `offer` as sold out, whatever its listings say."""
        pytest.skip(f"this account cannot sell out {offer.label}")

    def use_quota_up(self, offer: Offer) -> None:
        """Make the account's quota allow no node of `offer` more."""
        pytest.skip(f"this account has no quota on {offer.label}")

    def refuse(self, how: Refusal, *, times: int = 1) -> None:
        """Make the provider refuse the next calls; `times` -1 is all."""
        pytest.skip(f"this account cannot refuse calls ({how}, {times})")

    def deliver_partly(self) -> None:
        """Make the next purchase of several nodes bring one node fewer, if the provider is one that can."""
        pytest.skip("this account cannot deliver partly")

    def hide_next(self, seconds: float) -> None:
        """Make what is bought next show in no listing for `seconds`."""
        pytest.skip(f"this account cannot hide a purchase for {seconds} s")

    def lose_next_release(self) -> None:
        """Make the next release be done and its answer be lost."""
        pytest.skip("this account cannot lose the answer to a release")

    def spoil(self, how: Spoilt, *, listing: bool) -> None:
        """Make answers unreadable from now on: to questions about leases where `listing`, about offers otherwise."""
        pytest.skip(f"this account cannot spoil answers ({how}, {listing})")

    def mend(self) -> None:
        """Undo every lever that was pulled; nothing to do where there is none."""

    def mishaps(self) -> tuple[Callable[[], object], ...]:
        """Levers that may be pulled at any moment, for sequences of calls at random."""
        return ()

    def held_by(self, token: str) -> int | None:
        """Machines that are held under `token`, by the provider's own books; None where they are closed."""
        del token
        return None

    def really_held(self) -> int:
        """Machines that the provider bills to the account, by its own books, whoever bought them."""
        pytest.skip("this account's books are closed")

    def secrets(self) -> tuple[str, ...]:
        """The credentials that the account's providers are given."""
        pytest.skip("this account has no credentials")


# What the tests are written in: a provider's own tests may use these too.


def assert_sane(offer: Offer) -> None:
    """Fail unless every number of `offer` is one that an offer can have."""
    assert offer.region
    assert offer.instance_type
    assert offer.accelerator
    assert offer.gpus > 0
    assert 0 < offer.usd_per_hour < float("inf")
    assert offer.available is None or offer.available >= 0
    assert offer.vcpus >= 0
    assert offer.host_memory_gib >= 0
    assert offer.interruption_rate is None or 0 <= offer.interruption_rate < float("inf")
    assert 0 <= offer.boot_s < float("inf")
    assert isfinite(offer.min_billing_s)
    assert offer.min_billing_s >= 0
    assert offer.observed_at.tzinfo is UTC
    assert offer.source
    assert offer.quota_nodes is None or offer.quota_nodes >= 0
    assert offer.obtainability is None or 0 <= offer.obtainability <= 1
    assert offer.max_lease_s is None or 0 < offer.max_lease_s < float("inf")


def buy(provider: Provider, offer: Offer, token: str) -> Lease:
    """One node of `offer`."""
    return provider.acquire(offer, 1, token=token, boot=Boot(run_id="run-1"))


def on_sale(provider: Provider) -> Offer:
    """The first offer with a node left."""
    found = [offer for offer in provider.offers() if offer.available != 0]
    assert found, "nothing is on sale"
    return found[0]


def scarce(provider: Provider) -> Offer:
    """The offer with the fewest nodes left, at least one."""
    counted = [offer for offer in provider.offers() if offer.available]
    if not counted:
        pytest.skip("this provider does not count its stock")
    return min(counted, key=lambda offer: (offer.available or 0, offer.label))


def sell_out(account: Account, provider: Provider) -> Offer:
    """Buy the scarcest offer up, as a neighbour; returns it as it was before."""
    offer = scarce(provider)
    account.provider(OTHER).acquire(offer, offer.available or 0, token="all-of-it", boot=Boot())  # noqa: S106
    return offer


def eventually(account: Account, holds: Callable[[], bool], *, within_s: float) -> None:
    """Fail unless `holds()` within `within_s` of the provider's time."""
    waited = 0.0
    while not holds():
        assert waited < within_s, f"not so after {waited} s"
        account.wait(1.0)
        waited += 1.0


def listed(account: Account, provider: Provider, lease: Lease) -> list[Lease]:
    """All live leases, once `lease` is among them."""
    eventually(account, lambda: lease.id in {held.id for held in provider.leases()}, within_s=LISTED_WITHIN_S)
    return list(provider.leases())


def until_ready(account: Account, provider: Provider, lease: Lease) -> Lease:
    """`lease` as it is listed once it is ready."""

    def found() -> list[Lease]:
        return [held for held in provider.leases() if held.id == lease.id and held.state is LeaseState.READY]

    eventually(account, lambda: bool(found()), within_s=3600.0)
    return found()[0]


def release_fully(account: Account, provider: Provider, lease_id: str) -> None:
    """Release and wait until the provider confirms that the lease is gone."""

    def gone() -> bool:
        try:
            provider.release(lease_id)
        except LeaseNotFound:
            return True
        return False

    eventually(account, gone, within_s=3600.0)


def facts(book: OfferBook) -> list[Offer]:
    """The offers without the moment they were seen at."""
    return [replace(offer, observed_at=EPOCH) for offer in book]


def same(provider: Provider, wanted: Offer) -> Offer:
    found = [offer for offer in provider.offers() if offer.label == wanted.label]
    assert found, f"{wanted.label} is no longer listed"
    return found[0]
