"""Bad input: a clear error, the exit code of the table, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.spec import documents
from orchestrator.testing.builders import offer, snapshot
from tests.unit.cli.conftest import JOB, Cli

ISOFLOP = [sys.executable, "-c", "import sys; from orchestrator.interfaces.cli.main import main; sys.exit(main())"]
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(8)
)
# what is in the file, and what the error has to name
FILES: Mapping[str, tuple[str, str]] = {
    "an empty file": ("", "job.yaml"),
    "a broken file": ("kind: [Training\n", "job.yaml:"),
    "an unknown kind": (JOB.replace("Training", "Trainig"), "did you mean Training"),
    "an unknown field": (JOB.replace("tokens:", "tokns:"), "tokens"),
    "a wrong unit": (JOB.replace("2B", "2GiB"), "tokens"),
    "a negative number": (JOB.replace("2B", "-2B"), "negative"),
    "NaN": (JOB.replace("2B", ".nan"), "tokens"),
    "ten megabytes": (JOB + "#" * 10_000_000, "1 MiB"),
    "a bomb": (BOMB, "job.yaml"),
    "a budget of nothing": (JOB + "limits: {budget: $0}\n", "budget"),
}


@pytest.fixture
def market(tmp_path: Path) -> Path:
    path = tmp_path / "market.json"
    path.write_text(documents.dump_snapshot(snapshot(offer())))
    return path


@pytest.mark.parametrize("what", FILES)
def test_a_bad_job_file_is_refused_with_its_place(what: str, cli: Cli, tmp_path: Path, market: Path) -> None:
    text, named = FILES[what]
    path = tmp_path / "job.yaml"
    path.write_text(text)
    saved = tmp_path / "plan.json"
    saved.write_text("an earlier plan")
    ran = cli("plan", path, "--snapshot", market, "-o", saved)
    assert ran.code == 2
    assert named in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert len(ran.err) < 4000
    assert saved.read_text() == "an earlier plan"


def test_all_faults_of_a_file_come_at_once(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB.replace("2B", "-2B").replace("7B", "7X") + "colour: red\n")
    said = cli("plan", path).err.splitlines()
    assert len(said) == 3
    assert all(line.startswith(f"error: {path}:") for line in said)


def test_a_deadline_in_the_past_is_infeasible_and_says_so(cli: Cli, tmp_path: Path, market: Path) -> None:
    """Planning has no clock: past is what is before the snapshot, and that is known only then."""
    path = tmp_path / "job.yaml"
    path.write_text(JOB + "limits: {deadline: 2020-01-01}\n")
    ran = cli("plan", path, "--snapshot", market)
    assert ran.code == 3
    assert "(in -" in ran.out
    assert "before the snapshot" in ran.out


def test_a_model_that_fits_nowhere_is_infeasible(cli: Cli, tmp_path: Path, market: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB.replace("7B", "900000T"))
    ran = cli("plan", path, "--snapshot", market)
    assert ran.code == 3
    assert "no-fit" in ran.out or "too-few-nodes" in ran.out


def test_a_workdir_that_is_a_loop_of_links_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / "job.yaml"
    path.write_text(JOB + "  workdir: loop\n")
    ran = cli("plan", path, "--offline")
    assert ran.code == 2
    assert "workdir" in ran.err


def test_a_job_file_that_is_a_folder_or_missing_is_named(cli: Cli, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        ran = cli("plan", path)
        assert ran.code == 2
        assert str(path) in ran.err


def test_a_state_folder_that_cannot_be_made_is_named(
    cli: Cli, job_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ISOFLOP_HOME", str(tmp_path / "file" / "home"))
    ran = cli("plan", job_file, "--offline")
    assert ran.code == 2
    assert str(tmp_path / "file" / "home") in ran.err


def test_a_broken_configuration_file_is_named(
    cli: Cli, job_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[market\n")
    monkeypatch.setenv("ISOFLOP_CONFIG", str(config))
    ran = cli("plan", job_file, "--offline")
    assert ran.code == 2
    assert str(config) in ran.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_plan_that_finds_no_room_is_a_clear_error(cli: Cli, job_file: Path, market: Path) -> None:
    ran = cli("plan", job_file, "--snapshot", market, "-o", "/dev/full")
    assert ran.code == 2
    assert "No space left" in ran.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_finds_no_room_is_a_clear_error() -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run([*ISOFLOP, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "error: the output cannot be written: No space left on device\n"


def test_a_reader_that_stops_reading_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run([*ISOFLOP, "schema"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_ctrl_c_ends_a_real_process_with_one_line(tmp_path: Path) -> None:
    """The job file is a pipe that nobody writes to: the command waits in the middle of its work."""
    pipe = tmp_path / "job.yaml"
    os.mkfifo(pipe)
    process = subprocess.Popen([*ISOFLOP, "plan", str(pipe)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pipe.open("w"):  # returns once the command has opened its end
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "error: interrupted")


@pytest.mark.parametrize(("text", "code"), [("", 2), (JOB, 0), (JOB + "limits: {budget: $1}\n", 3)])
def test_a_real_process_ends_with_the_code_of_the_table(text: str, code: int, tmp_path: Path, market: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    ran = subprocess.run(
        [*ISOFLOP, "plan", str(path), "--snapshot", str(market)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code
    assert ran.stderr.startswith("error: ") == bool(code)


def test_output_is_readable_where_the_terminal_knows_ascii_alone(job_file: Path, market: Path) -> None:
    ran = subprocess.run(
        [*ISOFLOP, "plan", str(job_file), "--snapshot", str(market)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert ran.returncode == 0
    assert "6?N?D = 6 ?" in ran.stdout
