"""Every page as plain text over fixed values, and the same facts in its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.checkup import Check
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.approval import Approval, ApprovalRule
from orchestrator.domain.contracts import Policy, PolicyContext
from orchestrator.domain.errors import Scope
from orchestrator.domain.events import (
    ApprovalAsked,
    Approved,
    Event,
    JobEnded,
    LeaseGone,
    Moved,
    Postponed,
    Progressed,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
    ReclaimNoticed,
    Recorded,
    Submitted,
)
from orchestrator.domain.job import Progress
from orchestrator.domain.network import Place
from orchestrator.domain.offer import Billing
from orchestrator.domain.run import AttemptState, RunState
from orchestrator.domain.sizing import Band
from orchestrator.domain.snapshot import Gap, Snapshot
from orchestrator.domain.workload import Limits, Workload
from orchestrator.interfaces.api.messages import AttemptView, RunView
from orchestrator.interfaces.cli.plan_layout import as_run
from orchestrator.interfaces.views import machine, plain
from orchestrator.interfaces.views.bill_view import BillReport
from orchestrator.interfaces.views.doctor_view import DoctorReport
from orchestrator.interfaces.views.events_view import EventsReport
from orchestrator.interfaces.views.explain_view import ExplainReport
from orchestrator.interfaces.views.offers_view import OffersReport
from orchestrator.interfaces.views.page import Report
from orchestrator.interfaces.views.plan_view import PlanReport
from orchestrator.interfaces.views.runs_view import RunReport, RunsReport
from orchestrator.interfaces.views.size_view import Prices, Quote, SizeReport
from orchestrator.lifecycle.billing import Ledger, Line
from orchestrator.planning.explain import explain
from orchestrator.planning.plan import PlanOptions, plan
from orchestrator.sizing.size import size
from orchestrator.spec import documents
from orchestrator.testing.builders import (
    accelerator,
    inference,
    lease,
    model,
    network,
    offer,
    place,
    plan_of,
    program,
    snapshot,
    training,
)
from orchestrator.testing.clock import EPOCH
from policies.budget.policy import create as budget
from policies.cost.policy import create as cost
from policies.deadline.policy import create as deadline
from policies.latency.policy import create as latency
from policies.residency.policy import create as residency
from policies.spot.policy import create as spot

Golden = Callable[[str, str], None]
OLD_S = 90 * 86400.0
T4 = accelerator(
    name="T4",
    memory_gib=16.0,
    memory_bandwidth_gb_s=320.0,
    peak_tflops=((Precision.FP32, 8.1), (Precision.FP16, 65.0)),
    tdp_w=70.0,
    link="pcie3",
    link_gb_s=32.0,
    generation="turing",
    year=2018,
)


def policies() -> tuple[Policy, ...]:
    return tuple(create(PolicyContext()) for create in (budget, cost, deadline, latency, residency, spot))


def market() -> Snapshot:
    """Six offers: two places, two kinds of billing, one sold out, one old, one that nobody can size, one too small."""
    frankfurt = {"region": "eu-central-1", "provider": "acme"}
    offers = (
        offer(),
        offer(billing=Billing.SPOT, usd_per_hour=12.5, available=None, interruption_rate=0.05),
        offer(**frankfurt, usd_per_hour=36.0, observed_at=EPOCH - timedelta(days=200)),
        offer(provider="bestgpu", region="eu-1", usd_per_hour=30.0, available=0),
        offer(provider="bestgpu", region="eu-1", instance_type="tpu", accelerator="TPU-v99", usd_per_hour=9.0),
        offer(provider="bestgpu", region="eu-1", instance_type="t4.1x", accelerator="T4", gpus=1.0, usd_per_hour=0.5),
    )
    places = (*network().places, Place(**{**_fields(place()), "key": "bestgpu/eu-1", "country": "NL"}))
    return snapshot(
        *offers,
        accelerators=(accelerator(), T4),
        network=replace(network(), places=places),
        buyable=("acme",),
        gaps=(Gap("farcloud", "no answer within 5 s"),),
    )


def _fields(value: Place) -> dict[str, object]:
    return {"latitude": value.latitude, "longitude": value.longitude, "jurisdictions": ("NL", "EU")}


def planned(
    workload: Workload, *, command: str = "isoflop apply plan.json", approval: ApprovalRule | None = None
) -> PlanReport:
    made = plan(workload, market(), policies(), PlanOptions(max_price_age_s=OLD_S, approval=approval))
    return PlanReport(
        plan=made,
        exact=documents.plan_json(made),
        command=command,
        max_price_age_s=OLD_S,
        run=as_run(made, market()),
    )


ASKED = Approval(by="cfo@acme", above_usd=10_000.0, expected_usd=11_000.0, usd=12_500.0)


def big() -> Workload:
    limits = Limits(budget_usd=5000.0, deadline_s=10 * 86400.0)
    return training(name="llama", tokens=2e10, limits=limits, program=program())


def view(**overrides: object) -> RunView:
    default = RunView(
        id="llama-1a2b3c4d",
        name="llama",
        kind="Training",
        state=RunState.RUNNING,
        at=EPOCH + timedelta(minutes=40),
        submitted_at=EPOCH,
        entered_at=EPOCH + timedelta(minutes=25),
        detail="the job started",
        attempts=(
            AttemptView(
                number=1,
                provider="acme",
                offer=offer(billing=Billing.SPOT).label,
                nodes=2,
                usd_per_hour=25.0,
                state=AttemptState.GONE,
                intended_at=EPOCH,
                held_at=EPOCH + timedelta(minutes=1),
                started_at=EPOCH + timedelta(minutes=3),
                gone_at=EPOCH + timedelta(minutes=20),
                progress=Progress(done=0.31, detail="step 310/1000"),
                cause="the provider takes the machines back",
            ),
            AttemptView(
                number=2,
                provider="acme",
                offer=offer().label,
                nodes=2,
                usd_per_hour=64.0,
                state=AttemptState.HELD,
                intended_at=EPOCH + timedelta(minutes=20),
                held_at=EPOCH + timedelta(minutes=21),
                started_at=EPOCH + timedelta(minutes=25),
                progress=Progress(done=0.62, detail="step 620/1000 loss 2.31"),
            ),
        ),
        usd=28.1833,
        usd_per_hour=64.0,
        budget_usd=100.0,
        planned_usd=Band(20.0, 25.0, 40.0),
        planned_hours=Band(0.8, 1.0, 1.6),
        plans=1,
        progress=Progress(done=0.62, detail="step 620/1000 loss 2.31"),
        remaining_s=1260.0,
    )
    return replace(default, **overrides)  # type: ignore[arg-type]


def happened() -> tuple[Recorded, ...]:
    at = EPOCH
    run, token = "llama-1a2b3c4d", "token-1"
    told: list[Event] = [
        Submitted(run_id=run, at=at, workload=big(), key="nightly"),
        Moved(run_id=run, at=at, to=RunState.PLANNING, cause="taken up"),
        ApprovalAsked(run_id=run, at=at, approval=ASKED),
        Approved(run_id=run, at=at, by="cfo@acme", usd=12_500.0),
        PurchaseIntended(
            run_id=run, at=at, token=token, candidate=0, offer=offer(), nodes=2, usd_per_hour=64.0, fence=1
        ),
        PurchaseRefused(run_id=run, at=at, token=token, error="CapacityError", detail="acme: sold out"),
        PurchaseRefused(
            run_id=run, at=at, token=token, error="QuotaError", detail="acme: 0 of 8 GPUs", scope=Scope.PROVIDER
        ),
        Postponed(
            run_id=run,
            at=at,
            until=at + timedelta(minutes=15),
            cause="all that suits was refused a short while ago; next look at 2026-01-01 00:15:00 UTC: "
            "acme us-east-1 h100.8x on-demand: sold out 0 s ago, asked again after 15 min",
        ),
        Purchased(run_id=run, at=at, token=token, lease=lease(nodes=2, usd_per_hour=64.0)),
        *(Progressed(run_id=run, at=at, token=token, done=done / 20, detail=f"step {done}") for done in range(5)),
        ReclaimNoticed(run_id=run, at=at, token=token, reclaim_at=at + timedelta(minutes=2)),
        JobEnded(run_id=run, at=at, token=token, exit_code=-15, cause="ended by signal 15"),
        JobEnded(run_id=run, at=at, token=token, exit_code=None),
        LeaseGone(run_id=run, at=at, token=token, cause="reclaimed"),
    ]
    return tuple(Recorded(seq, event) for seq, event in enumerate(told, 1))


def bill() -> Ledger:
    def line(run_id: str, attempt: int, usd: float, *, held_open: bool = False) -> Line:
        return Line(
            run_id=run_id,
            attempt=attempt,
            offer=offer().label,
            nodes=1,
            since=EPOCH,
            until=EPOCH + timedelta(hours=1),
            held_s=42.0,
            billed_s=60.0,
            usd_per_hour=32.0,
            usd=usd,
            open=held_open,
        )

    return Ledger(
        (line("llama-1", 1, 0.333333), line("llama-1", 2, 0.333333), line("qwen-2", 1, 0.333334, held_open=True))
    )


def sized(workload: Workload | None) -> SizeReport:
    devices = (accelerator(), T4)
    low = Quote(usd_per_gpu_hour=1.5, offer="acme us-east-1 h100.8x spot", source="test", observed_at=EPOCH)
    high = Quote(usd_per_gpu_hour=4.0, offer="acme us-east-1 h100.8x on-demand", source="test", observed_at=EPOCH)
    return SizeReport(
        model=model(),
        workload=workload,
        precision=Precision.FP16,
        sizings=size(workload, devices) if workload is not None else {},
        accelerators=devices,
        prices={"H100-SXM": Prices(low=low, high=high)},
        inference_tokens=1024.0,
        now=EPOCH + timedelta(days=3),
    )


def reports() -> dict[str, Report]:
    made = plan(big(), market(), policies(), PlanOptions())
    queried = explain(made, market(), policies(), "bestgpu")
    return {
        "plan": planned(big()),
        "plan-infeasible": planned(replace(big(), limits=Limits(budget_usd=1.0, residency=("NL",)))),
        "plan-approval": planned(big(), approval=ApprovalRule("cfo@acme", 1000.0)),
        "plan-service": planned(inference(limits=Limits(budget_usd=50_000.0)), command="isoflop submit serve.yaml"),
        "plan-empty-market": PlanReport(
            plan=plan_of(ranked=(), feasible=0, considered=0, bound=None),
            exact={},
            command="isoflop apply plan.json",
            max_price_age_s=OLD_S,
        ),
        "explain": ExplainReport(explain(made, market(), policies())),
        "explain-offer": ExplainReport(queried),
        "size": sized(big()),
        "size-service": sized(inference(precision=Precision.FP16)),
        "size-model": sized(None),
        "offers": OffersReport(
            offers=tuple(market().book),
            matching=len(market().book),
            market=4653,
            now=EPOCH + timedelta(hours=5),
            max_price_age_s=OLD_S,
            gaps=market().gaps,
        ),
        "offers-none": OffersReport(
            offers=(), matching=0, market=4653, now=EPOCH, max_price_age_s=OLD_S, hints=("no GPU is called 'H1000'",)
        ),
        "run": RunReport(view()),
        "runs": RunsReport((view(), view(id="qwen-9", state=RunState.SUCCEEDED, usd_per_hour=0.0, usd=3.5))),
        "run-waiting": RunReport(
            view(
                state=RunState.WAITING,
                detail="waiting for cfo@acme's approval of $12,500.00 (expected $11,000.00, above $10,000.00)",
                attempts=(),
                progress=None,
                usd=0.0,
                usd_per_hour=0.0,
                remaining_s=None,
                asked=ASKED,
            )
        ),
        "runs-none": RunsReport(()),
        "events": EventsReport(happened()),
        "events-all": EventsReport(happened(), full=True),
        "bill": BillReport(bill()),
        "bill-none": BillReport(Ledger(())),
        "doctor": DoctorReport((Check("python", True, "CPython 3.11"), Check("store", False, "the disk is full"))),
    }


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_page_reads_as_it_did(name: str, golden: Golden) -> None:
    golden(name, plain.render(reports()[name].page()))


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_page_has_no_colour_no_box_and_no_blanks_at_the_end_of_lines(name: str) -> None:
    text = plain.render(reports()[name].page())
    assert "\x1b" not in text
    assert not set(text) & set("│─┌┐└┘├┤┬┴┼━┃")
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_report_is_json_without_odd_numbers(name: str) -> None:
    text = machine.document(reports()[name].document())
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_last_line_of_a_plan_is_the_command_that_applies_it() -> None:
    report = planned(big())
    assert plain.render(report.page()).splitlines()[-1].strip() == report.command


def test_the_terms_shown_add_up_to_the_sum_shown() -> None:
    lines = plain.render(planned(big()).page()).splitlines()
    start = next(row for row, text in enumerate(lines) if "priced by" in text)
    cents = []
    for text in lines[start + 1 :]:
        words = text.split()
        cents.append(round(float(words[-1].replace("$", "").replace(",", "")) * 100))
        if words[0] == "sum":
            break
    assert len(cents) > 2
    assert sum(cents[:-1]) == cents[-1]


def test_json_and_page_name_the_same_placements_and_refusals() -> None:
    report = planned(big())
    document = report.document()
    assert isinstance(document, dict)
    text = plain.render(report.page())
    for placement in document["ranked"]:
        assert placement["label"] in text
    for refusal in document["refusals"]:
        assert refusal["code"] in text
        assert f"{refusal['count']:,}" in text


def test_old_prices_are_marked() -> None:
    text = plain.render(reports()["offers"].page())
    assert text.count("OLD") == 2  # the row, and the line that explains the mark
    assert "1 price marked OLD" in text
