"""What every provider promises, as tests: subclass ProviderContract and supply one fixture."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC
from math import isfinite

import pytest

from orchestrator.domain.contracts import DescribesAccelerators, Provider, WarnsOfReclaim
from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import KEY, OfferBook
from orchestrator.testing.clock import EPOCH

OWNER, OTHER = "isoflop-test", "isoflop-neighbour"
LISTED_WITHIN_S = 60.0  # the contract's bound for a new lease to show in `leases`
CANARY = "canary-9f2c41d8"  # stands for a secret that is handed to the provider


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


class ProviderContract:
    """Subclass it as `TestXProvider` with a fixture `account`; every promise of the Provider protocol is one test."""

    @pytest.fixture
    def account(self) -> Account:
        """The subclass's own: a fresh account that holds no lease and sells at least one node."""
        raise NotImplementedError

    @pytest.fixture
    def provider(self, account: Account) -> Provider:
        """The provider of OWNER."""
        return account.provider(OWNER)

    # What is on sale

    def test_offers_are_a_sorted_book_of_this_providers_sane_rows(self, provider: Provider) -> None:
        book = provider.offers()
        assert len(book) > 0
        assert list(book) == list(book.sort())
        assert set(book.provider.vocab) == {provider.name}
        for offer in book:
            assert_sane(offer)

    def test_no_two_offers_have_the_same_key(self, provider: Provider) -> None:
        keys = [tuple(getattr(offer, name) for name in KEY) for offer in provider.offers()]
        assert len(keys) == len(set(keys))

    def test_a_second_look_at_a_quiet_market_is_the_same(self, account: Account, provider: Provider) -> None:
        assert _facts(provider.offers()) == _facts(account.provider(OWNER).offers())

    def test_buying_takes_nodes_off_the_market(self, provider: Provider) -> None:
        offer = on_sale(provider)
        buy(provider, offer, "stock")
        left = _same(provider, offer).available
        assert offer.available is None or left == offer.available - 1

    def test_a_sold_out_offer_is_still_listed_with_none_left(self, account: Account, provider: Provider) -> None:
        offer = sell_out(account, provider)
        assert _same(provider, offer).available == 0

    def test_described_accelerators_are_what_offers_name(self, provider: Provider) -> None:
        if not isinstance(provider, DescribesAccelerators):
            pytest.skip("this provider describes no accelerators")
        named = set(provider.offers().accelerator.vocab)
        for device in provider.accelerators():
            assert device.name in named
            assert device.memory_gib > 0
            assert device.memory_bandwidth_gb_s > 0
            assert device.tdp_w > 0
            assert all(tflops > 0 for _, tflops in device.peak_tflops)
            assert device.source

    # Buying

    def test_a_lease_says_who_bought_what(self, provider: Provider) -> None:
        offer = on_sale(provider)
        lease = buy(provider, offer, "who")
        assert (lease.provider, lease.owner, lease.token, lease.nodes) == (provider.name, OWNER, "who", 1)
        assert lease.id
        assert lease.offer.label == offer.label
        assert lease.usd_per_hour > 0
        assert lease.acquired_at.tzinfo is UTC

    def test_the_same_token_buys_once(self, provider: Provider) -> None:
        offer = on_sale(provider)
        first, again = buy(provider, offer, "once"), buy(provider, offer, "once")
        assert again.id == first.id
        assert _same(provider, offer).available in {None, (offer.available or 0) - 1}

    def test_the_same_token_buys_once_across_processes(self, account: Account, provider: Provider) -> None:
        offer = on_sale(provider)
        first = buy(provider, offer, "twice")
        assert buy(account.provider(OWNER), offer, "twice").id == first.id
        assert [lease.id for lease in listed(account, provider, first)] == [first.id]

    def test_the_same_token_from_many_threads_buys_once(self, account: Account, provider: Provider) -> None:
        offer = on_sale(provider)
        buyers = [account.provider(OWNER) for _ in range(4)] + [provider] * 4
        with ThreadPoolExecutor(len(buyers)) as pool:
            ids = {lease.id for lease in pool.map(lambda buyer: buy(buyer, offer, "race"), buyers)}
        assert len(ids) == 1
        assert _same(provider, offer).available in {None, (offer.available or 0) - 1}

    def test_many_buyers_never_get_more_than_there_is(self, account: Account, provider: Provider) -> None:
        offer = scarce(provider)
        stock = offer.available or 0
        tokens = [f"crowd-{number}" for number in range(stock + 4)]

        def attempt(token: str) -> Lease | None:
            try:
                return buy(account.provider(OWNER), offer, token)
            except CapacityError:
                return None

        with ThreadPoolExecutor(8) as pool:
            leases = [lease for lease in pool.map(attempt, tokens) if lease is not None]
        assert len(leases) == stock
        assert len({lease.id for lease in leases}) == stock

    def test_different_tokens_buy_different_leases(self, provider: Provider) -> None:
        first = buy(provider, on_sale(provider), "left")
        if all(left.available == 0 for left in provider.offers()):
            pytest.skip("one lease is all that this account sells")
        assert buy(provider, on_sale(provider), "right").id != first.id

    def test_more_nodes_than_there_are_are_refused_and_nothing_is_held(
        self, account: Account, provider: Provider
    ) -> None:
        offer = scarce(provider)
        with pytest.raises(CapacityError):
            provider.acquire(offer, (offer.available or 0) + 1, token="greedy", boot=Boot())  # noqa: S106
        account.wait(LISTED_WITHIN_S)
        assert not provider.leases()
        assert _same(provider, offer).available == offer.available

    def test_an_offer_nobody_makes_is_refused(self, provider: Provider) -> None:
        offer = on_sale(provider)
        ghost = replace(offer, instance_type="no-such-machine")
        with pytest.raises(CapacityError):
            buy(provider, ghost, "ghost")

    def test_a_purchase_whose_answer_was_lost_is_found_by_its_token(self, account: Account, provider: Provider) -> None:
        offer = on_sale(provider)
        unlucky = account.lose_next_answer()
        with pytest.raises(TransientError):
            buy(unlucky, offer, "lost")
        again = buy(account.provider(OWNER), offer, "lost")
        found = listed(account, provider, again)
        assert [(lease.id, lease.token) for lease in found] == [(again.id, "lost")]

    # What is held

    def test_a_lease_is_listed_within_a_minute_and_becomes_ready(self, account: Account, provider: Provider) -> None:
        lease = buy(provider, on_sale(provider), "boot")
        assert lease.id in {held.id for held in listed(account, provider, lease)}
        ready = until_ready(account, provider, lease)
        assert len(ready.endpoints) == ready.nodes
        assert all(endpoint.launcher for endpoint in ready.endpoints)
        assert (ready.token, ready.owner, ready.acquired_at) == (lease.token, lease.owner, lease.acquired_at)

    def test_every_node_of_a_lease_has_its_own_endpoint(self, account: Account, provider: Provider) -> None:
        offers = [offer for offer in provider.offers() if (offer.available or 0) >= 2]
        if not offers:
            pytest.skip("nothing on sale here has two nodes")
        lease = provider.acquire(offers[0], 2, token="pair", boot=Boot())  # noqa: S106
        ready = until_ready(account, provider, lease)
        assert len({(point.address, point.port, point.path) for point in ready.endpoints}) == 2
        assert lease.usd_per_hour == pytest.approx(2 * lease.offer.usd_per_hour)

    def test_a_neighbours_leases_are_not_shown(self, account: Account, provider: Provider) -> None:
        neighbour = account.provider(OTHER)
        lease = buy(neighbour, on_sale(neighbour), "theirs")
        assert lease.id in {held.id for held in listed(account, neighbour, lease)}
        assert lease.id not in {held.id for held in provider.leases()}

    def test_a_neighbour_cannot_release_our_lease(self, account: Account, provider: Provider) -> None:
        lease = buy(provider, on_sale(provider), "ours")
        with pytest.raises(LeaseNotFound):
            account.provider(OTHER).release(lease.id)
        assert lease.id in {held.id for held in listed(account, provider, lease)}

    def test_secrets_in_a_boot_show_in_no_lease_and_no_offer(self, account: Account, provider: Provider) -> None:
        boot = Boot(run_id="run-1", user_data=f"export KEY={CANARY}", ssh_public_keys=("ssh-ed25519 AAAA",))
        lease = provider.acquire(on_sale(provider), 1, token="discreet", boot=boot)  # noqa: S106
        shown = repr(lease) + repr(listed(account, provider, lease)) + repr(list(provider.offers()))
        assert CANARY not in shown
        assert CANARY not in repr(provider)

    # Giving back

    def test_a_release_is_confirmed_by_lease_not_found(self, account: Account, provider: Provider) -> None:
        lease = buy(provider, on_sale(provider), "back")
        release_fully(account, provider, lease.id)
        assert lease.id not in {held.id for held in provider.leases()}
        for again in (provider, account.provider(OWNER)):
            with pytest.raises(LeaseNotFound):
                again.release(lease.id)

    def test_a_release_puts_the_nodes_back_on_sale(self, account: Account, provider: Provider) -> None:
        offer = scarce(provider)
        lease = buy(provider, offer, "borrow")
        release_fully(account, provider, lease.id)
        assert _same(provider, offer).available == offer.available

    def test_an_id_nobody_knows_is_not_found(self, provider: Provider) -> None:
        with pytest.raises(LeaseNotFound):
            provider.release("no-such-lease")

    def test_ids_are_never_used_twice_even_for_the_same_token(self, account: Account, provider: Provider) -> None:
        seen: set[str] = set()
        for _ in range(3):
            lease = buy(account.provider(OWNER), on_sale(provider), "phoenix")
            assert lease.id not in seen
            seen.add(lease.id)
            release_fully(account, provider, lease.id)

    def test_an_announced_reclaim_is_heard_before_the_lease_goes(self, account: Account, provider: Provider) -> None:
        if not isinstance(provider, WarnsOfReclaim):
            pytest.skip("this provider does not warn of reclaims")
        assert not provider.reclaims()
        lease = until_ready(account, provider, buy(provider, on_sale(provider), "doomed"))
        account.announce_reclaim(lease)
        notices = [notice for notice in provider.reclaims() if notice.lease_id == lease.id]
        assert len(notices) == 1
        state = {held.id: held.state for held in provider.leases()}[lease.id]
        assert state is LeaseState.RECLAIMING
        eventually(account, lambda: lease.id not in {held.id for held in provider.leases()}, within_s=3600.0)
        assert not [notice for notice in provider.reclaims() if notice.lease_id == lease.id]
        with pytest.raises(LeaseNotFound):
            provider.release(lease.id)


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


def _facts(book: OfferBook) -> list[Offer]:
    """The offers without the moment they were seen at."""
    return [replace(offer, observed_at=EPOCH) for offer in book]


def _same(provider: Provider, wanted: Offer) -> Offer:
    found = [offer for offer in provider.offers() if offer.label == wanted.label]
    assert found, f"{wanted.label} is no longer listed"
    return found[0]
