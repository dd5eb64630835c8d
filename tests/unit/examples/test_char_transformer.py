"""The example job: its gradients are right, it resumes to the same numbers, and its loss falls."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "char-transformer" / "train.py"
SMALL = ["--layers", "1", "--width", "16", "--heads", "2", "--context", "16", "--batch", "4", "--checkpoint-every", "5"]


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("char_transformer", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["char_transformer"] = module
    spec.loader.exec_module(module)
    return module


def run(folder: Path, steps: int) -> str:
    command = [sys.executable, str(SCRIPT), *SMALL, "--steps", str(steps), "--folder", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_every_gradient_agrees_with_finite_differences(train: ModuleType) -> None:
    rng = np.random.default_rng(0)
    shape = train.Shape(vocabulary=7, layers=2, width=8, heads=2, context=5)
    weights = {name: value.astype(np.float64) * 5 for name, value in train.initial_weights(shape, rng).items()}
    tokens, targets = rng.integers(0, 7, (2, 5)), rng.integers(0, 7, (2, 5))
    _, grads = train.loss_and_gradients(weights, shape, tokens, targets)
    assert grads.keys() == weights.keys()
    for name, value in weights.items():
        spot = tuple(int(rng.integers(0, size)) for size in value.shape)
        if name == "token":
            spot = (int(tokens[0, 0]), spot[1])
        kept, losses = value[spot], []
        for nudge in (1e-5, -1e-5):
            value[spot] = kept + nudge
            losses.append(train.loss_and_gradients(weights, shape, tokens, targets)[0])
        value[spot] = kept
        assert grads[name][spot] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-3, abs=1e-7), name


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    run(tmp_path / "whole", 20)
    run(tmp_path / "parts", 10)
    assert "resumed from the checkpoint of step 10" in run(tmp_path / "parts", 20)
    name = "step-000020.npz"
    with np.load(tmp_path / "whole" / name) as whole, np.load(tmp_path / "parts" / name) as parts:
        for key in whole.files:
            np.testing.assert_array_equal(whole[key], parts[key])


def test_the_loss_falls(tmp_path: Path) -> None:
    losses = [float(found) for found in re.findall(r"loss (\d+\.\d+)", run(tmp_path, 60))]
    assert losses[-1] < 0.9 * losses[0]


def test_a_request_to_stop_saves_the_step_and_exits_143(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *SMALL, "--steps", "100000", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as job:
        assert job.stdout is not None
        for line in job.stdout:
            if line.startswith("step"):
                break
        job.send_signal(signal.SIGTERM)
        rest = job.stdout.read()
    assert job.returncode == 143
    stopped = re.search(r"asked to stop: saved at step (\d+)", rest)
    assert stopped is not None
    assert (tmp_path / f"step-{int(stopped.group(1)):06d}.npz").exists()
