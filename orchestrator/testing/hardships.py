"""What a provider promises on a bad day, as tests that pull the levers of an account; part of ProviderContract."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import pytest

from orchestrator.domain.contracts import Provider, Surveys
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    QuotaError,
    TransientError,
)
from orchestrator.domain.lease import Boot
from orchestrator.testing.accounts import (
    LISTED_WITHIN_S,
    OWNER,
    Account,
    Refusal,
    Spoilt,
    buy,
    eventually,
    listed,
    on_sale,
    release_fully,
    until_ready,
)


class HardshipContract:
    """Every test here pulls a lever that an account may not have; then it is skipped and says so."""

    def test_a_stock_out_is_a_capacity_error_at_once_and_leaks_nothing(
        self, account: Account, provider: Provider
    ) -> None:
        offer = on_sale(provider)
        account.sell_out(offer)
        with pytest.raises(CapacityError) as refused:
            buy(provider, offer, "too-late")
        assert refused.value.scope
        account.wait(LISTED_WITHIN_S)
        assert not provider.leases()
        assert account.really_held() == 0

    def test_a_purchase_beyond_the_quota_is_a_quota_error_and_leaks_nothing(
        self, account: Account, provider: Provider
    ) -> None:
        offer = on_sale(provider)
        account.use_quota_up(offer)
        with pytest.raises(QuotaError):
            buy(provider, offer, "over")
        account.wait(LISTED_WITHIN_S)
        assert not provider.leases()
        assert account.really_held() == 0

    def test_an_offer_tells_how_many_nodes_the_quota_allows_or_that_it_does_not_know(
        self, account: Account, provider: Provider
    ) -> None:
        offer = on_sale(provider)
        account.use_quota_up(offer)
        (now,) = [found for found in provider.offers() if found.label == offer.label]
        assert now.quota_nodes in {0, None}

    @pytest.mark.parametrize("how", [Refusal.WRONG_KEY, Refusal.EXPIRED])
    def test_refused_credentials_are_an_auth_error_in_every_verb(
        self, account: Account, provider: Provider, how: Refusal
    ) -> None:
        offer = on_sale(provider)
        lease = buy(provider, offer, "before")
        account.refuse(how, times=-1)
        fresh = account.provider(OWNER)
        for call in _verbs(fresh, lease.id, lambda: buy(fresh, offer, "refused")):
            with pytest.raises(AuthError):
                call()
        account.mend()
        assert [held.id for held in listed(account, provider, lease)] == [lease.id]

    def test_a_wrong_clock_is_named(self, account: Account, provider: Provider) -> None:
        account.refuse(Refusal.CLOCK_SKEW, times=-1)
        with pytest.raises((AuthError, TransientError), match="clock"):
            provider.leases()

    @pytest.mark.parametrize("how", [Refusal.THROTTLED, Refusal.FAILED])
    def test_a_call_refused_for_a_while_is_transient_and_the_same_call_again_buys_once(
        self, account: Account, provider: Provider, how: Refusal
    ) -> None:
        offer = on_sale(provider)
        account.refuse(how, times=-1)
        for call in _verbs(provider, "no-such-lease", lambda: buy(provider, offer, "patience")):
            # An id that no lease of this provider has may be known for that without asking.
            with pytest.raises((TransientError, LeaseNotFound)) as refused:
                call()
            if isinstance(refused.value, TransientError):
                assert refused.value.retry_after_s >= 0
        account.mend()
        first, again = buy(provider, offer, "patience"), buy(account.provider(OWNER), offer, "patience")
        assert first.id == again.id
        assert account.really_held() == 1

    def test_a_single_refusal_loses_no_listing(self, account: Account, provider: Provider) -> None:
        lease = buy(provider, on_sale(provider), "steady")
        listed(account, provider, lease)
        account.refuse(Refusal.THROTTLED)
        try:
            seen = provider.leases()
        except TransientError:
            seen = provider.leases()
        assert [held.id for held in seen] == [lease.id]

    def test_part_of_a_gang_is_given_back(self, account: Account, provider: Provider) -> None:
        offers = [offer for offer in provider.offers() if offer.available is None or offer.available >= 2]
        if not offers:
            pytest.skip("nothing on sale here has two nodes")
        account.deliver_partly()
        with pytest.raises(CapacityError):
            provider.acquire(offers[0], 2, token="gang", boot=Boot())  # noqa: S106
        eventually(account, lambda: account.really_held() == 0, within_s=600.0)
        assert not provider.leases()

    def test_a_purchase_that_hides_is_bought_once_and_shows_within_a_minute(
        self, account: Account, provider: Provider
    ) -> None:
        offer = on_sale(provider)
        account.hide_next(45.0)
        lease = buy(provider, offer, "shy")
        assert buy(account.provider(OWNER), offer, "shy").id == lease.id
        assert [held.id for held in listed(account, provider, lease)] == [lease.id]
        assert account.really_held() == 1

    def test_a_release_whose_answer_was_lost_is_confirmed_by_the_next(
        self, account: Account, provider: Provider
    ) -> None:
        lease = until_ready(account, provider, buy(provider, on_sale(provider), "doubt"))
        account.lose_next_release()
        with pytest.raises((TransientError, LeaseNotFound)):
            provider.release(lease.id)
        release_fully(account, provider, lease.id)
        eventually(account, lambda: account.really_held() == 0, within_s=600.0)

    @pytest.mark.parametrize("how", list(Spoilt))
    def test_a_listing_that_cannot_be_read_is_transient_and_never_empty(
        self, account: Account, provider: Provider, how: Spoilt
    ) -> None:
        lease = buy(provider, on_sale(provider), "unseen")
        listed(account, provider, lease)
        account.spoil(how, listing=True)
        with suppress(TransientError):
            assert [held.id for held in provider.leases()] == [lease.id]  # a vendor may not have such a fault
        account.mend()
        assert [held.id for held in provider.leases()] == [lease.id]

    @pytest.mark.parametrize("how", list(Spoilt))
    def test_offers_that_cannot_be_read_are_an_error_or_a_gap_and_never_a_wrong_price(
        self, account: Account, provider: Provider, how: Spoilt
    ) -> None:
        before = {offer.label: offer.usd_per_hour for offer in provider.offers()}
        account.spoil(how, listing=False)
        fresh = account.provider(OWNER)
        try:
            if isinstance(fresh, Surveys):
                survey = fresh.survey()
                found, told = {offer.label: offer.usd_per_hour for offer in survey.book}, bool(survey.gaps)
            else:
                found, told = {offer.label: offer.usd_per_hour for offer in fresh.offers()}, False
        except ProviderError:
            return
        assert all(before.get(label) == price for label, price in found.items())
        assert told or found.keys() == before.keys()

    def test_no_secret_shows_in_a_log_an_error_or_a_repr(
        self, account: Account, provider: Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        secrets = account.secrets()
        caplog.set_level(logging.INFO)
        offer = on_sale(provider)
        lease = buy(provider, offer, "quiet")
        shown = [repr(provider), repr(lease), repr(list(provider.offers())), repr(listed(account, provider, lease))]
        for how in (Refusal.THROTTLED, Refusal.WRONG_KEY, Refusal.EXPIRED):
            account.refuse(how, times=-1)
            fresh = account.provider(OWNER)
            for call in _verbs(fresh, lease.id, lambda: buy(fresh, offer, "loud")):  # noqa: B023 - called at once
                with pytest.raises(ProviderError) as refused:
                    call()
                shown += [str(refused.value), repr(refused.value), repr(refused.value.__cause__)]
            account.mend()
        shown.append(caplog.text)
        assert secrets
        for secret in secrets:
            assert not [text for text in shown if secret in text]


def _verbs(provider: Provider, lease_id: str, purchase: Callable[[], object]) -> list[Callable[[], object]]:
    return [provider.offers, purchase, provider.leases, lambda: provider.release(lease_id)]
