"""A package of somebody else's, installed beside isoflop, adds its policy to every plan."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tests" / "fixtures" / "acme-onboarding"
MAIN = "import sys; from orchestrator.interfaces.cli.main import main; sys.exit(main())"
JOB = "kind: FineTune\nname: tune\nmodel: llama-2-7b\ntokens: 10M\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package was installed into, without the network."""
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"installing a package takes {needed}")
    target = tmp_path_factory.mktemp("site")
    source = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / PACKAGE.name)  # a build leaves folders behind
    words = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(target), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "install", *words], check=True, capture_output=True, text=True)
    return target


def planned(home: Path, site: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    job = home / "job.yaml"
    job.write_text(JOB)
    environment = {**os.environ, "ISOFLOP_HOME": str(home), "PYTHONPATH": str(site or ""), "NO_COLOR": "1"}
    environment.pop("ISOFLOP_CONFIG", None)
    command = [sys.executable, "-c", MAIN, "plan", str(job), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)


def terms(ran: subprocess.CompletedProcess[str]) -> dict[str, float]:
    """The best placement's by policy and name."""
    return {f"{term['by']} {term['name']}": term["usd"] for term in json.loads(ran.stdout)["ranked"][0]["terms"]}


def test_it_is_a_policy_of_the_plan_and_its_term_a_part_of_the_price(installed: Path, tmp_path: Path) -> None:
    assert not any("onboarding" in name for name in terms(planned(tmp_path, None, "--json")))
    found = terms(planned(tmp_path, installed, "--json"))
    assert found["onboarding onboarding"] == 0.0  # so much is worth a contract that the best is with a known supplier


def test_its_settings_are_those_of_the_configuration_file(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[policies.onboarding]\nusd_per_supplier = 1\n")
    ran = planned(tmp_path, installed)
    assert ran.returncode == 2
    assert "did you mean 'usd_per_new_supplier'?" in ran.stderr
