"""`isoflop validate` and `isoflop calibrate`: predictions beside a history, and what is learned from it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.app import App
from orchestrator.catalog import calibrations
from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.workload import Model
from orchestrator.interfaces.cli import calibrate as command
from orchestrator.measure.session import Measured
from orchestrator.sizing.calibration import Kind, factor_on_time
from orchestrator.sizing.observed import InferenceRun
from orchestrator.sizing.parameters import bundled
from tests.unit.cli.conftest import Cli

HEADER = "id,kind,params_b,gpu,n_gpus,precision,tok_s_gpu\n"
H100 = next(device for device in load() if device.name == "H100-SXM")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Seven benchmarks, of which five can be judged."""
    path = tmp_path / "runs.csv"
    rows = "".join(f"b{row},bench,7,{gpu},8,bf16,{3000 + 10 * row}\n" for row, gpu in enumerate(["H100-SXM"] * 5))
    path.write_text(f"{HEADER}{rows}bad,bench,7,XPU,8,bf16,9000\nworse,bench,7,H100-SXM,8,bf16,fast\n")
    return path


def settle(text: str) -> App:
    """The application under this configuration file."""
    Path(os.environ["ISOFLOP_HOME"], "config.toml").write_text(text)
    return App(config.load(os.environ))


def test_a_history_is_judged_and_every_row_accounted_for(cli: Cli, runs: Path) -> None:
    ran = cli("validate", runs, "--rows")
    assert ran.code == 0
    assert "7: 5 used, 2 skipped" in ran.out
    assert "'XPU' is no device that we hold facts about" in ran.out
    assert "'fast' is not a number" in ran.out
    assert "as released, no calibration" in ran.out
    assert "furthest off" in ran.out


def test_the_document_has_every_row_and_reason(cli: Cli, runs: Path) -> None:
    said = json.loads(cli("validate", runs, "--rows", "--json").out)
    [file] = said["files"]
    assert file["rows"] == file["used"] + len(file["skipped"]) == 7
    assert [(row["line"], row["column"]) for row in file["skipped"]] == [(7, "gpu"), (8, "tok_s_gpu")]
    assert {row["id"] for row in said["rows"]} == {f"b{row}" for row in range(5)}
    assert said["scores"][0]["n"] == 5
    assert "rows" not in json.loads(cli("validate", runs, "--json").out)


def test_a_row_without_a_prediction_is_skipped_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "serving.csv"
    rows = (
        "fits,7,L4,conc,8,512,128,bf16,50",
        "large,405,L4,conc,,512,128,bf16,50",
        "large,405,L4,inflight_max,,512,128,bf16,50",
    )
    path.write_text("id,params_b,gpu,mode,batch_or_conc,isl,osl,weight_prec,out_tok_s\n" + "\n".join(rows) + "\n")
    [file] = json.loads(cli("validate", path, "--json").out)["files"]
    assert (file["rows"], file["used"]) == (3, 1)
    assert [row["line"] for row in file["skipped"]] == [3, 4]
    assert all(row["reason"] for row in file["skipped"])


def test_nothing_to_judge_is_bad_input_and_still_says_why(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"{HEADER}a,bench,7,XPU,8,bf16,9000\n")
    ran = cli("validate", path)
    assert ran.code == 2
    assert "'XPU'" in ran.out
    assert "no row can be judged" in ran.err


@pytest.mark.parametrize(
    "words", [("validate", "none.csv"), ("calibrate", "none.csv"), ("validate", "."), ("calibrate",)]
)
def test_what_cannot_be_read_is_bad_input(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words)
    assert ran.code == 2
    assert ran.err.startswith("error: ")


def test_what_is_learned_is_used_and_named(cli: Cli, runs: Path) -> None:
    before = App(config.load(os.environ)).parameters()
    assert before is bundled()
    ran = cli("calibrate", runs)
    assert ran.code == 0
    assert "kept as default" in ran.out
    parameters = App(config.load(os.environ)).parameters()
    assert factor_on_time(parameters, Kind.TRAINING, H100) != 1.0
    assert "calibration 'default' of " in cli("validate", runs).out
    assert "as released" in cli("validate", runs, "--calibration", "none").out


def test_learning_lowers_the_bias_of_what_was_learned(cli: Cli, runs: Path) -> None:
    def bias(*words: str) -> float:
        [first, *_] = json.loads(cli("validate", runs, "--json", *words).out)["scores"]
        return abs(float(first["bias"]))

    cli("calibrate", runs)
    assert bias() < bias("--calibration", "none")


