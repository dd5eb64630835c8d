"""The policy that docs/add-a-policy.md shows works as it stands there."""

import importlib.util
import re
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.workload import Setting
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
    market = snapshot(offer(provider="aws"), offer(provider="zed"))
    made = plan(training(), market, (documented(tmp_path),))
    assert [placement.terms[0].usd for placement in made.ranked] == [0.0, 2500.0]
    assert made.ranked[0].terms[0].name == "onboarding"


def test_it_refuses_with_a_sentence(tmp_path: Path) -> None:
    job = training(settings=(Setting("onboarding", "max_nodes_without_contract", 0.0),))
    made = plan(job, snapshot(offer(provider="zed")), (documented(tmp_path),))
    assert made.refusals[0].examples[0].detail == (
        "would put 1 nodes with a supplier without a contract; at most 0 may be"
    )


def test_it_is_that_of_the_package_in_the_tree() -> None:
    package = PAGE.parents[1] / "tests" / "fixtures" / "acme-onboarding" / "acme_onboarding" / "policy.py"
    assert package.read_text(encoding="utf-8") in PAGE.read_text(encoding="utf-8")
