"""The policy that docs/add-a-policy.md shows works as it stands there."""

import importlib.util
import re
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.planning.plan import plan
from orchestrator.testing.builders import offer, snapshot, training
from orchestrator.testing.policy_contract import PolicyContract

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-policy.md"


def documented(folder: Path) -> Policy:
    """The policy of the page's first block of Python, made by its factory."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    path = folder / "documented_policy.py"
    path.write_text(found[1], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("documented_policy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    policy: Policy = module.create(PolicyContext())
    return policy


class TestDocumentedPolicy(PolicyContract):
    @pytest.fixture
    def policy(self, tmp_path: Path) -> Policy:
        return documented(tmp_path)


def test_it_takes_part_in_a_plan(tmp_path: Path) -> None:
    market = snapshot(offer(provider="aws", region="ap-south-1"), offer(provider="aws", region="eu-north-1"))
    made = plan(training(), market, (documented(tmp_path),))
    assert made.ranked[0].terms[0].name == "carbon"
    assert made.refusals[0].examples[0].detail == "has 630 gCO2/kWh; the ceiling is 600"
