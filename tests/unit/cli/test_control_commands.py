"""What commands do with runs: watching, submitting, reading the store while no control plane runs."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.errors import Infeasible, JobFailed
from orchestrator.domain.events import Planned, Recorded, Submitted
from orchestrator.domain.job import Progress
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.interfaces.api.messages import Accepted, AttemptView, LogPiece, RunView
from orchestrator.interfaces.cli import control
from orchestrator.interfaces.views.choose import Machine, Plain
from orchestrator.lifecycle.billing import Ledger
from orchestrator.runtime.store import open_store
from orchestrator.testing.builders import plan_of, program, training
from orchestrator.testing.clock import EPOCH
from tests.unit.cli.conftest import Cli


def seen(state: RunState, **overrides: object) -> RunView:
    default = RunView(
        id="train-1a2b",
        name="train",
        kind="Training",
        state=state,
        at=EPOCH,
        submitted_at=EPOCH,
        entered_at=EPOCH,
        detail="",
        attempts=(),
        usd=0.5,
        usd_per_hour=0.0,
    )
    return replace(default, **overrides)  # type: ignore[arg-type]


def attempted(**overrides: object) -> AttemptView:
    default = AttemptView(
        number=1,
        provider="acme",
        offer="acme us-east-1 h100.8x spot",
        nodes=1,
        usd_per_hour=32.0,
        state=AttemptState.GONE,
        intended_at=EPOCH,
        started_at=EPOCH,
    )
    return replace(default, **overrides)  # type: ignore[arg-type]


class Story:
    """A reader that tells a run look by look, and stays at the last."""

    def __init__(self, *looks: RunView, events: Sequence[Recorded] = ()) -> None:
        self._looks = list(looks)
        self._events = events
        self.slept_s = 0.0

    def runs(self) -> Sequence[RunView]:
        return (self.run("train-1a2b"),)

    def run(self, run_id: str) -> RunView:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def events(self, run_id: str, *, since: int = 0) -> Sequence[Recorded]:
        return self._events

    def logs(self, run_id: str, *, cursor: str = "", attempt: int | None = None) -> LogPiece:
        return LogPiece(data=b"", cursor="", ended=True)

    def bill(self, run_id: str | None = None) -> Ledger:
        return Ledger(())

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def watched(story: Story, view: type[Plain | Machine] = Plain) -> str:
    out = io.StringIO()
    control.watch_run(story, "train-1a2b", view(out), story.sleep)
    return out.getvalue()


def progress(done: float) -> RunView:
    at = EPOCH + timedelta(seconds=100 * done)
    return seen(RunState.RUNNING, at=at, progress=Progress(done=done, detail="step"), attempts=(attempted(),))


def test_a_watch_prints_a_line_for_every_change_worth_one_and_the_run_at_the_end() -> None:
    looks = [seen(RunState.PLANNING), *(progress(done / 100) for done in range(0, 100, 2)), seen(RunState.SUCCEEDED)]
    text = watched(Story(*looks))
    lines = [line for line in text.splitlines() if line.startswith("00:")]
    assert len(lines) == 1 + 10 + 1
    assert "planning" in lines[0]
    assert "40 %" in lines[5]
    assert text.rstrip().splitlines()[-1].strip().startswith("cost so far")


def test_a_watch_in_json_prints_a_document_a_line() -> None:
    lines = watched(Story(progress(0.1), seen(RunState.SUCCEEDED)), Machine).splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["running", "succeeded"]


@pytest.mark.parametrize(("state", "word"), [(RunState.FAILED, "failed"), (RunState.CANCELLED, "was cancelled")])
def test_a_watch_of_a_run_that_does_not_succeed_ends_as_failed(state: RunState, word: str) -> None:
    story = Story(seen(state, detail="exit code 1", attempts=(attempted(),)))
    with pytest.raises(JobFailed, match=f"train-1a2b {word}: exit code 1; its output: isoflop logs train-1a2b"):
        watched(story)


def test_a_run_for_which_nothing_could_be_bought_is_infeasible() -> None:
    nothing = plan_of(ranked=(), feasible=0, bound=None)
    events = [Recorded(1, Planned(run_id="train-1a2b", at=EPOCH, plan=nothing))]
    with pytest.raises(Infeasible):
        watched(Story(seen(RunState.FAILED, detail="infeasible"), events=events))


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_look_again(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(seen(RunState.RUNNING))

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        control.watch_run(story, "train-1a2b", Plain(io.StringIO()), interrupt)
    said = capsys.readouterr().err
    assert "the run goes on" in said
    assert "isoflop status train-1a2b --watch" in said


def test_a_watch_of_all_runs_ends_when_every_one_has_ended() -> None:
    out = io.StringIO()
    story = Story(seen(RunState.RUNNING), seen(RunState.RUNNING), seen(RunState.SUCCEEDED))
    control.watch_runs(story, Plain(out), story.sleep)
    assert story.slept_s == 2 * control.EVERY_S
    assert "1 run: 1 succeeded" in out.getvalue()


class Clerk(Story):
    """Runs of the control plane, for `handed_in`."""

    def __init__(self, *runs: RunView) -> None:
        super().__init__(*runs)
        self._all = runs

    def runs(self) -> Sequence[RunView]:
        return self._all


@pytest.mark.parametrize(
    ("created", "key", "others", "said"),
    [
        (True, "", 0, ("submitted as run train-1a2b",)),
        (True, "", 2, ("submitted as run train-1a2b", "this is another run beside 2 earlier runs of train", "--key")),
        (True, "nightly", 2, ("submitted as run train-1a2b",)),
        (False, "nightly", 0, ("already submitted as run train-1a2b", "nightly")),
    ],
)
def test_a_submission_says_whether_it_is_new_and_whether_it_is_another(
    created: bool, key: str, others: int, said: tuple[str, ...]
) -> None:
    earlier = [seen(RunState.SUCCEEDED, id=f"train-{number}") for number in range(others)]
    clerk = Clerk(*earlier, seen(RunState.SUBMITTED))
    report = control.handed_in(clerk, Accepted(run_id="train-1a2b", created=created), key=key)
    text = " ".join(str(cell) for cell in report.sentences)
    assert all(words in text for words in said)
    assert ("another run" in text) == (created and not key and others > 0)
    document = report.document()
    assert isinstance(document, dict)
    assert (document["run_id"], document["created"]) == ("train-1a2b", created)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state folder whose store knows one run, while no control plane runs."""
    monkeypatch.setenv("ISOFLOP_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    store = open_store(str(tmp_path / "home" / "store.db"))
    store.submit(Submitted(run_id="train-1a2b", at=EPOCH, workload=training(program=program())))
    store.close()
    return tmp_path / "home"


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("status",), "train-1a2b"),
        (("status", "train"), "submitted"),
        (("events", "train"), "train (Training)"),
        (("events",), "train (Training)"),
        (("bill",), "$0.00"),
        (("logs", "train"), ""),
    ],
)
def test_without_a_control_plane_the_store_is_read(asked: tuple[str, ...], said: str, cli: Cli) -> None:
    ran = cli(*asked)
    assert ran.code == 0
    assert said in ran.out
    assert "no control plane runs" in ran.err
    assert cli(*asked, "--json").code == 0


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("command", ["status", "events", "bill", "logs"])
def test_an_unknown_run_is_named(command: str, cli: Cli) -> None:
    ran = cli(command, "nobody")
    assert ran.code == 2
    assert "no run is called 'nobody'" in ran.err


