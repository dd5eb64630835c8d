"""The rules of the house that no linter checks: file lengths, empty packages, entry points, purity, plain words."""

from __future__ import annotations

import ast
import keyword
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PURE = ("orchestrator/domain", "orchestrator/sizing", "orchestrator/planning", "orchestrator/lifecycle", "policies")
PACKAGES = ("orchestrator", "providers", "policies")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def entry_points(group: str) -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = project["entry-points"][f"isoflop.{group}"]
    return found


def test_the_search_for_sources_finds_the_project() -> None:
    assert len(sources(*PACKAGES)) > 50


@pytest.mark.parametrize("path", sources(*PACKAGES, "tests", "benchmarks", "examples"), ids=str)
def test_a_module_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", [path for path in sources(*PACKAGES) if path.name == "__init__.py"], ids=str)
def test_a_package_file_is_empty(path: Path) -> None:
    assert path.read_text() == ""


@pytest.mark.parametrize("path", [path for path in sources(*PACKAGES) if path.name != "__init__.py"], ids=str)
def test_a_module_says_its_purpose_and_hides_no_import_error(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module starts with one sentence of purpose"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            assert "ImportError" not in ast.unparse(node.type)


@pytest.mark.parametrize("path", sources(*PURE), ids=str)
def test_a_pure_module_never_asks_the_clock(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today"} or isinstance(node.ctx, ast.Store) or _is_field(node)


def _is_field(node: ast.Attribute) -> bool:
    """`observed.now` reads a field; `datetime.now` asks the clock."""
    return not (isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date", "time"})


@pytest.mark.parametrize(("group", "folder"), [("providers", "providers"), ("policies", "policies")])
def test_folders_entry_points_and_contract_tests_are_the_same_set(group: str, folder: str) -> None:
    folders = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    points = entry_points(group)
    assert folders == {home(name) for name in points}
    for name, target in points.items():
        assert target.startswith(f"{folder}.{home(name)}.")
    word = group.removesuffix("s").replace("policie", "policy")
    tested = {path.stem.removeprefix("test_").removesuffix(f"_{word}") for path in contract_tests(f"*_{word}")}
    assert tested == folders


def home(name: str) -> str:
    """The folder of an entry point: its name, unless Python keeps the word for itself (`lambda`)."""
    return f"{name}_cloud" if keyword.iskeyword(name) else name


def contract_tests(pattern: str) -> list[Path]:
    return sorted((ROOT / "tests" / "contract").glob(f"test_{pattern}.py"))


@pytest.mark.parametrize("path", contract_tests("*_provider") + contract_tests("*_policy"), ids=str)
def test_a_contract_test_subclasses_the_contract(path: Path) -> None:
    contract = "ProviderContract" if path.stem.endswith("provider") else "PolicyContract"
    bases = [
        ast.unparse(base)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    ]
    assert contract in bases


def test_every_launcher_has_a_contract_test() -> None:
    tested = {path.stem.removeprefix("test_").removesuffix("_launcher") for path in contract_tests("*_launcher")}
    assert tested == set(entry_points("launchers"))


def test_the_project_speaks_of_itself_alone() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    # Spelt in pieces so that this file does not find itself.
    words = re.compile("|".join(("/wor" + "k/", "this sess" + "ion", "issu" + r"e #?\d+", "pypi" + r"\.org")), re.I)
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".sh", ".yaml"} and path.is_file():
            assert not words.search(path.read_text()), name
