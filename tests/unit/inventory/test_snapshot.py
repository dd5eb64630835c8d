"""Looking at all providers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.catalog.agreements import Negotiated
from orchestrator.catalog.negotiating import negotiating
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import Survey
from orchestrator.domain.errors import AuthError, TransientError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.network import Link, Network, Place
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.snapshot import Gap, Snapshot
from orchestrator.inventory.snapshot import take
from orchestrator.testing.builders import accelerator, offer
from orchestrator.testing.clock import EPOCH, FakeClock

SOON_S = 0.05
EVENTUALLY_S = 30.0


OSLO = Place(key="edge/oslo", latitude=59.91, longitude=10.75, country="NO", jurisdictions=("NO", "EEA"))
MEASURED = Link(a="edge/oslo", b="Frankfurt", rtt_ms=21.5, gbit_s=0.9, origin="measured over SSH to o-1, 2026-01-01")
IMPORTED = Link(a="edge/oslo", b="Frankfurt", rtt_ms=30.0, gbit_s=0.0, origin="imported from t.csv on 2025-12-01")


class Shop:
    """A provider that lists what it is told to."""

    def __init__(self, name: str, answer: Callable[[], OfferBook]) -> None:
        self.name = name
        self._answer = answer

    def offers(self) -> OfferBook:
        return self._answer()

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        raise NotImplementedError

    def release(self, lease_id: str) -> None:
        raise NotImplementedError

    def leases(self) -> Sequence[Lease]:
        raise NotImplementedError


class Laboratory(Shop):
    """A provider of devices that no table holds."""

    def __init__(self, name: str, devices: tuple[Accelerator, ...]) -> None:
        super().__init__(name, OfferBook.empty)
        self._devices = devices

    def accelerators(self) -> Sequence[Accelerator]:
        return self._devices


class Surveying(Shop):
    """A provider with hosts in Oslo, from which it measures."""

    def __init__(self, measure: Callable[[], Sequence[Link]]) -> None:
        super().__init__("edge", lambda: OfferBook.of([offer(provider="edge", region="oslo")]))
        self._measure = measure

    def places(self) -> Sequence[Place]:
        return (OSLO,)

    def links(self) -> Sequence[Link]:
        return self._measure()


def shop(name: str, *offers: Offer) -> Shop:
    return Shop(name, lambda: OfferBook.of(offers))


def failing(name: str, error: Exception) -> Shop:
    def fail() -> OfferBook:
        raise error

    return Shop(name, fail)


@pytest.fixture
def hang() -> Iterator[Callable[[str], Shop]]:
    """Makes providers that hang until the test is over."""
    over = threading.Event()

    def hanging(name: str) -> Shop:
        def wait() -> OfferBook:
            over.wait()
            return OfferBook.empty()

        return Shop(name, wait)

    yield hanging
    over.set()


def look(
    *shops: Shop,
    base: Sequence[Offer] = (),
    devices: tuple[Accelerator, ...] = (),
    gaps: tuple[Gap, ...] = (),
    deadline_s: float = EVENTUALLY_S,
) -> Snapshot:
    return take(
        {each.name: each for each in shops},
        base=OfferBook.of(base),
        accelerators=devices,
        network=Network(),
        gaps=gaps,
        clock=FakeClock(),
        deadline_s=deadline_s,
    )


def test_without_providers_the_snapshot_is_the_base_and_nothing_can_be_bought() -> None:
    found = look(base=[offer()], devices=(accelerator(),), gaps=(Gap("gcp", "no credentials"),))
    assert [each.provider for each in found.book] == ["acme"]
    assert (found.buyable, found.gaps, found.taken_at) == ((), (Gap("gcp", "no credentials"),), EPOCH)
    assert found.accelerators == (accelerator(),)


def test_live_offers_replace_all_base_offers_of_their_provider_even_newer_ones() -> None:
    newer = offer(region="old-town", observed_at=EPOCH + timedelta(days=9))
    found = look(shop("acme", offer(usd_per_hour=1.0)), base=[newer, offer(), offer(provider="other")])
    assert [(each.provider, each.region, each.usd_per_hour) for each in found.book] == [
        ("acme", "us-east-1", 1.0),
        ("other", "us-east-1", 32.0),
    ]
    assert found.buyable == ("acme",)


def test_a_provider_that_sells_nothing_today_has_no_offers_left() -> None:
    found = look(shop("acme"), base=[offer()])
    assert len(found.book) == 0
    assert found.buyable == ("acme",)


def test_sold_out_offers_are_kept() -> None:
    found = look(shop("acme", offer(available=0)))
    assert [each.available for each in found.book] == [0]


@pytest.mark.parametrize("error", [AuthError("acme", "key refused"), TransientError("acme", "key refused")])
def test_a_failing_provider_is_a_gap_and_its_list_prices_stay_unbuyable(error: Exception) -> None:
    found = look(failing("acme", error), shop("other", offer(provider="other")), base=[offer()])
    assert found.gaps == (Gap("acme", "key refused"),)
    assert found.buyable == ("other",)
    assert [each.provider for each in found.book] == ["acme", "other"]


class Surveyor(Shop):
    """A provider some of whose regions did not answer."""

    def survey(self) -> Survey:
        return Survey(self._answer(), ("eu: no answer", "us-2: HTML in place of JSON"))


def test_what_a_survey_misses_is_a_gap_beside_the_offers_that_it_found() -> None:
    half = Surveyor("acme", lambda: OfferBook.of([offer()]))
    found = look(half, failing("zeta", AuthError("zeta", "no")), base=[offer(region="old-town")])
    assert found.gaps == (Gap("acme", "eu: no answer"), Gap("acme", "us-2: HTML in place of JSON"), Gap("zeta", "no"))
    assert found.buyable == ("acme",)
    assert [each.region for each in found.book] == ["us-east-1"]


def test_a_provider_that_does_not_answer_is_a_gap_and_does_not_hold_the_others(hang: Callable[[str], Shop]) -> None:
    found = look(hang("slow"), shop("acme", offer()), base=[offer(provider="slow")], deadline_s=SOON_S)
    assert found.gaps == (Gap("slow", "no answer within 0.05 s"),)
    assert found.buyable == ("acme",)
    assert [each.provider for each in found.book] == ["acme", "slow"]


def test_a_hanging_provider_does_not_hold_the_process(hang: Callable[[str], Shop]) -> None:
    look(hang("slow"), deadline_s=SOON_S)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "look-slow"]
    assert thread.daemon


def test_providers_are_asked_at_once_and_not_in_turn() -> None:
    together = threading.Barrier(3)

    def meet(name: str) -> Shop:
        def answer() -> OfferBook:
            together.wait(EVENTUALLY_S)  # returns only when all three are asked at the same time
            return OfferBook.of([offer(provider=name)])

        return Shop(name, answer)

    assert look(meet("a"), meet("b"), meet("c")).buyable == ("a", "b", "c")


def test_a_fault_of_an_adapter_is_raised_and_no_gap() -> None:
    with pytest.raises(ZeroDivisionError):
        look(failing("acme", ZeroDivisionError("bug")), shop("other"))


def test_offers_in_the_name_of_another_provider_are_a_fault() -> None:
    with pytest.raises(ValueError, match="'acme' answers with offers of stranger"):
        look(shop("acme", offer(provider="stranger")))


def test_gaps_given_come_first_and_those_found_follow_by_name() -> None:
    shops = [failing(name, AuthError(name, "no")) for name in ("zeta", "beta")]
    found = look(*shops, gaps=(Gap("omega", "off"),))
    assert found.gaps == (Gap("omega", "off"), Gap("beta", "no"), Gap("zeta", "no"))


def test_described_devices_join_the_table_and_go_before_their_namesakes() -> None:
    table = (accelerator(name="B"), accelerator(name="A"))
    lab = Laboratory("lab", (accelerator(name="cpu", tdp_w=1.0), accelerator(name="B", tdp_w=2.0)))
    other = Laboratory("other", (accelerator(name="cpu", tdp_w=9.0),))
    found = look(other, lab, devices=table)
    assert [(device.name, device.tdp_w) for device in found.accelerators] == [("B", 2.0), ("A", 700.0), ("cpu", 1.0)]


def test_the_order_of_the_providers_does_not_change_the_snapshot() -> None:
    shops = [shop("b", offer(provider="b")), shop("a", offer(provider="a")), failing("c", AuthError("c", "no"))]
    assert look(*shops).id == look(*reversed(shops)).id


def charted(measure: Callable[[], Sequence[Link]], *, deadline_s: float = EVENTUALLY_S) -> Snapshot:
    return take(
        {"edge": Surveying(measure)},
        base=OfferBook.empty(),
        accelerators=(),
        network=Network(links=(IMPORTED,)),
        clock=FakeClock(),
        deadline_s=deadline_s,
    )


def test_what_a_provider_measured_goes_before_what_was_imported() -> None:
    found = charted(lambda: [MEASURED])
    assert found.network.links == (MEASURED, IMPORTED)
    assert found.network.places == (OSLO,)
    assert not found.gaps


def test_links_that_come_late_are_a_gap_and_cost_neither_offers_nor_places() -> None:
    over = threading.Event()

    def wait() -> Sequence[Link]:
        over.wait()
        return ()

    found = charted(wait, deadline_s=SOON_S)
    over.set()
    assert found.network.links == (IMPORTED,)
    assert found.network.places == (OSLO,)
    assert found.buyable == ("edge",)
    assert found.gaps == (Gap("edge", "its links were not measured within 0.05 s"),)


def test_links_that_cannot_be_measured_are_a_gap() -> None:
    def fail() -> Sequence[Link]:
        raise TransientError("edge", "no host answers")

    found = charted(fail)
    assert (len(found.book), found.network.links) == (1, (IMPORTED,))
    assert found.gaps == (Gap("edge", "its links were not measured: no host answers"),)


def test_links_with_impossible_figures_are_left_out_and_told() -> None:
    found = charted(lambda: [replace(MEASURED, rtt_ms=float("nan")), replace(MEASURED, gbit_s=-1.0), MEASURED])
    assert found.network.links == (MEASURED, IMPORTED)
    assert found.gaps == (Gap("edge", "2 links with impossible figures are left out"),)


def test_a_provider_that_fails_is_not_waited_for_to_measure() -> None:
    class Down(Surveying):
        def offers(self) -> OfferBook:
            raise AuthError("edge", "no")

    found = look(Down(lambda: [MEASURED]))
    assert found.gaps == (Gap("edge", "no"),)
    assert found.network.links == ()


def test_negotiated_prices_hide_no_links() -> None:
    agreed = Negotiated(provider="edge", percent=-10.0)
    found = look(negotiating(Surveying(lambda: [MEASURED]), [agreed]))
    assert found.network.links == (MEASURED,)
    assert found.network.places == (OSLO,)
    assert look(negotiating(shop("edge"), [agreed])).network == Network()
