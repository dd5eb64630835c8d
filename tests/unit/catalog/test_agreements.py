"""Negotiated prices and commitments: read strictly, applied once, the most specific first."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from orchestrator.app import App
from orchestrator.catalog.agreements import Negotiated, idle, negotiated, read_commitments, read_prices
from orchestrator.catalog.negotiating import negotiating
from orchestrator.config import Settings, parse
from orchestrator.domain.contracts import DescribesAccelerators, Provider, WarnsOfReclaim
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.standing import Commitment
from orchestrator.testing.builders import lease, offer

BOOK = OfferBook.of(
    [
        offer(),
        offer(region="eu-central-1"),
        offer(billing=Billing.SPOT, usd_per_hour=10.0),
        offer(instance_type="a100.8x", usd_per_hour=20.0),
        offer(provider="zed", usd_per_hour=30.0),
    ]
)


def usd(*prices: Negotiated) -> dict[str, float]:
    return {found.label: found.usd_per_hour for found in negotiated(BOOK, prices)}


def test_a_discount_is_off_the_list_price_of_what_it_names_and_says_so() -> None:
    found = usd(Negotiated(provider="acme", instance_type="h100.8x", percent=-12.0))
    assert found["acme us-east-1 h100.8x on-demand"] == pytest.approx(28.16)
    assert found["acme us-east-1 h100.8x spot"] == pytest.approx(8.8)
    assert found["acme us-east-1 a100.8x on-demand"] == 20.0
    assert found["zed us-east-1 h100.8x on-demand"] == 30.0
    (best,) = [o for o in negotiated(BOOK, [Negotiated(provider="zed", percent=-10.0)]) if o.provider == "zed"]
    assert best.source == "negotiated (-10 % of list 30 USD/h, test)"


def test_the_most_specific_price_counts_whatever_the_order_and_then_the_last() -> None:
    everywhere = Negotiated(provider="acme", percent=-5.0)
    region = Negotiated(provider="acme", region="eu-*", percent=-10.0)
    exact = Negotiated(provider="acme", region="eu-central-1", percent=-15.0)
    kind = Negotiated(provider="acme", instance_type="h100*", usd_per_hour=25.0)
    label = "acme eu-central-1 h100.8x on-demand"
    assert usd(everywhere, region)[label] == usd(region, everywhere)[label] == pytest.approx(28.8)
    assert usd(exact, region)[label] == pytest.approx(27.2)
    assert usd(kind, exact)[label] == 25.0
    assert usd(kind, Negotiated(provider="acme", instance_type="h100*", usd_per_hour=24.0))[label] == 24.0


def test_nothing_agreed_leaves_the_book_as_it_is() -> None:
    assert negotiated(BOOK, ()) is BOOK
    assert negotiated(BOOK, [Negotiated(provider="nobody", percent=-50.0)]) is BOOK


def test_a_book_at_negotiated_prices_is_still_sorted() -> None:
    found = negotiated(BOOK, [Negotiated(provider="acme", percent=-5.0)])
    again = found.sort()
    assert [again[row] for row in range(len(again))] == [found[row] for row in range(len(found))]


def test_a_price_that_no_offer_has_is_pointed_out_with_the_nearest_provider() -> None:
    prices = (Negotiated(provider="acmee", percent=-5.0), Negotiated(provider="acme", region="mars", percent=-5.0))
    assert idle(BOOK, prices) == (
        ("acmee", "no offer fits the negotiated price of acmee; did you mean 'acme'?"),
        ("acme", "no offer fits the negotiated price of acme mars"),
    )


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"percent": -5}, r"prices\[0\] needs provider"),
        ({"provider": "a"}, r"prices\[0\] needs either percent"),
        ({"provider": "a", "percent": -5, "usd_per_hour": 3}, r"needs either percent"),
        ({"provider": "a", "percent": -100}, r"prices\[0\]\.percent is -100"),
        ({"provider": "a", "percent": "-5"}, r"prices\[0\]\.percent is a number"),
        ({"provider": "a", "usd_per_hour": 0}, r"a node costs more than nothing"),
        ({"provider": "a", "usd_per_hour": float("nan")}, r"usd_per_hour is a number"),
        ({"provider": "a", "percent": -5, "billing": "sport"}, r"did you mean 'spot'"),
        ({"provider": "a", "percent": -5, "instance": "x"}, r"unknown setting instance \(did you mean 'instance_type'"),
    ],
)
def test_a_wrong_price_is_refused_with_the_file_and_the_key(table: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"^config\.toml: .*{complaint}|{complaint}"):
        read_prices([table], "config.toml")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"provider": "a", "nodes": 1}, r"commitments\[0\] needs instance_type"),
        ({"provider": "a", "instance_type": "b", "nodes": 0}, r"commitments\[0\]\.nodes is a whole number"),
        ({"provider": "a", "instance_type": "b", "nodes": True}, r"nodes is a whole number"),
        ({"provider": "a", "instance_type": "b", "nodes": 1, "ends_at": "2027"}, r"ends_at is a date such as"),
        ({"provider": "a", "instance_type": "b", "nodes": 1, "ends": 3}, r"unknown setting ends"),
    ],
)
def test_a_wrong_commitment_is_refused_with_the_file_and_the_key(table: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_commitments([table], "config.toml")


def test_a_commitment_is_read_with_its_end() -> None:
    table = {"provider": "aws", "instance_type": "p5.48xlarge", "nodes": 4, "ends_at": date(2027, 1, 1)}
    ends_at = datetime(2027, 1, 1, tzinfo=UTC)
    assert read_commitments([table], "config.toml") == (
        Commitment(provider="aws", instance_type="p5.48xlarge", nodes=4, ends_at=ends_at),
    )


def settings(home: Path, **document: object) -> Settings:
    return parse({"providers": {"local": {"enabled": False}}, **document}, home=home, file="config.toml")


def test_a_snapshot_has_the_negotiated_prices_and_the_commitments(tmp_path: Path) -> None:
    plain = App(settings(tmp_path)).snapshot(live=False).book
    agreed = [{"provider": "lambda", "percent": -20}]
    held = [{"provider": "aws", "instance_type": "p5.48xlarge", "nodes": 2}]
    found = App(settings(tmp_path, prices=agreed, commitments=held)).snapshot(live=False)
    ours = found.book.provider.isin(frozenset({"lambda"}))
    assert found.book.usd_per_hour[ours].tolist() == pytest.approx((0.8 * plain.usd_per_hour[ours]).tolist())
    assert found.book.usd_per_hour[~ours].tolist() == plain.usd_per_hour[~ours].tolist()
    assert found.commitments == (Commitment(provider="aws", instance_type="p5.48xlarge", nodes=2),)
    assert found.gaps == ()


def test_what_is_no_list_of_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: prices are a list of tables: \[\[prices\]\]"):
        settings(tmp_path, prices={"provider": "a"})
    with pytest.raises(ConfigError, match=r"config\.toml: prices\[0\]: unknown setting percnt"):
        App(settings(tmp_path, prices=[{"provider": "a", "percnt": 3}])).market()


class Vendor:
    """Sells at list prices; hands back its own offer, or the one it was given."""

    name = "acme"

    def __init__(self, *, echoes: bool) -> None:
        self.echoes = echoes
        self.released: list[str] = []

    def offers(self) -> OfferBook:
        return OfferBook.of([offer()])

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        bought = offer if self.echoes else self.offers()[0]
        return lease(offer=bought, nodes=nodes, usd_per_hour=nodes * bought.usd_per_hour)

    def release(self, lease_id: str) -> None:
        self.released.append(lease_id)

    def leases(self) -> list[Lease]:
        return [lease(nodes=3, usd_per_hour=96.0)]


class Wary(Vendor):
    def reclaims(self) -> list[object]:
        return []


class Telling(Wary):
    def accelerators(self) -> list[object]:
        return []


@pytest.mark.parametrize("echoes", [True, False])
def test_what_is_offered_bought_and_billed_has_one_price(echoes: bool) -> None:
    vendor = Vendor(echoes=echoes)
    agreed = negotiating(vendor, [Negotiated(provider="acme", percent=-25.0)])
    (planned,) = agreed.offers()
    assert planned.usd_per_hour == 24.0
    bought = agreed.acquire(planned, 2, token="t", boot=Boot(run_id="r"))
    assert (bought.usd_per_hour, bought.offer.usd_per_hour) == (48.0, 24.0)
    assert [held.usd_per_hour for held in agreed.leases()] == [72.0]
    agreed.release("x")
    assert vendor.released == ["x"]


@pytest.mark.parametrize("kind", [Vendor, Wary, Telling])
def test_a_provider_keeps_the_abilities_it_has_and_no_others(kind: type[Vendor]) -> None:
    vendor: Provider = kind(echoes=True)
    agreed = negotiating(vendor, [Negotiated(provider="acme", percent=-25.0)])
    for ability in (WarnsOfReclaim, DescribesAccelerators):
        assert isinstance(agreed, ability) == isinstance(vendor, ability)
    assert negotiating(vendor, [Negotiated(provider="zed", percent=-25.0)]) is vendor
