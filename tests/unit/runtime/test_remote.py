"""A provider behind its process shows the planner all that the provider itself would."""

from __future__ import annotations

import pytest

from orchestrator.domain.contracts import DescribesAccelerators, MeasuresLinks, Survey, Surveys
from orchestrator.domain.errors import TransientError
from orchestrator.domain.network import Link, Network, Place
from orchestrator.domain.offerbook import OfferBook
from orchestrator.inventory.snapshot import take
from orchestrator.runtime.gateway import Answer, Request
from orchestrator.runtime.remote import RemoteProvider
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import FakeClock

PLACE = Place(key="shop/mainz", latitude=50.0, longitude=8.27, country="DE", jurisdictions=("DE",))
LINK = Link(a="shop/mainz", b="Frankfurt", rtt_ms=3.1, gbit_s=0.0, origin="measured")


class Desk:
    """Answers by the name of the method; a method without an answer is not answered."""

    def __init__(self, **answers: object) -> None:
        self._answers = answers

    def names(self) -> tuple[str, ...]:
        return ("shop",)

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:
        raise AssertionError

    def ask(self, provider: str, method: str, *arguments: object, timeout_s: float) -> object:
        if method not in self._answers:
            raise TransientError(provider, f"no answer within {timeout_s:g} s")
        return self._answers[method]


def shop(**changes: object) -> RemoteProvider:
    book = OfferBook.of([offer(provider="shop", region="mainz")])
    answers = {"survey": Survey(book, ()), "accelerators": (), "places": (PLACE,), "links": (LINK,)}
    return RemoteProvider("shop", Desk(**{**answers, **changes}), timeout_s=1.0)


def test_it_has_every_capability_that_a_look_at_the_market_uses() -> None:
    assert isinstance(shop(), Surveys)
    assert isinstance(shop(), DescribesAccelerators)
    assert isinstance(shop(), MeasuresLinks)


def test_places_and_links_come_into_the_snapshot() -> None:
    found = take(
        {"shop": shop()}, base=OfferBook.empty(), accelerators=(), network=Network(), clock=FakeClock(), deadline_s=5.0
    )
    assert (found.network.places, found.network.links) == ((PLACE,), (LINK,))


def test_a_process_that_does_not_answer_is_no_empty_answer() -> None:
    silent = RemoteProvider("shop", Desk(), timeout_s=1.0)
    for ask in (silent.places, silent.links, silent.survey):
        with pytest.raises(TransientError):
            ask()
