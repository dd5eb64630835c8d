"""Documents, pages and questions to many places: what is wrong has a name and a place."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.fanout import ask, told
from orchestrator.kit.money import Rates
from orchestrator.kit.paging import pages
from orchestrator.kit.rest import retry_after_s

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_pages_are_read_until_none_follows() -> None:
    book = {"": ("a", "2"), "2": ("b", "3"), "3": ("c", None)}
    assert [page[0] for page in pages("x", book.__getitem__, lambda page: page[1])] == ["a", "b", "c"]


def test_pages_that_go_round_in_a_circle_end_in_an_error() -> None:
    with pytest.raises(TransientError, match="circle"):
        list(pages("x", lambda mark: mark, {"": "1", "1": "2", "2": "1"}.__getitem__))


def test_pages_without_end_end_in_an_error() -> None:
    with pytest.raises(TransientError, match="more than 5 pages"):
        list(pages("x", lambda mark: mark + "x", lambda page: page, most=5))


def test_a_place_that_fails_does_not_hide_the_others() -> None:
    def question(place: str) -> str:
        if place == "b":
            raise TransientError("x", "no answer")
        return place.upper()

    found, failed = ask(["a", "b", "c", "a"], question)
    assert (found, list(failed)) == ({"a": "A", "c": "C"}, ["b"])
    assert told(failed) == ("b: no answer",)
    assert ask([], question) == ({}, {})


def test_a_bug_in_a_question_passes() -> None:
    def question(place: str) -> str:
        raise KeyError(place)

    with pytest.raises(KeyError):
        ask(["a"], question)
    assert not issubclass(KeyError, ProviderError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("-3", 0.0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


def test_documents_name_what_is_wrong_and_where() -> None:
    document = Document({"a": {"b": [{"c": "1.5"}, 3]}, "n": True, "big": "inf"}, "answer")
    rows = document.within("a").each("b")
    assert next(rows).number("c") == 1.5
    with pytest.raises(Malformed, match=r"answer\.a\.b\[1\] is int 3, not an object"):
        next(rows)
    for name in ("n", "big", "gone"):
        with pytest.raises(Malformed, match=f"answer.{name} is"):
            document.number(name)
    assert document.number("gone", 2.0) == 2.0
    assert list(document.each("gone")) == []
    with pytest.raises(Malformed, match="not a list of texts"):
        Document({"t": ["a", 1]}, "x").texts("t")
    with pytest.raises(Malformed, match="x is list"):
        Document([], "x")


def test_an_unknown_currency_has_no_price() -> None:
    assert Rates().usd(1.0, "XXX") is None
    dollars, euros = Rates().usd(2.0, "USD"), Rates().usd(2.0, "eur")
    assert dollars == (2.0, "")
    assert euros is not None
    assert euros.usd > 0
    assert "USD/EUR" in euros.note
