"""`isoflop simulate serve` as a newcomer uses it: started, looked at through its settings, and ended with Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ISOFLOP = Path(sys.executable).with_name("isoflop")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ISOFLOP_")}
    return {**kept, "ISOFLOP_HOME": str(tmp_path / "home")}


@pytest.fixture
def served(tmp_path: Path, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    settings = tmp_path / "clouds.toml"
    command = [str(ISOFLOP), "simulate", "serve", "--cloud", "lambda", "--cloud", "coreweave", "--json"]
    process = subprocess.Popen(
        [*command, "--write", str(settings)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, settings
    finally:
        process.kill()
        process.communicate()


def until_there(process: subprocess.Popen[str], file: Path) -> None:
    deadline = time.monotonic() + 60.0
    while not (file.exists() and file.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_newcomer_sees_clouds_through_the_settings_and_ends_them_with_ctrl_c(
    served: tuple[subprocess.Popen[str], Path], env: dict[str, str]
) -> None:
    process, settings = served
    until_there(process, settings)
    looking = {**env, "ISOFLOP_CONFIG": str(settings)}
    command = [str(ISOFLOP), "offers", "--live", "--provider", "lambda", "--json", "--limit", "0"]
    seen = subprocess.run(command, env=looking, capture_output=True, text=True, timeout=60, check=True)
    offers = json.loads(seen.stdout)["offers"]
    assert offers
    assert {offer["provider"] for offer in offers} == {"lambda"}
    assert {offer["source"] for offer in offers} == {"Lambda API 1.8.3: instance-types"}
    control = settings.read_text().partition("levers: ")[2].split()[0]
    assert httpx.get(f"{control}/log", timeout=10).json()["calls"]["lambda"]
    assert httpx.post(f"{control}/capacity", json={"provider": "lambda", "nodes": 0}, timeout=10).json()["pools"] > 0
    assert httpx.post(f"{control}/fault", json={"provider": "lambda", "kind": "no-such"}, timeout=10).status_code == 400
    again = subprocess.run(command, env=looking, capture_output=True, text=True, timeout=60, check=True)
    assert {offer["available"] for offer in json.loads(again.stdout)["offers"]} == {0}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    document = json.loads(out)
    assert set(document["urls"]) == {"lambda", "coreweave", "control"}
    assert document["urls"]["control"] == control


def test_an_unknown_cloud_is_named(env: dict[str, str]) -> None:
    command = [str(ISOFLOP), "simulate", "serve", "--cloud", "nimbus"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nimbus" in done.stderr
