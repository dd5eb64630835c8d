"""Refreshing prices: everybody at once, patiently, and nobody's failure is another's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.catalog import history, refreshed
from orchestrator.catalog.changes import Kind
from orchestrator.domain.contracts import Survey
from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.inventory.refresh import ATTEMPTS, Asking, Outcome, Progress, Stage, keep_live, of_providers, refresh
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import FakeClock

Answer = Survey | Exception


class Fake:
    """A provider that gives its answers one after the other, the last for ever."""

    def __init__(self, name: str, *answers: Answer, before: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self._answers = list(answers)
        self._before = before
        self.asked = 0

    def survey(self) -> Survey:
        self.asked += 1
        self._before()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def offers(self) -> OfferBook:
        return self.survey().book

    acquire = release = leases = NotImplemented


def sold(*offers: Offer, gaps: tuple[str, ...] = ()) -> Survey:
    return Survey(OfferBook.of(offers), gaps)


def run(
    folder: Path, *providers: Fake, clock: FakeClock | None = None, patience_s: float = 60.0
) -> tuple[dict[str, Outcome], list[tuple[Progress, ...]]]:
    heard: list[tuple[Progress, ...]] = []
    asking = Asking(folder=folder, clock=clock or FakeClock(), patience_s=patience_s, keep=keep_live)
    sources = of_providers({each.name: each for each in providers})  # type: ignore[misc]
    outcomes = refresh(sources, asking, heard.append)
    return {outcome.provider: outcome for outcome in outcomes}, heard


def test_answers_are_kept_with_their_time_and_failures_beside_them(tmp_path: Path) -> None:
    outcomes, heard = run(
        tmp_path,
        Fake("acme", sold(offer())),
        Fake("zed", sold(offer(provider="zed"), gaps=("b: silent",))),
        Fake("locked", AuthError("locked", "the key is wrong")),
    )
    assert {name: outcome.problem for name, outcome in outcomes.items()} == {
        "acme": "",
        "zed": "",
        "locked": "the key is wrong",
    }
    assert outcomes["zed"].gaps == ("b: silent",)
    kept = refreshed.load(tmp_path)
    assert [(each.provider, each.everything, each.at) for each in kept] == [
        ("acme", True, FakeClock().now()),
        ("zed", False, FakeClock().now()),
    ]
    assert sorted(history.load(tmp_path)) == ["live-acme", "live-zed"]
    assert {each.provider: each.stage for each in heard[-1]} == {
        "acme": Stage.DONE,
        "zed": Stage.DONE,
        "locked": Stage.FAILED,
    }


def test_a_provider_that_asks_to_wait_is_not_asked_sooner(tmp_path: Path) -> None:
    clock = FakeClock()
    slow = Fake("acme", TransientError("acme", "throttled", 20.0), TransientError("acme", "busy", 0.1), sold(offer()))
    outcomes, heard = run(tmp_path, slow, clock=clock)
    assert outcomes["acme"].told is not None
    assert (slow.asked, clock.slept_s) == (3, 22.0), "20 s as told, then 2 s of our own"
    waits = [each.detail for standing in heard for each in standing if each.stage is Stage.WAITING]
    assert waits[0] == "throttled; again in 20 s"


def test_patience_ends_and_the_last_reason_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    busy = Fake("acme", TransientError("acme", "busy", 1.0))
    outcomes, _ = run(tmp_path, busy, clock=clock, patience_s=1000.0)
    assert (busy.asked, outcomes["acme"].problem) == (ATTEMPTS, "busy")
    far = Fake("acme", TransientError("acme", "come back tomorrow", 86400.0))
    outcomes, _ = run(tmp_path, far, clock=clock)
    assert (far.asked, outcomes["acme"].problem) == (1, "come back tomorrow"), "sooner would be too soon"


def test_a_refusal_is_not_asked_again(tmp_path: Path) -> None:
    locked = Fake("locked", AuthError("locked", "the key is wrong"))
    run(tmp_path, locked)
    assert locked.asked == 1


def test_somebody_who_never_answers_keeps_nobody(tmp_path: Path) -> None:
    ever = threading.Event()
    hangs = Fake("slow", sold(offer(provider="slow")), before=lambda: ever.wait(30))
    try:
        outcomes, _ = run(tmp_path, hangs, Fake("acme", sold(offer())), patience_s=0.2)
    finally:
        ever.set()
    assert outcomes["slow"].problem == "no answer within 0.2 s"
    assert outcomes["acme"].told is not None


def test_a_failure_leaves_what_was_said_before(tmp_path: Path) -> None:
    run(tmp_path, Fake("acme", sold(offer(usd_per_hour=1.0))))
    for answer in (ProviderError("acme", "down"), sold(), sold(gaps=("a: silent",))):
        outcomes, _ = run(tmp_path, Fake("acme", answer))
        assert outcomes["acme"].told is None
        assert outcomes["acme"].problem
        [kept] = refreshed.load(tmp_path)
        assert [each.usd_per_hour for each in kept.book] == [1.0]


def test_a_region_that_is_silent_keeps_its_offers_and_is_no_change(tmp_path: Path) -> None:
    clock = FakeClock()
    run(tmp_path, Fake("acme", sold(offer(region="a"), offer(region="b"))), clock=clock)
    clock.advance(60)
    outcomes, _ = run(
        tmp_path, Fake("acme", sold(offer(region="a", usd_per_hour=16.0), gaps=("b: silent",))), clock=clock
    )
    changes = outcomes["acme"].changes
    assert changes is not None
    assert [(change.kind, change.region, change.percent) for change in changes.changes] == [(Kind.DOWN, "a", -50.0)]
    assert changes.until - (changes.since or changes.until) == timedelta(seconds=60)


def test_prices_of_nothing_are_a_gap_and_machines_of_ones_own_are_none(tmp_path: Path) -> None:
    outcomes, _ = run(
        tmp_path,
        Fake("acme", sold(offer(), offer(region="b", usd_per_hour=0.0))),
        Fake("mine", sold(offer(provider="mine", billing=Billing.OWNED, usd_per_hour=0.0))),
    )
    assert outcomes["acme"].gaps == ("1 offers without a usable price are left out",)
    assert (outcomes["mine"].told, outcomes["mine"].problem) == (None, "")


def test_an_adapter_that_speaks_for_another_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="offers of zed"):
        run(tmp_path, Fake("acme", sold(offer(provider="zed"))))
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, Fake("acme", ZeroDivisionError()))


def test_refreshes_at_the_same_time_leave_whole_files(tmp_path: Path) -> None:
    prices = [float(number) for number in range(1, 9)]

    def one(price: float) -> None:
        run(tmp_path, Fake("acme", sold(*(offer(region=region, usd_per_hour=price) for region in "abc"))))

    threads = [threading.Thread(target=one, args=(price,)) for price in prices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [kept] = refreshed.load(tmp_path)
    assert len({each.usd_per_hour for each in kept.book}) == 1, "of one answer"
    known = history.load(tmp_path)["live-acme"]
    assert set(known.usd_per_hour.tolist()) <= set(prices)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".offers", ".prices"}


def test_nobody_to_ask_is_no_outcome(tmp_path: Path) -> None:
    assert run(tmp_path)[0] == {}
