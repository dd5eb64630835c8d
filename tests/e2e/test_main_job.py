"""The main job by the command line alone: plan, apply, lose the machine, resume elsewhere, finish, add up the bill."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import Shell

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "char-transformer"

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SETTINGS = """
[providers.local]
usd_per_hour = 9.0

[providers.simulated]
seed = 7

# Late enough for a checkpoint, early enough for work to be left.
[[providers.simulated.faults]]
kind = "reclaim"
billing = "spot"
after_s = 14
notice_s = 4
times = 1

[control]
tick_s = 0.2
"""

SHAPE = [
    "--layers",
    "2",
    "--width",
    "32",
    "--heads",
    "2",
    "--context",
    "32",
    "--batch",
    "8",
    "--checkpoint-every",
    "50",
]

# The first attempt has work without end, so that the reclaim finds it at work however fast this machine is.
ENDLESS_AT_FIRST = """
import os, pathlib, runpy, sys
saved = sorted(pathlib.Path(os.environ["ISOFLOP_CHECKPOINT_DIR"]).glob("step-*.npz"))
last = int(saved[-1].stem[5:]) + 200 if saved else 900000
sys.argv = ["train.py", "--steps", str(last), *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


def job(name: str, *command: str) -> str:
    """A job file that trains the example's model, small."""
    return f"""
kind: Training
name: {name}
model: {{parameters: 30k, layers: 2, hidden: 32, heads: 2, vocabulary: 85}}
tokens: 400k
precision: fp32
sequence_length: 32
run:
  command: {json.dumps([sys.executable, *command, *SHAPE])}
  workdir: {EXAMPLE}
  checkpoint: {{interval: 2s, grace: 3s}}
limits: {{budget: $1, deadline: 1h, providers: [simulated]}}
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One state folder and one control plane for all tests here: starting one takes seconds."""
    home = tmp_path_factory.mktemp("shell")
    (home / "config.toml").write_text(SETTINGS)
    made = Shell(home)
    try:
        yield made
    finally:
        subprocess.run(
            [sys.executable, "-c", "from orchestrator.interfaces.cli.main import main; main(['down', '--cancel'])"],
            env={**os.environ, "ISOFLOP_HOME": str(home)},
            capture_output=True,
            timeout=120,
            check=False,
        )


def test_a_training_job_is_reclaimed_resumes_elsewhere_finishes_and_is_billed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(job("folklore", "-c", ENDLESS_AT_FIRST))
    saved = str(tmp_path / "plan.json")
    plan = shell.run("plan", str(tmp_path / "job.yaml"), "-o", saved)
    assert plan.rstrip().endswith(f"isoflop apply {saved}")

    watched = shell.run("apply", saved, "--watch")
    assert "recovering" in watched

    (run,) = shell.runs("folklore")
    first, second = run["attempts"]
    assert run["state"] == "succeeded"
    assert "takes the machines back" in first["cause"]
    assert first["offer"] != second["offer"]
    assert second["exit_code"] == 0

    logs = shell.run("logs", run["id"])
    resumed = re.search(r"resumed from the checkpoint of step (\d+)", logs)
    assert resumed is not None
    assert int(resumed.group(1)) >= 1
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", logs)]
    assert losses[-1] < 0.9 * losses[0]

    bill = shell.read("bill", run["id"])
    assert len(bill["lines"]) == 2
    assert not any(line["open"] for line in bill["lines"])
    assert bill["total_usd"] == pytest.approx(sum(line["usd"] for line in bill["lines"]), abs=0.005)
    assert bill["total_usd"] == pytest.approx(run["usd"], abs=0.005)
    for line in bill["lines"]:
        assert line["usd"] == pytest.approx(line["usd_per_hour"] * line["billed_s"] / 3600, abs=1e-6)


def test_the_same_key_is_one_run_and_no_key_is_two(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(job("twice", "train.py", "--steps", "20"))
    ids = [shell.read("submit", str(tmp_path / "job.yaml"), "--key", "nightly")["run_id"] for _ in range(2)]
    assert ids[0] == ids[1]
    shell.run("submit", str(tmp_path / "job.yaml"), "--watch")
    assert len(shell.runs("twice")) == 2


def test_a_job_that_fails_gives_exit_code_6_and_its_machines_back(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(job("wrong", "train.py", "--steps", "no-number"))
    shell.run("submit", str(tmp_path / "job.yaml"), "--watch", code=6)
    (run,) = shell.runs("wrong")
    assert run["state"] == "failed"
    assert [attempt["state"] for attempt in run["attempts"]] == ["gone"]


def test_down_leaves_no_control_plane_and_status_still_knows(shell: Shell) -> None:
    shell.run("down")
    assert not (shell.home / "control" / "connection.json").exists()
    assert [run["state"] for run in shell.runs("folklore")] == ["succeeded"]
