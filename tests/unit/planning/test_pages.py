"""The pages about reasons and policies say what the code does."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.domain.reason import ReasonCode
from policies.cost import policy as cost
from policies.latency import policy as latency

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_reason_has_one_line_and_no_line_is_about_nothing() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "reasons.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [code.value for code in ReasonCode]


@pytest.mark.parametrize("defaults", [cost.DEFAULTS, latency.DEFAULTS], ids=["cost", "latency"])
def test_every_setting_is_documented_with_its_default(defaults: Mapping[str, float]) -> None:
    page = (DOCS / "policies.md").read_text(encoding="utf-8")
    for name, value in defaults.items():
        assert f"| `{name}` | {value:g} |" in page


def test_every_term_of_the_cost_policy_is_documented() -> None:
    page = (DOCS / "policies.md").read_text(encoding="utf-8")
    for term in cost.CostPolicy.bills:
        assert f"`{term}`" in page
