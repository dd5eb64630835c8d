"""What every store promises, as tests: subclass StoreContract and supply one fixture."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from orchestrator.domain.contracts import Store
from orchestrator.domain.errors import Fenced, UserError
from orchestrator.domain.events import Approved, CancelAsked, ControllerNote, Event, Planned, Submitted
from orchestrator.testing.builders import plan_of, program, training
from orchestrator.testing.clock import EPOCH

TTL_S = 10.0
Reopen = Callable[[], Store]


class StoreContract:
    """Subclass it as `TestXStore` with a fixture `reopen`; every promise of the Store protocol is one test."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        """The subclass's own: each call gives a *new* store object over the same log, which begins empty."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, reopen: Reopen) -> Store:
        """One way to the log."""
        return reopen()

    # Events

    def test_what_was_submitted_is_read_back_exactly(self, store: Store, reopen: Reopen) -> None:
        event = submitted("run-1")
        assert store.submit(event) == ("run-1", True)
        assert [recorded.event for recorded in reopen().events()] == [event]

    def test_what_was_appended_is_read_back_in_order_with_rising_numbers(self, store: Store, reopen: Reopen) -> None:
        store.submit(submitted("run-1"))
        events = [note("run-1", f"{number}") for number in range(5)]
        store.append(events[:2], fence=leading(store))
        store.append(events[2:], fence=leading(store))
        recorded = reopen().events()
        assert [one.event for one in recorded[1:]] == events
        numbers = [one.seq for one in recorded]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0

    def test_reading_goes_on_where_it_left_off(self, store: Store) -> None:
        store.submit(submitted("run-1"))
        fence = leading(store)
        store.append([note("run-1", "a"), note("run-1", "b")], fence=fence)
        first = store.events()
        assert [one.event for one in store.events(since=first[1].seq)] == [note("run-1", "b")]
        assert store.events(since=first[-1].seq) == []
        store.append([note("run-1", "c")], fence=fence)
        assert [one.event for one in store.events(since=first[-1].seq)] == [note("run-1", "c")]

    def test_one_runs_events_are_its_own(self, store: Store) -> None:
        for name in ("run-1", "run-2"):
            store.submit(submitted(name))
        store.append([note("run-1", "a"), note("run-2", "b"), note("", "c")], fence=leading(store))
        assert [one.event.run_id for one in store.events(run_id="run-1")] == ["run-1", "run-1"]
        assert store.events(run_id="run-3") == []
        since = store.events(run_id="run-1")[0].seq
        assert [one.event for one in store.events(run_id="run-1", since=since)] == [note("run-1", "a")]

    def test_a_plan_survives_the_way(self, store: Store, reopen: Reopen) -> None:
        store.submit(submitted("run-1"))
        event = Planned(run_id="run-1", at=EPOCH, plan=plan_of())
        store.append([event], fence=leading(store))
        assert reopen().events()[-1].event == event

    def test_appending_nothing_is_fine(self, store: Store) -> None:
        store.append([], fence=leading(store))
        assert store.events() == []

    # Submissions

    def test_a_key_seen_before_gives_the_earlier_run(self, store: Store, reopen: Reopen) -> None:
        assert store.submit(submitted("run-1", key="mine")) == ("run-1", True)
        assert reopen().submit(submitted("run-2", key="mine")) == ("run-1", False)
        assert len(store.events()) == 1

    def test_without_a_key_the_same_job_twice_is_two_runs(self, store: Store) -> None:
        assert store.submit(submitted("run-1")) == ("run-1", True)
        assert store.submit(submitted("run-2")) == ("run-2", True)

    def test_the_same_run_id_again_is_the_same_submission(self, store: Store) -> None:
        store.submit(submitted("run-1"))
        assert store.submit(submitted("run-1")) == ("run-1", False)
        assert len(store.events()) == 1

    def test_of_many_submissions_with_one_key_one_is_stored(self, reopen: Reopen) -> None:
        stores = [reopen() for _ in range(4)]

        def submit(number: int) -> tuple[str, bool]:
            return stores[number % 4].submit(submitted(f"run-{number}", key="race"))

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(submit, range(16)))
        assert len({run_id for run_id, _ in answers}) == 1
        assert sum(new for _, new in answers) == 1

    # Requests of users

    def test_users_cancel_without_a_fencing_token(self, store: Store) -> None:
        store.submit(submitted("run-1"))
        leading(store)
        cancel = CancelAsked(run_id="run-1", at=EPOCH)
        store.request(cancel)
        assert store.events()[-1].event == cancel

    def test_users_approve_without_a_fencing_token(self, store: Store) -> None:
        store.submit(submitted("run-1"))
        approved = Approved(run_id="run-1", at=EPOCH, by="cfo", usd=12.5)
        store.request(approved)
        assert store.events()[-1].event == approved

    def test_a_run_that_nobody_submitted_cannot_be_cancelled(self, store: Store) -> None:
        store.append([note("", "controller notes are about no run")], fence=leading(store))
        for name in ("run-1", ""):
            with pytest.raises(UserError):
                store.request(CancelAsked(run_id=name, at=EPOCH))

    def test_users_write_nothing_but_their_wishes(self, store: Store) -> None:
        store.submit(submitted("run-1"))
        with pytest.raises(ValueError, match="note"):
            store.request(note("run-1", "I am the controller"))

    # Leading

    def test_one_holder_leads_at_a_time(self, store: Store, reopen: Reopen) -> None:
        assert store.lead("a", now=EPOCH, ttl_s=TTL_S) is not None
        assert reopen().lead("b", now=EPOCH + timedelta(seconds=TTL_S - 0.1), ttl_s=TTL_S) is None

    def test_a_renewal_keeps_the_token_and_moves_the_end(self, store: Store) -> None:
        first = store.lead("a", now=EPOCH, ttl_s=TTL_S)
        later = EPOCH + timedelta(seconds=TTL_S - 1)
        assert store.lead("a", now=later, ttl_s=TTL_S) == first
        assert store.lead("b", now=EPOCH + timedelta(seconds=TTL_S + 1), ttl_s=TTL_S) is None

    def test_every_change_of_holder_raises_the_token(self, store: Store) -> None:
        tokens = []
        for turn, holder in enumerate(("a", "b", "a", "c")):
            tokens.append(store.lead(holder, now=EPOCH + turn * timedelta(seconds=TTL_S), ttl_s=TTL_S))
        assert None not in tokens
        assert tokens == sorted(set(tokens), key=lambda token: token or 0)

    def test_who_resigns_is_followed_at_once_under_a_higher_token(self, store: Store) -> None:
        first = store.lead("a", now=EPOCH, ttl_s=TTL_S)
        store.resign("b")
        assert store.lead("b", now=EPOCH, ttl_s=TTL_S) is None
        store.resign("a")
        second = store.lead("b", now=EPOCH, ttl_s=TTL_S)
        assert first is not None
        assert second is not None
        assert second > first

    def test_an_older_token_writes_nothing(self, store: Store, reopen: Reopen) -> None:
        old = leading(store)
        new = reopen().lead("b", now=EPOCH + timedelta(seconds=TTL_S), ttl_s=TTL_S)
        assert new is not None
        with pytest.raises(Fenced):
            store.append([note("", "from beyond")], fence=old)
        assert store.events() == []
        store.append([note("", "new")], fence=new)

    def test_nobody_writes_before_somebody_leads(self, store: Store) -> None:
        with pytest.raises(Fenced):
            store.append([note("", "early")], fence=1)

    def test_of_many_that_want_to_lead_one_does(self, reopen: Reopen) -> None:
        stores = [reopen() for _ in range(4)]

        def lead(number: int) -> int | None:
            return stores[number % 4].lead(f"holder-{number}", now=EPOCH, ttl_s=TTL_S)

        with ThreadPoolExecutor(8) as pool:
            tokens = [token for token in pool.map(lead, range(16)) if token is not None]
        assert len(tokens) == 1

    def test_many_threads_append_and_nothing_is_lost_or_torn(self, reopen: Reopen) -> None:
        store = reopen()
        fence = leading(store)
        stores = [reopen() for _ in range(3)]

        def append(number: int) -> None:
            pair = [note("", f"{number} first"), note("", f"{number} second")]
            stores[number % 3].append(pair, fence=fence)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(append, range(30)))
        told = [one.event.detail for one in store.events() if isinstance(one.event, ControllerNote)]
        assert sorted(told) == sorted(f"{number} {which}" for number in range(30) for which in ("first", "second"))
        for first, second in zip(told[::2], told[1::2], strict=True):
            assert first.split()[0] == second.split()[0], "an append is all or nothing, in one piece"

    def test_closing_twice_is_fine(self, store: Store) -> None:
        store.close()
        store.close()


def submitted(run_id: str, key: str = "") -> Submitted:
    """A submission of the default job."""
    return Submitted(run_id=run_id, at=EPOCH, workload=training(program=program()), plan=plan_of(), key=key)


def note(run_id: str, detail: str) -> Event:
    """A small event."""
    return ControllerNote(run_id=run_id, at=EPOCH, detail=detail)


def leading(store: Store) -> int:
    """The token of the holder "a"."""
    fence = store.lead("a", now=EPOCH, ttl_s=TTL_S)
    assert fence is not None
    return fence
