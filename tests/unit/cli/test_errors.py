"""Every way a command can end, and its exit code."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Annotated

import pytest
import typer

from orchestrator.domain import errors as domain
from orchestrator.domain.errors import IsoflopError, Problem, SpecError
from orchestrator.interfaces.cli import application, errors
from orchestrator.testing.builders import plan_of
from tests.unit.cli.conftest import Cli

PROBLEMS = (
    Problem(3, 5, "tokens", "'2X' is not a count", "such as 2T"),
    Problem(0, 0, "", "and 7 more problems"),
)
ENDS: list[tuple[BaseException, int]] = [
    (domain.UserError("mend it"), 2),
    (SpecError("job.yaml", PROBLEMS), 2),
    (domain.ConfigError("mend it"), 2),
    (domain.MissingCredentials("mend it"), 2),
    (domain.Infeasible(plan_of(ranked=(), feasible=0)), 3),
    (domain.CapacityError("acme", "sold out"), 4),
    (domain.TransientError("acme", "later"), 4),
    (domain.StalePlan("plan again"), 5),
    (domain.JobFailed("exit code 1"), 6),
    (KeyboardInterrupt(), 130),
    (BrokenPipeError(), 141),
    (ValueError("a bug"), 1),
]


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let `isoflop schema` end with an exception."""

    def use(error: BaseException) -> None:
        def run(*, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
            raise error

        stand_in = ModuleType("schema")
        stand_in.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"{application.PACKAGE}.schema", stand_in)

    return use


@pytest.mark.parametrize(("error", "code"), ENDS, ids=[type(error).__name__ for error, _ in ENDS])
def test_every_error_has_its_exit_code(
    error: BaseException, code: int, ends_with: Callable[[BaseException], None], cli: Cli
) -> None:
    ends_with(error)
    ran = cli("schema")
    assert ran.code == code
    assert ran.out == ""


@pytest.mark.parametrize(("error", "code"), ENDS[:9], ids=[type(error).__name__ for error, _ in ENDS[:9]])
def test_an_error_is_an_object_where_json_is_asked_for(
    error: BaseException, code: int, ends_with: Callable[[BaseException], None], cli: Cli
) -> None:
    ends_with(error)
    ran = cli("schema", "--json")
    told = json.loads(ran.err)["error"]
    assert (ran.code, told["exit_code"], told["kind"]) == (code, code, type(error).__name__)
    assert ran.out == ""


def test_an_interrupt_is_one_clean_line(ends_with: Callable[[BaseException], None], cli: Cli) -> None:
    ends_with(KeyboardInterrupt())
    assert cli("schema").err.strip() == "error: interrupted"


def test_a_reader_that_has_gone_is_no_complaint(ends_with: Callable[[BaseException], None], cli: Cli) -> None:
    ends_with(BrokenPipeError())
    assert cli("schema").err == ""


def test_a_bug_is_loud(ends_with: Callable[[BaseException], None], cli: Cli) -> None:
    ends_with(ValueError("something odd"))
    ran = cli("schema")
    assert "Traceback" in ran.err
    assert "something odd" in ran.err
    assert "please report" in ran.err.lower()


def test_every_problem_of_a_file_is_a_line_that_an_editor_can_follow() -> None:
    out = io.StringIO()
    assert errors.report(SpecError("job.yaml", PROBLEMS), as_json=False, stream=out) == 2
    assert out.getvalue() == (
        "error: job.yaml:3:5: tokens: '2X' is not a count (such as 2T)\nerror: job.yaml: and 7 more problems\n"
    )


def test_every_problem_of_a_file_is_in_the_json() -> None:
    out = io.StringIO()
    errors.report(SpecError("job.yaml", PROBLEMS), as_json=True, stream=out)
    told = json.loads(out.getvalue())["error"]
    assert told["file"] == "job.yaml"
    assert [(each["line"], each["column"], each["field"]) for each in told["problems"]] == [
        (3, 5, "tokens"),
        (0, 0, ""),
    ]


def test_the_exit_codes_are_those_of_the_design() -> None:
    codes = {error.exit_code for error in _all(IsoflopError)}
    assert codes <= {1, 2, 3, 4, 5, 6}


def _all(kind: type[IsoflopError]) -> list[type[IsoflopError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in _all(sub))]
