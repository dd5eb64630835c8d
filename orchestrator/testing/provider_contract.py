"""What every provider promises, as tests: subclass ProviderContract and supply one fixture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC

import pytest

from orchestrator.domain.contracts import DescribesAccelerators, Provider, Surveys, WarnsOfReclaim
from orchestrator.domain.errors import CapacityError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, Lease, LeaseState
from orchestrator.domain.offerbook import KEY
from orchestrator.testing.accounts import (
    CANARY,
    LISTED_WITHIN_S,
    OTHER,
    OWNER,
    Account,
    assert_sane,
    buy,
    eventually,
    facts,
    listed,
    on_sale,
    release_fully,
    same,
    scarce,
    sell_out,
    until_ready,
)
from orchestrator.testing.chaos import ChaosContract
from orchestrator.testing.hardships import HardshipContract

__all__ = ["OTHER", "OWNER", "Account", "ProviderContract"]


class ProviderContract(HardshipContract, ChaosContract):
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

    def test_a_second_look_at_a_quiet_market_is_thesame(self, account: Account, provider: Provider) -> None:
        assert facts(provider.offers()) == facts(account.provider(OWNER).offers())

    def test_buying_takes_nodes_off_the_market(self, provider: Provider) -> None:
        offer = on_sale(provider)
        buy(provider, offer, "stock")
        left = same(provider, offer).available
        assert offer.available is None or left == offer.available - 1

    def test_a_sold_out_offer_is_still_listed_with_none_left(self, account: Account, provider: Provider) -> None:
        offer = sell_out(account, provider)
        assert same(provider, offer).available == 0

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

    def test_a_survey_finds_what_is_offered_and_tells_each_gap_once(self, provider: Provider) -> None:
        if not isinstance(provider, Surveys):
            pytest.skip("this provider asks in one place")
        found = provider.survey()
        assert [offer.label for offer in found.book] == [offer.label for offer in provider.offers()]
        assert all(gap.strip() for gap in found.gaps)
        assert len(found.gaps) == len(set(found.gaps))

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
        assert same(provider, offer).available in {None, (offer.available or 0) - 1}

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
        assert same(provider, offer).available in {None, (offer.available or 0) - 1}

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
        assert same(provider, offer).available == offer.available

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
        assert ready.ends_at is None or ready.ends_at > ready.acquired_at

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
        assert same(provider, offer).available == offer.available

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
