"""The API over a real socket: what goes in comes out the same on the other side."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.approval import Approval
from orchestrator.domain.errors import ConfigError, IsoflopError, UserError
from orchestrator.domain.events import ApprovalAsked, Approved, CancelAsked, Moved, Submitted
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.interfaces.api import server
from orchestrator.interfaces.api.faults import Refused, RunsOpen, UnknownRun
from orchestrator.spec import documents
from orchestrator.testing import builders

if TYPE_CHECKING:
    from tests.wire.conftest import Scene

TOKEN = "0123456789abcdef"  # what the scene's API expects
JOB = builders.training(name="Tiny Shakespeare!", program=builders.program())
OTHER = builders.fine_tune(name="tuned", program=builders.program())


def headers(**more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}", **more}


def test_a_submission_is_stored_as_it_was_given(scene: Scene) -> None:
    with scene.client() as client:
        accepted = client.submit(JOB)
        other = client.submit(OTHER)
    assert accepted.created
    assert accepted.run_id == "tiny-shakespeare-0001"
    stored = {item.event.run_id: item.event for item in scene.store.events()}
    submitted, tuned = stored[accepted.run_id], stored[other.run_id]
    assert isinstance(submitted, Submitted)
    assert submitted.workload == JOB
    assert isinstance(tuned, Submitted)
    assert tuned.workload == OTHER


def test_the_same_key_gives_the_same_run_and_no_key_gives_two(scene: Scene) -> None:
    with scene.client() as client:
        first, again = client.submit(JOB, key="k"), client.submit(JOB, key="k")
        third, fourth = client.submit(JOB), client.submit(JOB)
    assert first.created
    assert not again.created
    assert again.run_id == first.run_id
    assert len({first.run_id, third.run_id, fourth.run_id}) == 3


def test_a_plan_is_submitted_with_its_placements(scene: Scene) -> None:
    plan = builders.plan_of(builders.placement(buyable=True), workload=JOB)
    with scene.client() as client:
        accepted = client.apply(plan)
    event = scene.store.events(run_id=accepted.run_id)[0].event
    assert isinstance(event, Submitted)
    assert event.plan == plan
    assert event.workload == JOB


def test_a_plan_file_can_be_submitted_as_it_is(scene: Scene) -> None:
    snapshot = builders.snapshot(builders.offer())
    plan = builders.plan_of(builders.placement(buyable=True), workload=JOB, snapshot_id=snapshot.id)
    content = json.loads(documents.dump_plan(plan, snapshot))
    answer = scene.http.post("/v1/runs", headers=headers(), json={"plan": content})
    assert answer.status_code == 201, answer.text
    event = scene.store.events()[0].event
    assert isinstance(event, Submitted)
    assert event.plan == plan


def test_what_can_never_run_is_refused_at_once(scene: Scene) -> None:
    unbuyable = builders.plan_of(builders.placement(buyable=False), workload=JOB)
    with scene.client() as client:
        with pytest.raises(UserError, match="nothing to run"):
            client.submit(replace(JOB, program=None))
        with pytest.raises(UserError, match="can be bought"):
            client.apply(unbuyable)
    assert scene.store.events() == []


def test_a_run_shows_its_attempt_its_progress_and_its_cost(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        scene.acquire(run_id, 1)
        scene.progress(run_id, 1, 0.2)
        scene.clock.advance(100)
        scene.progress(run_id, 1, 0.4)
        view = client.run(run_id)
        assert client.runs() == (view,)
    assert view.state is RunState.RUNNING
    assert view.usd == pytest.approx(1.0)  # 100 s at $36/h
    assert view.usd_per_hour == 36.0
    assert view.progress is not None
    assert view.progress.done == 0.4
    assert view.remaining_s == pytest.approx(300.0)  # 0.2 took 100 s, 0.6 are left
    assert [(each.number, each.state) for each in view.attempts] == [(1, AttemptState.HELD)]


def test_a_resumed_attempt_is_not_timed_from_zero(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        scene.acquire(run_id, 1)
        scene.progress(run_id, 1, 0.1)
        scene.clock.advance(10)
        scene.progress(run_id, 1, 0.5)
        scene.lose(run_id, 1)
        scene.acquire(run_id, 2)
        scene.progress(run_id, 2, 0.5)
        assert client.run(run_id).remaining_s is None
        scene.clock.advance(10)
        scene.progress(run_id, 2, 0.6)
        assert client.run(run_id).remaining_s == pytest.approx(40.0)


def test_a_run_is_found_by_the_beginning_of_its_id(scene: Scene) -> None:
    with scene.client() as client:
        first, second = client.submit(JOB).run_id, client.submit(OTHER).run_id
        assert client.run("tun").id == second
        assert client.run(first).id == first
        client.submit(OTHER)
        with pytest.raises(UnknownRun, match="2 runs"):
            client.run("tun")
        with pytest.raises(UnknownRun, match="no run"):
            client.run("absent")


def test_events_come_back_equal_and_after_the_number_asked_for(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        scene.acquire(run_id, 1)
        everything = client.events(run_id)
        assert list(everything) == list(scene.store.events(run_id=run_id))
        assert client.events(run_id, since=everything[2].seq) == everything[3:]


def test_the_bill_adds_up_the_runs(scene: Scene) -> None:
    with scene.client() as client:
        first, second = client.submit(JOB).run_id, client.submit(OTHER).run_id
        scene.acquire(first, 1)
        scene.acquire(second, 1)
        scene.clock.advance(3600)
        scene.finish(first, 1)
        scene.clock.advance(1800)
        assert client.bill(first).total_usd == pytest.approx(36.0)
        assert client.bill(second).total_usd == pytest.approx(54.0)
        assert client.bill().total_usd == pytest.approx(90.0)


def test_cancelling_twice_asks_once(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        client.cancel(run_id)
        assert client.cancel(run_id).cancel_asked_at == scene.clock.now()
    asked = [item for item in scene.store.events() if isinstance(item.event, CancelAsked)]
    assert len(asked) == 1


def test_a_run_that_ended_is_not_cancelled(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        scene.acquire(run_id, 1)
        scene.finish(run_id, 1)
        assert client.cancel(run_id).state is RunState.SUCCEEDED
    assert not any(isinstance(item.event, CancelAsked) for item in scene.store.events())


def asked(scene: Scene, run_id: str) -> Approval:
    """The run asks for an approval and waits."""
    at = scene.clock.now()
    approval = Approval(by="cfo@acme", above_usd=100.0, expected_usd=400.0, usd=500.125)
    scene.write(
        Moved(run_id=run_id, at=at, to=RunState.ACQUIRING, cause="candidates"),
        ApprovalAsked(run_id=run_id, at=at, approval=approval),
        Moved(run_id=run_id, at=at, to=RunState.WAITING, cause="waiting for cfo@acme"),
    )
    return approval


def test_the_approver_agrees_to_what_is_asked_for_or_to_more(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        approval = asked(scene, run_id)
        assert client.run(run_id).asked == approval
        assert client.approve(run_id, "cfo@acme").approved_usd == 500.125
        assert client.approve(run_id, "cfo@acme", up_to_usd=500.12).approved_usd == 500.125, "as it is shown, in cents"
        assert client.approve(run_id, "cfo@acme", up_to_usd=900.0).approved_usd == 900.0
    stored = [item.event for item in scene.store.events() if isinstance(item.event, Approved)]
    assert [(event.by, event.usd) for event in stored] == [("cfo@acme", usd) for usd in (500.125, 500.125, 900.0)]


def test_nobody_else_approves_and_not_less_and_not_what_does_not_wait(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        with pytest.raises(UserError, match="waits for no approval: it is submitted"):
            client.approve(run_id, "cfo@acme")
        asked(scene, run_id)
        for name in ("me", "", "CFO@acme"):
            with pytest.raises(UserError, match="waits for the approval of cfo@acme, not of"):
                client.approve(run_id, name)
        for usd in (499.0, -1.0):
            with pytest.raises(UserError, match="at least"):
                client.approve(run_id, "cfo@acme", up_to_usd=usd)
        with pytest.raises(UnknownRun):
            client.approve("nobody", "cfo@acme")
    for body in ({}, {"by": 3}, {"by": "cfo@acme", "up_to_usd": "much"}, {"by": "cfo@acme", "up_to_usd": True}):
        answer = scene.http.post(f"/v1/runs/{run_id}/approve", headers=headers(), json=body)
        assert answer.status_code == 400, answer.text
    answer = scene.http.post(
        f"/v1/runs/{run_id}/approve", headers=headers(), content=b'{"by": "cfo@acme", "up_to_usd": 1e999}'
    )
    assert answer.status_code == 400
    assert not any(isinstance(item.event, Approved) for item in scene.store.events())


def test_logs_of_all_attempts_are_followed_to_the_end(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            """What happens while the client waits."""
            waits.append(seconds)
            if len(waits) == 1:
                scene.acquire(run_id, 1)
                scene.launcher.output[f"{run_id}-1"] = b"one\n"
            elif len(waits) == 2:
                scene.launcher.output[f"{run_id}-1"] += b"two\n"
            elif len(waits) == 3:
                scene.lose(run_id, 1)
                scene.acquire(run_id, 2)
                scene.launcher.output[f"{run_id}-2"] = b"three\n"
            else:
                scene.launcher.output[f"{run_id}-2"] += b"four\n"
                scene.finish(run_id, 2)

        text = b"".join(client.follow(run_id, sleep=sleep))
        label = builders.offer().label
        assert text == f"one\ntwo\n--- attempt 2 on 1x {label} ---\nthree\nfour\n".encode()
        assert b"".join(client.follow(run_id, attempt=1)) == b"one\ntwo\n"
        assert client.logs(run_id, cursor="2:6").data == b"four\n"
        with pytest.raises(UserError, match="2 attempt"):
            client.logs(run_id, attempt=7)


def test_a_long_log_comes_in_pieces_that_join_without_a_gap(scene: Scene) -> None:
    whole = bytes(range(256)) * 10_000  # 2.56 MB
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        scene.acquire(run_id, 1)
        scene.launcher.output[f"{run_id}-1"] = whole
        scene.finish(run_id, 1)
        pieces = list(client.follow(run_id))
    assert len(pieces) == 3
    assert b"".join(pieces) == whole


def test_going_down_is_refused_while_runs_are_open_unless_their_fate_is_said(scene: Scene) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
        with pytest.raises(RunsOpen, match="--cancel"):
            client.down()
        answer = client.down(cancel=True)
        assert not answer.stopping
        assert answer.open_runs == (run_id,)
        assert client.run(run_id).cancel_asked_at is not None
        assert not scene.went_down.is_set()
        assert client.down(keep=True).stopping
        assert scene.went_down.is_set()


def test_going_down_with_nothing_open_is_at_once(scene: Scene) -> None:
    with scene.client() as client:
        assert client.down().stopping
    assert scene.went_down.is_set()


def test_without_the_token_nothing_is_answered(scene: Scene) -> None:
    with scene.client(token="wrong") as client, pytest.raises(Refused, match="token"):
        client.runs()
    assert scene.http.get("/v1/runs").status_code == 401
    assert scene.http.get("/v1/nothing").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost.evil:1"])
def test_a_foreign_host_name_is_refused_even_with_the_token(scene: Scene, host: str) -> None:
    assert scene.http.get("/v1/runs", headers=headers(Host=host)).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]", "[::1]:80"])
def test_loopback_names_are_answered(scene: Scene, host: str) -> None:
    assert scene.http.get("/v1/runs", headers=headers(Host=host)).status_code == 200


def test_no_answer_allows_another_origin(scene: Scene) -> None:
    answer = scene.http.options("/v1/runs", headers=headers(Origin="http://evil.example"))
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_body_too_large_is_refused_with_and_without_a_length(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 1000)
    body = json.dumps({"key": "x" * 2000}).encode()
    counted = scene.http.post("/v1/runs", headers=headers(), content=body)
    chunked = scene.http.post("/v1/runs", headers=headers(), content=iter([body[:600], body[600:]]))
    assert (counted.status_code, chunked.status_code) == (413, 413)
    assert "larger than" in counted.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"workload": 3}',
        b'{"workload": {}}',
        b'{"workload": {}, "plan": {}}',
        b'{"workload": {"name": "x"}, "key": 3}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_broken_submission_is_the_users_error_and_stores_nothing(scene: Scene, body: bytes) -> None:
    answer = scene.http.post("/v1/runs", headers=headers(), content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in {"Refused", "UserError"}
    assert scene.store.events() == []


@pytest.mark.parametrize("query", ["since=x", "since=-1", "since=1:2:3", "since=9:x", "attempt=x", "since=٣"])
def test_a_broken_cursor_is_the_users_error(scene: Scene, query: str) -> None:
    with scene.client() as client:
        run_id = client.submit(JOB).run_id
    answer = scene.http.get(f"/v1/runs/{run_id}/logs?{query}", headers=headers())
    assert answer.status_code == 400, answer.text


def test_an_unknown_route_is_said_so(scene: Scene) -> None:
    answer = scene.http.get("/v2/runs", headers=headers())
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "no such route")


def test_a_store_that_fails_reaches_the_client_as_what_it_is(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(event: Submitted) -> tuple[str, bool]:
        raise ConfigError("the disk is full")

    monkeypatch.setattr(scene.store, "submit", full)
    with scene.client() as client, pytest.raises(ConfigError, match="disk is full"):
        client.submit(JOB)


def test_a_bug_is_said_to_be_one_and_the_server_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: Submitted) -> tuple[str, bool]:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(scene.store, "submit", broken)
    with scene.client() as client:
        with pytest.raises(IsoflopError, match="a bug in the control plane: ZeroDivisionError") as caught:
            client.submit(JOB)
        assert caught.value.exit_code == 1
        assert client.runs() == ()


def test_no_control_plane_is_said_with_the_remedy(scene: Scene) -> None:
    with scene.client() as client:
        client.runs()
        gone = type(client)("http://127.0.0.1:9", TOKEN, home=scene.client()._home)
        with gone, pytest.raises(ConfigError, match="isoflop up"):
            gone.runs()