def test_cancel_needs_a_control_plane(cli: Cli) -> None:
    ran = cli("cancel", "train-1a2b")
    assert ran.code == 2
    assert "isoflop up" in ran.err


def test_approve_needs_a_control_plane_and_an_amount_that_is_one(cli: Cli) -> None:
    ran = cli("approve", "train-1a2b", "--as", "cfo@acme")
    assert ran.code == 2
    assert "isoflop up" in ran.err
    assert "--up-to" in cli("approve", "train-1a2b", "--up-to", "much").err


def test_a_team_without_money_left_plans_nothing_and_says_why(cli: Cli, tmp_path: Path) -> None:
    home = Path(os.environ["ISOFLOP_HOME"])
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        "[budget]\napproval_above_usd = 1\napprover = 'cfo@acme'\n"
        "[[budgets]]\nteam = 'research'\ncap_usd = 2\nstarts_at = 2000-01-01\nends_at = 2999-01-01\n"
    )
    path = tmp_path / "job.yaml"
    path.write_text("kind: FineTune\nname: x\nteam: research\nmodel: {parameters: 7B}\ntokens: 200M\n")
    ran = cli("plan", str(path), "--offline", "--json")
    assert ran.code == 3
    codes = {refusal["code"] for refusal in json.loads(ran.out)["refusals"]}
    assert "pace" in codes
    path.write_text("kind: FineTune\nname: x\nmodel: {parameters: 7B}\ntokens: 200M\n")
    asked = json.loads(cli("plan", str(path), "--offline", "--json").out)["approval"]
    assert (asked["by"], asked["above_usd"]) == ("cfo@acme", 1.0)


def test_down_where_nothing_runs_is_no_error(cli: Cli) -> None:
    ran = cli("down", "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == {"stopped": False}
    assert cli("down", "--cancel", "--keep").code == 2


def test_submit_refuses_a_job_with_nothing_to_run_before_it_starts_anything(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("kind: Training\nname: x\nmodel: {parameters: 7B}\ntokens: 2B\n")
    ran = cli("submit", path)
    assert ran.code == 2
    assert "nothing to run" in ran.err


def test_apply_of_a_plan_whose_prices_moved_says_what_moved_and_exits_5(
    cli: Cli, job_file: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "plan.json"
    assert cli("plan", job_file, "--offline", "-o", saved).code == 0
    document = json.loads(saved.read_text())
    for placement in document["plan"]["ranked"][:1]:
        for part in placement["parts"]:
            part["offer"]["usd_per_hour"] /= 2
    saved.write_text(json.dumps(document))
    ran = cli("apply", saved)
    assert ran.code == 5
    assert "the price rose" in ran.err
    assert "isoflop plan" in ran.err


def test_apply_of_something_else_is_a_clear_error(cli: Cli, job_file: Path, tmp_path: Path) -> None:
    assert cli("apply", job_file).code == 2
    assert cli("apply", tmp_path / "none.json").code == 2


def test_doctor_reports_every_part_and_exits_2_where_one_is_broken(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    well = cli("doctor", "--json")
    subjects = {check["subject"]: check["ok"] for check in json.loads(well.out)["checks"]}
    assert {"python", "installation", "state folder", "store", "control plane", "extra run"} <= set(subjects)
    assert well.code == 0, well.out
    config = tmp_path / "config.toml"
    config.write_text("[providers.nowhere]\n")
    monkeypatch.setenv("ISOFLOP_CONFIG", str(config))
    ill = cli("doctor")
    assert ill.code == 2
    assert "BROKEN" in ill.out
    assert "provider nowhere" in ill.err
