"""The bill adds up."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.events import Event, LeaseGone, Moved, Purchased, PurchaseIntended, ReleaseIntended, Submitted
from orchestrator.domain.run import RunState
from orchestrator.lifecycle import billing
from orchestrator.testing.builders import lease, offer, program, training
from orchestrator.testing.clock import EPOCH

HELD_S = st.floats(0.0, 1e6)
RATE = st.floats(0.0, 5000.0)
MINIMUM_S = st.sampled_from((0.0, 60.0, 3600.0))
ATTEMPTS = st.lists(st.tuples(HELD_S, RATE, MINIMUM_S), min_size=1, max_size=60)


def history(run_id: str, attempts: list[tuple[float, float, float]]) -> list[Event]:
    """A run that held one lease after the other, for so long at such a price."""
    at = EPOCH
    told: list[Event] = [Submitted(run_id=run_id, at=at, workload=training(program=program()))]
    told += [Moved(run_id=run_id, at=at, to=RunState.PLANNING, cause="")]
    told += [Moved(run_id=run_id, at=at, to=RunState.ACQUIRING, cause="")]
    for number, (held_s, rate, minimum_s) in enumerate(attempts):
        token = f"{run_id}-{number}"
        sold = offer(usd_per_hour=rate, min_billing_s=minimum_s)
        bought = lease(id=token, token=token, offer=sold, usd_per_hour=rate, acquired_at=at)
        about = {"run_id": run_id, "token": token}
        told.append(PurchaseIntended(**about, at=at, candidate=0, offer=sold, nodes=1, usd_per_hour=rate, fence=1))
        told.append(Purchased(**about, at=at, lease=bought))
        at += timedelta(seconds=held_s)
        told.append(ReleaseIntended(**about, at=at, cause=""))
        told.append(LeaseGone(**about, at=at, cause=""))
    return told


@given(first=ATTEMPTS, second=ATTEMPTS)
def test_the_total_is_the_sum_of_the_lines_and_of_the_runs_exactly(
    first: list[tuple[float, float, float]], second: list[tuple[float, float, float]]
) -> None:
    ledger = billing.fold(history("a", first) + history("b", second), now=EPOCH)
    printed = sum(Decimal(f"{line.usd:.6f}") for line in ledger.lines)
    assert Decimal(f"{ledger.total_usd:.6f}") == printed
    by_run = sum(Decimal(f"{ledger.of(run_id).total_usd:.6f}") for run_id in ("a", "b"))
    assert by_run == printed


@given(attempts=ATTEMPTS)
def test_every_line_is_its_time_at_its_price_to_the_cent(attempts: list[tuple[float, float, float]]) -> None:
    ledger = billing.fold(history("a", attempts), now=EPOCH)
    assert len(ledger.lines) == len(attempts)
    for line, (held_s, rate, minimum_s) in zip(ledger.lines, attempts, strict=True):
        assert abs(line.usd - max(held_s, minimum_s) / 3600.0 * rate) < 0.005
        assert line.billed_s >= line.held_s


@given(attempts=ATTEMPTS, early_s=st.floats(0.0, 1e6), late_s=st.floats(0.0, 1e6))
def test_a_bill_never_falls_with_time(
    attempts: list[tuple[float, float, float]], early_s: float, late_s: float
) -> None:
    open_lease = history("a", attempts)[:-2]
    early = billing.fold(open_lease, now=EPOCH + timedelta(seconds=early_s)).total_usd
    late = billing.fold(open_lease, now=EPOCH + timedelta(seconds=early_s + late_s)).total_usd
    assert late >= early
