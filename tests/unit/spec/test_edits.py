"""One field of a workload changed as a job file would say it."""

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import Inference, Limits, Population, Setting, Training
from orchestrator.spec.edits import FIELDS, edited
from orchestrator.testing.builders import batch_inference, fine_tune, inference, training

JOB = training(limits=Limits(budget_usd=5.0, deadline_s=3600.0, regions=("us-*",)))


def test_a_field_is_read_as_the_job_file_reads_it_and_nothing_else_changes() -> None:
    changed = edited(JOB, "limits.budget", "300k")
    assert changed.limits == Limits(budget_usd=300_000.0, deadline_s=3600.0, regions=("us-*",))
    assert edited(JOB, "limits.regions", "[eu-*, us-*]").limits.regions == ("eu-*", "us-*")
    assert edited(JOB, "limits.billing", "[spot]").limits.billing == (Billing.SPOT,)
    assert edited(JOB, "data.size", "2 TiB").data.size_gib == 2048.0
    tokens = edited(JOB, "tokens", "3T")
    assert isinstance(tokens, Training)
    assert tokens.tokens == 3e12
    assert tokens.model == JOB.model


def test_a_deadline_is_a_time_or_a_moment_and_not_both() -> None:
    moment = edited(JOB, "limits.deadline", "2027-01-31T18:00Z").limits
    assert (moment.deadline_s, moment.finish_by) == (None, datetime(2027, 1, 31, 18, tzinfo=UTC))
    assert edited(JOB, "limits.deadline", "3d").limits.deadline_s == 3 * 86400.0


@pytest.mark.parametrize("path", ["limits.budget", "limits.deadline", "limits.regions"])
def test_none_lifts_a_limit(path: str) -> None:
    field = FIELDS[path][0].split(".")[1]
    assert getattr(edited(JOB, path, "none").limits, field) == getattr(Limits(), field)


def test_a_setting_of_a_policy_is_added_changed_and_taken_away() -> None:
    one = edited(JOB, "policies.deadline.usd_per_hour", "100")
    assert one.settings == (Setting("deadline", "usd_per_hour", 100),)
    two = edited(one, "policies.deadline.usd_per_hour", "7")
    assert two.settings == (Setting("deadline", "usd_per_hour", 7),)
    assert edited(two, "policies.deadline.usd_per_hour", "none").settings == ()


def test_a_services_users_and_times_can_be_changed() -> None:
    changed = edited(inference(), "users", "[{place: Tokyo, rate: 5/s}]")
    assert isinstance(changed, Inference)
    assert changed.users == (Population("Tokyo", 5.0),)
    assert edited(inference(), "limits.latency.first_token", "300ms").limits.latency.first_token_s == 0.3
    quantised = edited(batch_inference(), "quantise", "[fp8]")
    assert quantised.quantise == (Precision.FP8,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("limits.bugdet", "3", r"'limits.bugdet' is no field of a Training job .* did you mean 'limits.budget'"),
        ("users", "[]", "no field of a Training job"),
        ("limits.budget", "much", "limits.budget = much: "),
        ("limits.budget", "-3", "limits.budget = -3: "),
        ("limits.deadline", "3 parsec", "did you mean sec"),
        ("limits.regions", "[eu", "broken YAML"),
        ("policies.deadline", "3", "write policies.POLICY.SETTING"),
        ("policies.deadline.usd_per_hour", "[1]", "expected a number or a word"),
        ("name", "other", "no field"),
    ],
)
def test_what_a_job_file_could_not_say_is_refused(path: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        edited(JOB, path, text)


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_one_of_some_kind_of_job(path: str) -> None:
    found = 0
    for job in (training(), fine_tune(), inference(), batch_inference()):
        value: object = job
        for step in FIELDS[path][0].split("."):
            value = getattr(value, step) if is_dataclass(value) and step in {f.name for f in fields(value)} else found
        found += value is not found
    assert found
