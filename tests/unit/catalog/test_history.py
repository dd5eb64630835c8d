"""The price history, what changed, and the paths of prices."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.catalog import history, paths
from orchestrator.catalog.changes import Kind, changes_since, last_changes
from orchestrator.catalog.framing import Damaged
from orchestrator.catalog.history import History, State
from orchestrator.catalog.query import OfferFilter
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH


def day(number: int) -> datetime:
    return EPOCH + timedelta(days=number)


def grown(*looks: list[Offer]) -> History:
    known = history.empty()
    for number, offers in enumerate(looks):
        known = history.added(known, OfferBook.of(offers), day(number))
    return known


def kinds(known: History) -> list[tuple[str, str]]:
    return [(change.kind.value, change.region) for change in last_changes("s", known).changes]


def test_the_first_look_is_no_change() -> None:
    found = last_changes("s", grown([offer(), offer(region="b")]))
    assert (found.since, found.offers, found.changes) == (None, 2, ())


def test_only_changes_are_written_down() -> None:
    known = grown([offer()], [offer()], [offer(usd_per_hour=31.0)], [offer(usd_per_hour=31.0)])
    assert (len(known.batches), len(known)) == (4, 2)


def test_every_kind_of_change_is_told_and_the_biggest_price_change_comes_first() -> None:
    before = [
        offer(region="up", usd_per_hour=10.0),
        offer(region="down", usd_per_hour=10.0),
        offer(region="out", available=3),
        offer(region="back", available=0),
        offer(region="gone"),
        offer(region="same"),
    ]
    after = [
        offer(region="up", usd_per_hour=11.0),
        offer(region="down", usd_per_hour=5.0),
        offer(region="out", available=0),
        offer(region="back", available=1),
        offer(region="new"),
        offer(region="same"),
    ]
    known = grown(before, after)
    assert kinds(known) == [
        ("down", "down"),
        ("up", "up"),
        ("sold out", "out"),
        ("back", "back"),
        ("new", "new"),
        ("gone", "gone"),
    ]
    found = last_changes("s", known)
    assert (found.since, found.until, found.offers) == (day(0), day(1), 6)
    assert found.counts() == {"acme": dict.fromkeys(Kind, 1)}
    assert [change.percent for change in found.changes[:2]] == [-50.0, pytest.approx(10.0)]
    assert (found.changes[-1].before, found.changes[-1].now) == (32.0, None)


def test_an_offer_can_change_in_two_ways_at_once() -> None:
    assert kinds(grown([offer(available=1)], [offer(available=0, usd_per_hour=40.0)])) == [
        ("up", "us-east-1"),
        ("sold out", "us-east-1"),
    ]


def test_a_look_that_changes_nothing_says_so() -> None:
    assert kinds(grown([offer()], [offer(usd_per_hour=1.0)], [offer(usd_per_hour=1.0)])) == []


def test_what_went_and_came_again_is_new() -> None:
    assert kinds(grown([offer()], [], [offer()])) == [("new", "us-east-1")]


def test_since_a_moment_is_since_the_look_before_it() -> None:
    known = grown(*([offer(usd_per_hour=price)] for price in (1.0, 2.0, 3.0)))

    def told(moment: datetime) -> tuple[datetime | None, float | None, float | None]:
        found = changes_since("s", known, moment)
        return (found.since, found.changes[0].before, found.changes[0].now) if found.changes else (found.since, 0, 0)

    assert told(day(1) + timedelta(hours=1)) == (day(1), 2.0, 3.0)
    assert told(day(0)) == (day(0), 1.0, 3.0)
    assert told(day(-9)) == (day(0), 1.0, 3.0), "nothing was known before the first look"
    assert told(day(9)) == (day(2), 0, 0)


def test_a_clock_that_went_back_makes_no_batch_before_another() -> None:
    known = history.added(grown([offer()], [offer(usd_per_hour=1.0)]), OfferBook.of([offer()]), day(-3))
    assert known.batches.tolist() == sorted(known.batches.tolist())
    assert [point.usd_per_hour for point in select(known)[0].points] == [32.0, 1.0, 32.0]


def test_a_history_on_disk_is_the_history(tmp_path: Path) -> None:
    for number, price in enumerate((1.0, 2.0, 2.0)):
        history.record(tmp_path, "live-acme", OfferBook.of([offer(usd_per_hour=price)]), day(number))
    known = history.load(tmp_path)["live-acme"]
    assert [point.usd_per_hour for point in select(known)[0].points] == [1.0, 2.0]
    assert last_changes("live-acme", known).since == day(1)
    history.remove(tmp_path, "live-acme")
    history.remove(tmp_path, "live-acme")
    assert history.load(tmp_path) == {}


def test_a_damaged_history_is_named_when_read_and_begun_anew_when_written(tmp_path: Path) -> None:
    history.record(tmp_path, "live-acme", OfferBook.of([offer()]), day(0))
    [path] = (tmp_path / "history").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged):
        history.read(path)
    with pytest.raises(ConfigError, match=r"live-acme\.prices"):
        history.load(tmp_path)
    assert len(history.record(tmp_path, "live-acme", OfferBook.of([offer()]), day(1)).batches) == 1


def test_a_long_history_folds_its_oldest_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_CHANGES", 40)
    monkeypatch.setattr(history, "KEPT_CHANGES", 30)
    rare = offer(region="rare", usd_per_hour=7.0)
    gone = offer(region="gone")
    looks = [[gone, rare, *(offer(region=f"r{each}", usd_per_hour=1.0 + each) for each in range(5))]]
    looks += [
        [rare, *(offer(region=f"r{each}", usd_per_hour=1.0 + each + look) for each in range(5))] for look in range(60)
    ]
    known = grown(*looks)
    assert len(known) <= 40
    found = {path.region: path for path in select(known)}
    assert "gone" not in found
    assert [point.usd_per_hour for point in found["rare"].points] == [7.0]
    assert found["r0"].points[-1].usd_per_hour == 60.0
    assert changes_since("s", known, day(59)).changes[0].before == 59.0


def test_many_looks_are_folded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_BATCHES", 8)
    known = grown(*[[offer()]] * 30)
    assert len(known.batches) <= 8
    assert [point.usd_per_hour for point in select(known)[0].points] == [32.0]


def select(known: History, **wanted: tuple[str, ...]) -> list[paths.Path]:
    return paths.select({"live-acme": known}, OfferFilter(**wanted), now=day(99))  # type: ignore[arg-type]


def test_a_path_has_every_change_with_its_state() -> None:
    known = grown([offer()], [offer(available=0)], [], [offer(usd_per_hour=5.0, observed_at=day(3))])
    [path] = select(known)
    assert [(point.usd_per_hour, point.state) for point in path.points] == [
        (32.0, State.LISTED),
        (32.0, State.SOLD_OUT),
        (None, State.GONE),
        (5.0, State.LISTED),
    ]
    assert path.prices == (32.0, 32.0, 5.0)
    assert [point.at for point in path.points] == [EPOCH, EPOCH, day(2), day(3)]


def test_paths_are_chosen_as_offers_are() -> None:
    known = grown([offer(), offer(region="eu-1"), offer(region="eu-2", accelerator="T4")], [offer(region="eu-1")])
    assert [path.region for path in select(known, regions=("eu-*",))] == ["eu-2", "eu-1"], "most changes first"
    assert [path.region for path in select(known, regions=("eu-*",), gpus=("H100",))] == ["eu-1"]
    assert select(known, providers=("nobody",)) == []


def test_what_a_source_says_last_of_a_device_counts() -> None:
    [path] = select(grown([offer(accelerator="x", gpus=1.0)], [offer(accelerator="H200", gpus=8.0, usd_per_hour=1.0)]))
    assert (path.accelerator, path.gpus) == ("H200", 8.0)