def test_a_dry_run_keeps_nothing(cli: Cli, runs: Path) -> None:
    ran = cli("calibrate", runs, "--dry-run", "--json")
    assert json.loads(ran.out)["kept"] is False
    assert "no calibration is kept" in cli("calibrate", "--show").out


def test_calibrations_are_kept_by_name_shown_and_forgotten(cli: Cli, runs: Path) -> None:
    said = cli("calibrate", runs, "--name", "lab")
    assert '[sizing] calibration = "lab"' in said.out
    assert App(config.load(os.environ)).parameters() is bundled()
    assert settle('[sizing]\ncalibration = "lab"\n').parameters() is not bundled()
    assert "lab, of " in cli("calibrate", "--show").out
    assert [each["name"] for each in json.loads(cli("calibrate", "--show", "--json").out)["calibrations"]] == ["lab"]
    assert cli("calibrate", "--remove", "--name", "lab").code == 0
    assert cli("calibrate", "--remove", "--name", "lab").code == 2
    assert cli("validate", runs).code == 2  # the settings name what is gone
    assert settle('[sizing]\ncalibration = "none"\n').parameters() is bundled()


def test_a_calibration_is_made_with_the_released_numbers_whatever_is_in_use(cli: Cli, runs: Path) -> None:
    def learned() -> object:
        return json.loads(cli("calibrate", runs, "--json").out)["calibration"]["factors"]

    assert learned() == learned()


@pytest.mark.parametrize("name", ["none", "../x", ".x", "", "a/b", "x" * 200])
def test_a_name_that_is_none_is_refused(cli: Cli, runs: Path, name: str) -> None:
    assert cli("calibrate", runs, "--name", name).code == 2


def test_a_setting_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sizing\.calibration is a text"):
        settle("[sizing]\ncalibration = 3\n")
    with pytest.raises(ConfigError, match="did you mean 'calibration'"):
        settle("[sizing]\ncalibratin = 'x'\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"isoflop calibration 1"', '"isoflop calibration 9"'),
        ('"factors": [', '"factors": [3, '),
        ('"kind": "training"', '"kind": "weather"'),
        ('"factor": ', '"factor": -'),
        ('"rows": ', '"rows": NaN, "r": '),
        ("{", "{{"),
    ],
)
def test_a_damaged_calibration_is_an_error_with_the_remedy(cli: Cli, runs: Path, old: str, new: str) -> None:
    cli("calibrate", runs)
    path = Path(os.environ["ISOFLOP_HOME"], "calibrations", "default.json")
    path.write_text(path.read_text().replace(old, new))
    ran = cli("validate", runs)
    assert ran.code == 2
    assert str(path) in ran.err
    assert "Calibrate again" in ran.err


def test_a_calibration_comes_back_from_disk_as_it_was(cli: Cli, runs: Path) -> None:
    made = json.loads(cli("calibrate", runs, "--json").out)["calibration"]
    folder = Path(os.environ["ISOFLOP_HOME"], "calibrations")
    back = calibrations.load(folder, "default")
    assert back is not None
    assert back.origin == f"calibration 'default' of {made['made_on']}"
    assert [each.factor for each in back.factors] == [each["factor"] for each in made["factors"]]
    assert calibrations.load(folder, "other") is None


def test_what_is_measured_is_learned_from_and_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def point(number: int) -> InferenceRun:
        model = Model(name="small", parameters=1e8, active_parameters=1e8, layers=12, hidden=768, heads=12)
        return InferenceRun(
            id=f"m{number}",
            family="measured",
            group=f"m{number}",
            engine="pytorch",
            mode="single",
            model=model,
            accelerator=H100.name,
            generation=H100.generation,
            devices=1,
            weights=Precision.BF16,
            kv=Precision.BF16,
            concurrency=1.0,
            prompt_tokens=128,
            output_tokens=128,
            tpot_s=0.01,
        )

    def measure(devices: object, *, budget_s: float, clock: object, progress: object) -> Measured:
        assert budget_s == 120.0
        return Measured(device=H100, runs=tuple(map(point, range(4))), notes=("the clock was steady",), source="here")

    monkeypatch.setattr(command, "measure_here", measure)
    ran = cli("calibrate", "--measure", "--budget", "2min", "-o", tmp_path / "rows")
    assert ran.code == 0
    assert "the clock was steady" in ran.out
    assert "calibrated from here" in ran.out
    assert cli("validate", tmp_path / "rows" / "inference_runs.csv").code == 0
