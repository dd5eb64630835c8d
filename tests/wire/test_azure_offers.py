"""Azure's own SDK against a simulated Azure over TLS: sizes, quotas and prices, and the login."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

from orchestrator.domain.contracts import Provider, ProviderContext, survey
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    QuotaError,
    Scope,
    TransientError,
)
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.azure.app import CLIENT, TENANT
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from providers.azure.provider import AzureProvider, create
from tests.contract.azure_world import A10, A100, H100, SECRET, World, pools, world

BOOT = Boot(run_id="run-1")
IDENTITY = (
    "/subscriptions/5b0c7a52-1f1e-4c1e-9a52-8d2f3a6f7c10/resourceGroups/isoflop/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/isoflop-end"
)


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as served:
        yield served


def offer(provider: AzureProvider, size: str = A100, billing: Billing = Billing.ON_DEMAND) -> Offer:
    return next(o for o in provider.offers() if (o.instance_type, o.billing, o.region) == (size, billing, "eastus"))


def fault(served: World, kind: Kind, operation: str = "*", **fields: Any) -> None:
    served.market.script(Fault(provider="azure", kind=kind, operation=operation, **fields))


# What is on sale


def test_the_book_has_the_markets_prices_and_none_of_what_the_price_list_mixes_in(azure: World) -> None:
    survey = azure.provider().survey()
    assert survey.gaps == ()
    assert len(survey.book) == len(azure.market.pools)
    for found in survey.book:
        (pool,) = [
            pool
            for key, pool in azure.market.pools.items()
            if (key.region, key.instance_type, key.billing) == (found.region, found.instance_type, found.billing)
        ]
        assert found.usd_per_hour == pytest.approx(azure.market.price(pool.key))
        assert (found.accelerator, found.vcpus, found.host_memory_gib) == (
            pool.accelerator,
            pool.vcpus,
            pool.host_memory_gib,
        )
        assert found.gpus == pytest.approx(pool.gpus, abs=1e-4)
        assert found.source == "Azure Retail Prices, 2026-11-20"


def test_a_share_of_a_gpu_is_a_fraction_and_never_a_whole_one(azure: World) -> None:
    share = offer(azure.provider(), A10)
    assert (share.accelerator, share.gpus) == ("A10", pytest.approx(1 / 6, abs=1e-4))


def test_a_refresh_asks_three_lists_a_region_and_nothing_per_machine(tmp_path: Path) -> None:
    regions = tuple(f"region{number}" for number in range(6))
    with world(tmp_path, sold=pools(regions=regions)) as served:
        assert len(served.provider().offers()) == 6 * 8
        asked = served.wire.counts()
    assert asked == {
        "Discovery": 1,
        "Login": 1,
        "Locations_List": 1,
        "ResourceSkus_List": 6,
        "Usage_List": 6,
        "RetailPrices": 6,
    }


def test_lists_are_read_to_their_last_page(tmp_path: Path) -> None:
    sold = tuple(
        replace(pool, key=pool.key._replace(instance_type=f"Standard_NC{24 * number}ads_A100_v4"), vcpus=24.0 * number)
        for number in range(1, 151)
        for pool in pools(regions=("eastus",))
        if pool.key.instance_type == A100
    )
    with world(tmp_path, sold=sold) as served:
        survey = served.provider().survey()
        asked = served.wire.counts()
    assert survey.gaps == ()
    assert len(survey.book) == 300
    assert asked["ResourceSkus_List"] == 3  # 152 rows in pages of 60
    assert asked["RetailPrices"] == 8  # 750 rows in pages of 100


def test_what_the_subscription_may_not_deploy_is_left_out_and_told(tmp_path: Path) -> None:
    barred = {("eastus", H100): (), ("westeurope", H100): ("1", "3")}
    with world(tmp_path, barred=barred) as served:
        survey = served.provider().survey()
        zonal = served.provider(zonal=True).survey()
        refused = replace(offer(served.provider()), instance_type=H100)
        with pytest.raises(CapacityError, match="SkuNotAvailable") as error:
            served.provider().acquire(refused, 1, token="barred", boot=BOOT)
    places = {(found.region, found.zone) for found in survey.book if found.instance_type == H100}
    assert places == {("westeurope", "")}
    assert survey.gaps == (f"1 sizes that this subscription may not deploy in eastus: {H100}",)
    assert {found.zone for found in zonal.book if found.instance_type == H100} == {"2"}
    assert {found.zone for found in zonal.book if found.instance_type == A100} == {"1", "2", "3"}
    assert error.value.scope is Scope.REGION


def test_prices_in_another_currency_are_converted_and_marked(azure: World) -> None:
    dollars = offer(azure.provider())
    euros = offer(azure.provider(currency="EUR"))
    assert euros.usd_per_hour == pytest.approx(dollars.usd_per_hour, rel=1e-5)
    assert "USD/EUR of" in euros.source


def test_quotas_in_virtual_cpus_are_told_in_nodes(azure: World) -> None:
    azure.market.set_quota("azure", "standardNCADSA100v4Family", 100.0, "eastus")
    azure.market.set_quota("azure", "cores", 60.0, "westeurope")
    azure.market.set_quota("azure", "lowPriorityCores", 30.0)
    book = azure.provider().offers()
    nodes = {(o.region, o.billing): o.quota_nodes for o in book if o.instance_type == A100}
    assert nodes == {
        ("eastus", Billing.ON_DEMAND): 4,
        ("westeurope", Billing.ON_DEMAND): 2,
        ("eastus", Billing.SPOT): 1,
        ("westeurope", Billing.SPOT): 1,
    }


def test_prices_are_told_without_quotas_where_those_cannot_be_read(azure: World) -> None:
    fault(azure, Kind.ERROR, "Usage_List", times=ALWAYS)
    survey = azure.provider().survey()
    assert len(survey.book) == len(azure.market.pools)
    assert survey.book.quota_nodes is None
    assert [gap.partition(":")[0] for gap in survey.gaps] == ["eastus", "westeurope"]


def test_a_region_that_does_not_exist_is_told(azure: World) -> None:
    survey = azure.provider(regions=("eastus", "mars")).survey()
    assert set(survey.book.region.vocab) == {"eastus"}
    assert survey.gaps == ("mars: Azure lists nothing there; is it a region of this subscription?",)


def test_reads_are_tried_again_after_as_long_as_azure_asks(azure: World) -> None:
    fault(azure, Kind.THROTTLE, "VirtualMachines_List")
    provider, before = azure.provider(), azure.market.clock.now()
    assert provider.leases() == []
    assert (azure.market.clock.now() - before).total_seconds() == 10.0


# Login and trust


def test_a_wrong_secret_is_an_auth_error_that_does_not_show_it(azure: World) -> None:
    with pytest.raises(AuthError, match="AADSTS7000215") as refused:
        azure.provider(secret="wrong-8d21").offers()
    assert "wrong-8d21" not in repr(refused.value)


def test_another_subscription_is_an_auth_error(azure: World) -> None:
    stranger = azure.provider(subscription_id="00000000-0000-0000-0000-000000000000", regions=("eastus",))
    with pytest.raises(AuthError, match="SubscriptionNotFound"):
        stranger.offers()


def test_an_authority_that_nobody_vouches_for_is_named(azure: World, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="TLS"):
        azure.provider(ca_file="").leases()


# Without an account


def keyless(served: World, **settings: object) -> Provider:
    table = {"retail_url": served.url, "ca_file": str(served.tls.authority), "regions": ["eastus"], **settings}

    def no_secret(reference: str) -> Secret:
        raise AssertionError(f"nobody asks for {reference}")

    return create(
        ProviderContext(
            owner="me", settings=table, secret=no_secret, clock=served.market.clock, state_dir=served.folder
        )
    )


def test_prices_are_read_without_an_account_and_agree_with_those_of_one(azure: World) -> None:
    with_account = {o.label: o.usd_per_hour for o in azure.provider(regions=("eastus",)).offers()}
    azure.wire.forget()
    found = survey(keyless(azure))
    assert {o.label: o.usd_per_hour for o in found.book} == with_account
    assert found.gaps == ()
    assert azure.wire.counts() == {"RetailPrices": 1}


def test_without_an_account_nothing_is_held_and_nothing_can_be_bought(azure: World) -> None:
    provider = keyless(azure)
    with pytest.raises(QuotaError, match="subscription_id"):
        provider.acquire(provider.offers()[0], 1, token="dream", boot=Boot())
    assert provider.leases() == []


def test_a_price_list_without_end_or_cut_off_is_no_price_list(azure: World) -> None:
    for kind in (Kind.ENDLESS, Kind.TRUNCATED, Kind.HTML, Kind.EMPTY_SUCCESS, Kind.THROTTLE):
        fault(azure, kind, "RetailPrices", times=ALWAYS)
        with pytest.raises(TransientError):
            keyless(azure).offers()
        azure.market.unscript()


def test_a_region_that_the_price_list_does_not_know_is_a_gap_beside_the_others(azure: World) -> None:
    found = survey(keyless(azure, regions=["eastus", "mars"]))
    assert set(found.book.region.vocab) == {"eastus"}
    assert found.gaps == ("mars: the price list has no machine with GPUs there",)


def test_one_region_that_does_not_answer_is_a_gap_beside_the_others(azure: World) -> None:
    fault(
        azure, Kind.ERROR, "ResourceSkus_List", times=7
    )  # a region gives up after four: one fails, the other does not
    found = azure.provider().survey()
    (gap,) = found.gaps
    assert "InternalServerError" in gap
    assert {*found.book.region.vocab, gap.partition(":")[0]} == {"eastus", "westeurope"}


def test_nobody_being_logged_in_is_an_auth_error(azure: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.identity._credentials.default.ChainedTokenCredential.get_token_info", _nobody)
    settings = azure.settings(client_secret="ambient", tenant_id="", client_id="")
    provider = AzureProvider(
        owner="me", settings=settings, secret=None, clock=azure.market.clock, state_dir=azure.folder
    )
    with pytest.raises(AuthError, match="az login"):
        provider.leases()
    provider.close()


def _nobody(*_: object, **__: object) -> None:
    raise ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token from the included credentials.")


def test_ambient_is_the_sdks_own_chain(azure: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    settings = azure.settings(client_secret="ambient", tenant_id="", client_id="")
    provider = AzureProvider(
        owner="me", settings=settings, secret=None, clock=azure.market.clock, state_dir=azure.folder
    )
    assert len(provider.offers()) == len(azure.market.pools)
    provider.close()
