"""The provider contract is worth something only if a provider that breaks a promise fails it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import CapacityError, LeaseNotFound
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.clock import FakeClock
from orchestrator.testing.provider_contract import OWNER, Account, ProviderContract
from providers.simulated.provider import SimulatedProvider
from providers.simulated.settings import SimulatedSettings


class Unsorted(SimulatedProvider):
    def offers(self) -> OfferBook:
        book = super().offers()
        return book.take(range(len(book))[::-1])  # type: ignore[arg-type]


class HidesSoldOut(SimulatedProvider):
    def offers(self) -> OfferBook:
        book = super().offers()
        return book.where(book.available > 0)


class GivesAway(SimulatedProvider):
    def offers(self) -> OfferBook:
        return OfferBook.of([replace(offer, usd_per_hour=0.0) for offer in super().offers()])


class ForgetsTokens(SimulatedProvider):
    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        return super().acquire(offer, nodes, token=f"{token} {boot} {len(self.leases())}", boot=boot)


class RemembersInMemory(SimulatedProvider):
    def __init__(self, **parts: object) -> None:
        super().__init__(**parts)  # type: ignore[arg-type]
        self._mine: dict[str, str] = {}

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        ours = self._mine.setdefault(token, f"{token}-{id(self)}")
        return replace(super().acquire(offer, nodes, token=ours, boot=boot), token=token)


class SellsHalf(SimulatedProvider):
    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        try:
            return super().acquire(offer, nodes, token=token, boot=boot)
        except CapacityError:
            super().acquire(offer, 1, token=token, boot=boot)
            raise


class ShowsNeighbours(SimulatedProvider):
    def leases(self) -> Sequence[Lease]:
        with self._books.page() as page:
            return [entry.seen(self._clock.now()) for entry in page.entries()]


class ReleasesAnybodys(SimulatedProvider):
    def release(self, lease_id: str) -> None:
        with self._books.page() as page:
            found = [entry for entry in page.entries() if entry.lease.id == lease_id]
            if not found:
                raise LeaseNotFound("simulated", lease_id)
            page.strike_off(found[0].serial)


class NeverConfirms(SimulatedProvider):
    def release(self, lease_id: str) -> None:
        try:
            super().release(lease_id)
        except LeaseNotFound:
            return


class LeaksVendorErrors(SimulatedProvider):
    def release(self, lease_id: str) -> None:
        raise KeyError(lease_id)


class TellsSecrets(SimulatedProvider):
    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        lease = super().acquire(offer, nodes, token=token, boot=boot)
        return replace(lease, offer=replace(lease.offer, source=boot.user_data))


class WarnsOfNothing(SimulatedProvider):
    def reclaims(self):  # type: ignore[no-untyped-def]
        return []


class Broken(Account):
    def __init__(self, folder: Path, kind: type[SimulatedProvider]) -> None:
        self._folder, self._kind, self._clock = folder, kind, FakeClock()

    def provider(self, owner: str) -> Provider:
        settings = SimulatedSettings()
        return self._kind(owner=owner, settings=settings, clock=self._clock, state_dir=self._folder)

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def announce_reclaim(self, lease: Lease) -> None:
        self._clock.advance(1.0)


CASES = [
    (Unsorted, "test_offers_are_a_sorted_book_of_this_providers_sane_rows"),
    (GivesAway, "test_offers_are_a_sorted_book_of_this_providers_sane_rows"),
    (HidesSoldOut, "test_a_sold_out_offer_is_still_listed_with_none_left"),
    (ForgetsTokens, "test_a_lease_says_who_bought_what"),
    (ForgetsTokens, "test_the_same_token_buys_once"),
    (RemembersInMemory, "test_the_same_token_buys_once_across_processes"),
    (RemembersInMemory, "test_the_same_token_from_many_threads_buys_once"),
    (SellsHalf, "test_more_nodes_than_there_are_are_refused_and_nothing_is_held"),
    (ShowsNeighbours, "test_a_neighbours_leases_are_not_shown"),
    (ReleasesAnybodys, "test_a_neighbour_cannot_release_our_lease"),
    (NeverConfirms, "test_a_release_is_confirmed_by_lease_not_found"),
    (NeverConfirms, "test_an_id_nobody_knows_is_not_found"),
    (LeaksVendorErrors, "test_an_id_nobody_knows_is_not_found"),
    (TellsSecrets, "test_secrets_in_a_boot_show_in_no_lease_and_no_offer"),
    (WarnsOfNothing, "test_an_announced_reclaim_is_heard_before_the_lease_goes"),
]


def _run(kind: type[SimulatedProvider], promise: str, folder: Path) -> None:
    account = Broken(folder, kind)
    test = getattr(ProviderContract(), promise)
    parts = {"account": account, "provider": account.provider(OWNER)}
    test(**{name: parts[name] for name in inspect.signature(test).parameters})


@pytest.mark.parametrize(("kind", "promise"), CASES)
def test_a_provider_that_breaks_a_promise_fails_its_test(
    kind: type[SimulatedProvider], promise: str, tmp_path: Path
) -> None:
    with pytest.raises((AssertionError, KeyError, CapacityError, pytest.fail.Exception)):
        _run(kind, promise, tmp_path)


@pytest.mark.parametrize("promise", sorted({promise for _, promise in CASES} - {CASES[-1][1]}))
def test_the_same_tests_pass_for_a_provider_that_keeps_its_promises(promise: str, tmp_path: Path) -> None:
    _run(SimulatedProvider, promise, tmp_path)
