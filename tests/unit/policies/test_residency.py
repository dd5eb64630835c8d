"""The residency policy: which rules apply, what they let through, and what is not guessed."""

from __future__ import annotations

import pytest

from orchestrator.domain.candidates import PlanView
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.network import Network
from orchestrator.domain.workload import DataSet, Limits, Setting, Workload
from orchestrator.testing.builders import network, offer, place, snapshot, training
from orchestrator.testing.policy_contract import candidates_of
from policies.residency.policy import create

OSLO = place(key="acme/north-1", latitude=59.9, longitude=10.8, country="NO", jurisdictions=("NO", "EEA"))
PARIS = place(key="acme/west-1", latitude=48.9, longitude=2.4, country="FR", jurisdictions=("FR", "EU", "EEA"))
BERLIN = place(key="Berlin", latitude=52.5, longitude=13.4, country="DE", jurisdictions=("DE", "EU", "EEA"))
MAP = Network(places=(*network().places, OSLO, PARIS, BERLIN))
REGIONS = ("us-east-1", "north-1", "west-1", "atlantis-1")


def refused(workload: Workload, **settings: object) -> dict[str, str]:
    """Regions that are refused, with the first sentence."""
    view = PlanView(workload=workload, snapshot=snapshot(*(offer(region=r) for r in REGIONS), network=MAP))
    candidates, found = candidates_of(view), {}
    for refusals in create(PolicyContext(settings=settings)).refuse(view, candidates):
        for row in range(len(candidates)):
            if refusals.refused[row]:
                detail = refusals.reason("residency", row).detail
                found.setdefault(candidates.book.region[row], detail)
    return found


def test_without_a_rule_everywhere_is_allowed() -> None:
    assert refused(training()) == {}


def test_outside_is_refused_with_the_place_and_unknown_is_not_guessed() -> None:
    told = refused(training(limits=Limits(residency=("eu",))))
    assert set(told) == {"us-east-1", "north-1", "atlantis-1"}
    assert told["us-east-1"] == "us-east-1 is in US; the data must stay in eu"
    assert told["atlantis-1"] == "the jurisdiction of acme/atlantis-1 is unknown; the data must stay in eu"


def test_a_country_is_named_by_its_code() -> None:
    assert set(refused(training(limits=Limits(residency=("NO", "US"))))) == {"west-1", "atlantis-1"}


def test_data_that_stays_may_go_where_one_union_holds_both_places() -> None:
    told = refused(training(data=DataSet(location="Berlin", size_gib=1.0, stays=True)))
    assert set(told) == {"us-east-1", "atlantis-1"}
    assert told["us-east-1"].endswith("(the data stays where it lies, Berlin)")
    in_eu = refused(training(data=DataSet(location="acme/eu-central-1", stays=True)))
    assert set(in_eu) == {"us-east-1", "north-1", "atlantis-1"}, "that place is in no EEA that we know of"


def test_data_may_be_elsewhere_unless_it_stays() -> None:
    assert refused(training(data=DataSet(location="Berlin", size_gib=1.0))) == {}


@pytest.mark.parametrize(
    ("location", "said"), [("", "set data.location"), ("52.5,13.4", "nobody knows"), ("Berln", "did you mean 'Berlin'")]
)
def test_data_that_stays_lies_somewhere_known(location: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        refused(training(data=DataSet(location=location, stays=True)))


def test_the_settings_rules_hold_beside_the_jobs_and_a_teams_beside_both() -> None:
    everybody = {"everybody": ["EEA"]}
    assert set(refused(training(), **everybody)) == {"us-east-1", "atlantis-1"}
    # The job cannot widen what the settings allow.
    assert set(refused(training(limits=Limits(residency=("US", "NO"))), **everybody)) == {
        "us-east-1",
        "west-1",
        "atlantis-1",
    }
    teams = {**everybody, "teams": {"health": "FR"}}
    assert set(refused(training(team="health"), **teams)) == {"us-east-1", "north-1", "atlantis-1"}
    assert refused(training(team="health"), **teams)["north-1"].endswith("(the settings for team health)")
    assert set(refused(training(team="ads"), **teams)) == {"us-east-1", "atlantis-1"}


@pytest.mark.parametrize(
    "settings", [{"everbody": []}, {"teams": ["EU"]}, {"everybody": "Germany"}, {"teams": {"a": 3}}]
)
def test_a_rule_that_cannot_be_read_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        create(PolicyContext(settings=settings))


def test_a_job_sets_no_setting_of_the_policy() -> None:
    with pytest.raises(UserError, match=r"limits\.residency"):
        refused(training(settings=(Setting("residency", "everybody", "US"),)))
