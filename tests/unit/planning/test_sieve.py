"""The sieve: every rule speaks for the offers that it caught."""

from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.reason import ReasonCode
from orchestrator.planning.sieve import Sieve
from orchestrator.testing.builders import offer


def test_two_rules_of_one_code_each_say_their_own_of_what_they_caught() -> None:
    sieve = Sieve(OfferBook.of([offer(provider="a"), offer(provider="b")]))
    for row, sentence in enumerate(("too slow", "unheard of")):
        rows = sieve.open_rows[:1]
        assert rows.tolist() == [row]
        sieve.refuse_rows(rows, "network", ReasonCode.INTERCONNECT, lambda _, said=sentence: said)
    (count,) = sieve.counts()
    assert [example.detail for example in count.examples] == ["too slow", "unheard of"]
