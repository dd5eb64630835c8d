"""Values of the domain: errors cross processes, secrets do not, distances and egress are right, moves make sense."""

from __future__ import annotations

import pickle

import pytest

from orchestrator.domain import errors
from orchestrator.domain.network import Link, Network, Place, great_circle_km
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Bound
from orchestrator.domain.run import TRANSITIONS, RunState
from orchestrator.domain.secret import Secret
from orchestrator.domain.sites import Atlas
from orchestrator.testing.builders import plan_of

BERLIN = Place(key="Berlin", latitude=52.52, longitude=13.405, country="DE", jurisdictions=("DE", "EU"))
TOKYO = Place(key="Tokyo", latitude=35.68, longitude=139.69, country="JP", jurisdictions=("JP",))


@pytest.mark.parametrize(
    "error",
    [
        errors.SpecError("job.yaml", (errors.Problem(3, 7, "limits.budget", "is negative", "more than $0"),)),
        errors.CapacityError("aws", "sold out"),
        errors.TransientError("aws", "slow down", retry_after_s=12.0),
        errors.LeaseNotFound("aws", "i-1"),
        errors.Infeasible(plan_of()),
        errors.Fenced("7 leads, not 6"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_crosses_a_process_border_whole(error: errors.IsoflopError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {key: str(value) for key, value in vars(copy).items()} == {
        key: str(value) for key, value in vars(error).items()
    }


def test_a_problem_reads_as_editors_like_it() -> None:
    problem = errors.Problem(3, 7, "limits.budget", "is negative", "expected more than $0")
    assert problem.render("job.yaml") == "job.yaml:3:7: limits.budget: is negative (expected more than $0)"
    assert errors.Problem(0, 0, "", "is empty").render("job.yaml") == "job.yaml: is empty"


def test_a_secret_neither_prints_nor_pickles() -> None:
    secret = Secret("tiger")
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_berlin_to_tokyo_is_8_900_km_and_takes_light_in_glass_that_long() -> None:
    assert great_circle_km(BERLIN, TOKYO) == pytest.approx(8920, rel=0.01)
    trip = Network(places=(BERLIN, TOKYO)).round_trip(BERLIN, TOKYO)
    assert trip.ms == pytest.approx(3 + 2 * 1.74 * 8920 / 200, rel=0.01)
    assert trip.told == "great-circle estimate, 8 of 10 are 122 to 244 ms"


def test_a_link_counts_only_for_what_was_measured_of_it() -> None:
    def link(rtt_ms: float, origin: str) -> Link:
        return Link(a="Tokyo", b="Berlin", rtt_ms=rtt_ms, gbit_s=1.0, origin=origin)

    for known in (Network(links=(link(0.0, "wide"), link(230.0, "first"), link(250.0, "second"))), Network()):
        expected = "first" if known.links else "great-circle estimate"
        trips = (known.round_trip(BERLIN, TOKYO), Atlas(known).round_trip(BERLIN, TOKYO))
        assert trips[0] == trips[1]
        assert trips[0].origin == expected
        assert (trips[0].told == expected) == bool(known.links), "what is measured has no error band"


def test_a_place_is_found_by_any_case_and_by_coordinates_and_never_guessed() -> None:
    network = Network(places=(BERLIN,))
    assert network.place("berlin") == BERLIN
    found = network.place("48.1, 11.6")
    assert found is not None
    assert (found.latitude, found.longitude) == (48.1, 11.6)
    assert network.place("91,0") is None
    assert network.place("Bärlin") is None


def test_every_state_is_reachable_and_leads_to_an_end() -> None:
    reached, frontier = {RunState.SUBMITTED}, [RunState.SUBMITTED]
    while frontier:
        for state in TRANSITIONS[frontier.pop()] - reached:
            reached.add(state)
            frontier.append(state)
    assert reached == set(RunState)
    ends = {state for state in RunState if state.final}
    assert ends == {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}
    safe = set(ends)
    while grown := {state for state in set(RunState) - safe if TRANSITIONS[state] & safe}:
        safe |= grown
    assert safe == set(RunState)


def test_the_gap_to_a_bound_is_relative() -> None:
    bound = Bound(lower_usd=100, method="x")
    assert bound.gap(103) == pytest.approx(0.03)
    assert Bound(lower_usd=0, method="x").gap(0) == 0
    assert Bound(lower_usd=0, method="x").gap(1) == float("inf")


def test_a_book_refuses_columns_of_unequal_length() -> None:
    columns = OfferBook.empty().columns()
    with pytest.raises(ValueError, match="one length"):
        OfferBook.from_columns({**columns, "gpus": [1.0]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="has the columns"):
        OfferBook.from_columns({name: column for name, column in columns.items() if name != "gpus"})


@pytest.mark.parametrize("kind", [errors.CapacityError, errors.QuotaError])
@pytest.mark.parametrize("scope", [None, *errors.Scope])
def test_a_refusal_keeps_its_scope_between_processes(kind: type[errors.Blocking], scope: errors.Scope | None) -> None:
    error = pickle.loads(pickle.dumps(kind("aws", "no", scope)))
    assert type(error) is kind
    assert (error.provider, error.detail, str(error)) == ("aws", "no", "aws: no")
    assert error.scope is (scope or kind.default)
