"""The pages about reasons and policies say what the code does."""

import importlib
import re
from pathlib import Path

import pytest

from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.reason import ReasonCode

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "policies").glob("*.md"))


def test_every_reason_has_one_line_and_no_line_is_about_nothing() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "reasons.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [code.value for code in ReasonCode]


def test_the_index_has_every_policy_and_no_other() -> None:
    listed = re.findall(
        r"^\| \[([a-z]+)\]\(policies/\1\.md\) \|", (DOCS / "policies.md").read_text(encoding="utf-8"), re.M
    )
    assert listed == sorted(path.parent.name for path in (ROOT / "policies").glob("*/policy.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_page_of_a_policy_has_its_settings_with_their_defaults(page: Path) -> None:
    defaults = importlib.import_module(f"policies.{page.stem}.policy").DEFAULTS
    text = page.read_text(encoding="utf-8")
    listed = {row[0]: row[1] for row in re.findall(r"^\| `([a-z_]+)` \| ([-+.0-9a-z]+) \|", text, re.MULTILINE)}
    assert {name: value for name, value in listed.items() if name in defaults} == {
        name: f"{value:g}" for name, value in defaults.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_page_of_a_policy_has_the_terms_that_it_bills(page: Path) -> None:
    policy = importlib.import_module(f"policies.{page.stem}.policy").create(PolicyContext())
    text = page.read_text(encoding="utf-8")
    for term in getattr(policy, "bills", ()):
        assert f"`{term}`" in text
