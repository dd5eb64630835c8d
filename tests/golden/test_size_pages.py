"""Pages of `isoflop size` over sizings made by hand: what is shown, whatever the sizing model says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Cluster, Parallelism, Recompute, Sharding
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import (
    Assumption,
    Band,
    Checkpoints,
    FiniteWork,
    MemoryTerm,
    Quantisation,
    Service,
    Sizing,
    Step,
)
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.views import machine, plain
from orchestrator.interfaces.views.breakeven_view import BreakEvenReport, Given, Hosted, Owned
from orchestrator.interfaces.views.compare_view import CompareReport
from orchestrator.interfaces.views.multisite_view import OnSites
from orchestrator.interfaces.views.page import Report
from orchestrator.interfaces.views.size_figures import Location, Prices, Quote
from orchestrator.interfaces.views.size_view import SizeReport
from orchestrator.sizing.breakeven import Hosting, Pair, Site
from orchestrator.sizing.multisite import INT8, Link, equal_sites, verdict
from orchestrator.testing.builders import accelerator, batch_inference, inference, training
from orchestrator.testing.clock import EPOCH

Golden = Callable[[str, str], None]

H100 = accelerator()
A100 = accelerator(name="A100-80GB", generation="ampere", tdp_w=400.0)
T4 = accelerator(name="T4", memory_gib=16.0, generation="turing", tdp_w=70.0)
DEVICES = (H100, A100, T4)
USABLE = Assumption("usable_memory", 0.95, "planning constant: 5 % of each device is lost to fragments")


def band(middle: float) -> Band:
    return Band(middle * 0.75, middle, middle * 1.4)


def trained(device: Accelerator, gpu_hours: float) -> Sizing:
    layout = Parallelism(
        tensor=8,
        pipeline=4,
        data=16,
        micro_batch=2,
        micro_batches=32,
        sharding=Sharding.ZERO_1,
        recompute=Recompute.NONE,
    )
    step = Step(
        parallelism=layout,
        seconds=11.2,
        mfu=0.41,
        parts=(("compute", 9.1), ("tensor-parallel", 1.2), ("bubble", 0.9)),
    )
    saved = Checkpoints(gib=920.0, interval_s=1800.0, write_s=12.0, gb_per_s=82.3, mtbf_h=98.0, goodput=0.97)
    return Sizing(
        accelerator=device.name,
        precision=Precision.BF16,
        min_gpus=32,
        flops=8.5e23,
        memory=(
            MemoryTerm("weights", 131.0),
            MemoryTerm("gradients", 262.0),
            MemoryTerm("optimizer", 788.0),
            MemoryTerm("activations", 610.0),
            MemoryTerm("overhead", 89.0),
        ),
        memory_per_gpu_gib=1880.0 / 32,
        capacity_per_gpu_gib=76.0,
        mfu=Assumption("mfu", 0.38, "step time of the layout, times the goodput"),
        effort=FiniteWork(
            gpu_hours=band(gpu_hours),
            energy_kwh=band(gpu_hours * 0.7),
            gpus=512,
            growth=0.05,
            step=step,
            checkpoints=saved,
        ),
        assumptions=(USABLE, Assumption("failures", 4.0, f"per 1 000 node-days of {device.name}")),
    )


def served(device: Accelerator, replicas: int) -> Sizing:
    return Sizing(
        accelerator=device.name,
        precision=Precision.BF16,
        min_gpus=2,
        flops=1.8e14,
        memory=(MemoryTerm("weights", 131.0), MemoryTerm("kv-cache", 14.0), MemoryTerm("overhead", 5.6)),
        memory_per_gpu_gib=75.3,
        capacity_per_gpu_gib=76.0,
        mfu=Assumption("mfu", 0.21, "follows from the planned rate at a batch of 38"),
        effort=Service(
            replicas=replicas,
            requests_per_s_per_replica=20.0 / replicas,
            ttft_s=band(0.17),
            tpot_s=band(0.05),
            watts_per_replica=1300.0,
            ttft_p95_s=band(0.4),
            e2e_s=band(13.0),
            mean_replicas=replicas / 3.0,
            most_tokens_per_s=900.0,
            stack="vllm",
        ),
        quantised=Quantisation(asked=Precision.BF16, weights=Precision.FP8, saving=0.5),
        assumptions=(USABLE,),
    )


PRICES = {
    name: Prices(
        low=Quote(
            usd_per_gpu_hour=usd, offer=f"acme us-east-1 {name.lower()}.8x spot", source="test", observed_at=EPOCH
        ),
        high=Quote(usd_per_gpu_hour=4.0 * usd, offer="dear", source="test", observed_at=EPOCH),
    )
    for name, usd in (("H100-SXM", 2.0), ("A100-80GB", 1.25))
}
OSLO = Location(
    place="Oslo",
    pue=Assumption("pue", 1.2, "a site's own figure"),
    g_co2_per_kwh=Assumption("g_per_kwh", 30.0, "NO 2024: test"),
)
NO_FIT = Reason("sizing", ReasonCode.NO_FIT, "the state of 1,181.0 GiB does not fit 64 x T4")


def sized(workload: Workload, **overrides: object) -> SizeReport:
    service = workload.KIND == "Inference"
    made = (served(H100, 10), served(A100, 22)) if service else (trained(H100, 9e5), trained(A100, 2e6))
    default = SizeReport(
        model=workload.model,
        workload=workload,
        precision=Precision.BF16,
        sizings={"H100-SXM": made[0], "A100-80GB": made[1], "T4": NO_FIT},
        accelerators=DEVICES,
        prices=PRICES,
        inference_tokens=1024.0,
        now=EPOCH + timedelta(days=3),
    )
    return replace(default, **overrides)  # type: ignore[arg-type]


def break_even() -> BreakEvenReport:
    def owned(name: str, usd: float) -> Owned:
        site = Site(capex_usd=usd * 1.6, years=4, opex_share=0.1, cost_of_capital=0, kw=0.69, pue=1.25, usd_per_kwh=0.1)
        price = Assumption(f"breakeven.device_usd.{name.lower()}", usd, "a press estimate")
        return Owned(accelerator=name, device_usd=price, site=site, quote=PRICES[name].high, gpus=20)

    full = Hosting(usd_per_hour=4.0, tokens_per_hour=9e6)
    mean = Hosting(usd_per_hour=4.0, tokens_per_hour=5.4e6)
    hosted = Hosted(
        accelerator="H100-SXM", gpus=2, quote=PRICES["H100-SXM"].low, full=full, mean=mean, owned_usd_per_1m=0.66
    )
    half = Assumption("breakeven.utilisation", 0.6, "planning constant: of the hours that devices are paid for")
    return BreakEvenReport(
        workload=inference(),
        hosted=(hosted, replace(hosted, accelerator="A100-80GB", mean=replace(mean, tokens_per_hour=2.2e6))),
        owned=(owned("H100-SXM", 27_500.0), owned("A100-80GB", 40_000.0)),
        unpriced=("T4",),
        api_usd_per_1m=Assumption("api_usd_per_1m_tokens", 0.95, "--api-price, prompts and answers alike"),
        tokens_per_request=1280.0,
        asked_tokens_per_hour=9.216e7,
        utilisation=0.6,
        rule_usd_per_year=Assumption("breakeven.own_from_usd_per_year", 5e7, "a16z (2023)"),
        pair=Pair(card_usd=1199, cards_watts=700, device_usd=12_500, device_watts=300, years=3, usd_per_kwh=0.1),
        assumptions=(Given(option="--utilisation", unit="share", fact=half),),
        notes=("H100 is taken as H100-SXM",),
    )


def shared() -> tuple[OnSites, ...]:
    sites = equal_sites(2, devices=512, hours_together=1758.0, steps=240_000.0, egress_usd_per_gb=0.05)
    worth = verdict(parameters=70e9, steps=240_000.0, sites=sites, link=Link(gbit_s=10.0, rtt_s=0.06), exchange=INT8)
    each = Reason("sizing", ReasonCode.NO_FIT, "every site holds the whole model, and 256 x A100-80GB do not: test")
    return (OnSites(accelerator="H100-SXM", result=worth), OnSites(accelerator="A100-80GB", result=each))


def reports() -> dict[str, Report]:
    learned = training(tokens=2e12)
    alone = replace(break_even(), workload=None, hosted=(), api_usd_per_1m=None, tokens_per_request=None)
    return {
        "size-layout": sized(learned, cluster=Cluster()),
        "size-sites": sized(learned, sites=shared()),
        "size-site": sized(learned, location=OSLO, gpus=1024, notes=("A100 is taken as A100-80GB",)),
        "size-service-load": sized(inference(), location=OSLO),
        "size-nowhere": sized(learned, sizings=dict.fromkeys(("H100-SXM", "A100-80GB", "T4"), NO_FIT)),
        "compare": CompareReport(sized(learned, cluster=Cluster(), sites=shared()[:1])),
        "compare-service": CompareReport(sized(inference(), location=OSLO)),
        "compare-nowhere": CompareReport(sized(learned, sizings={"T4": NO_FIT}, accelerators=(T4,))),
        "break-even": break_even(),
        "break-even-api": replace(
            break_even(), api_usd_per_1m=Assumption("api_usd_per_1m_tokens", 0.10, "--api-price")
        ),
        "break-even-own": alone,
    }


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_page_of_size_reads_as_it_did(name: str, golden: Golden) -> None:
    golden(name, plain.render(reports()[name].page()))


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_page_of_size_ends_with_words_and_its_lines_without_blanks(name: str) -> None:
    lines = plain.render(reports()[name].page()).splitlines()
    assert lines[-1]
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_report_of_size_is_json_without_odd_numbers(name: str) -> None:
    text = machine.document(reports()[name].document())
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_comparison_and_the_table_say_the_same_numbers() -> None:
    report = sized(training(tokens=2e12))
    compared = CompareReport(report).document()["compare"]
    assert isinstance(compared, dict)
    for row in report.document()["accelerators"]:  # type: ignore[attr-defined]
        cells = {key: cell[row["name"]]["value"] for key, cell in compared["rows"].items()}
        assert cells["gpus"] == row["gpus"]
        assert cells["usd"] == (row["cost_usd"]["p50"] if row["cost_usd"] else None)
        assert cells["usd_per_1m_tokens"] == (row["usd_per_1m_tokens"]["p50"] if row["usd_per_1m_tokens"] else None)
    assert compared["rows"]["usd"]["H100-SXM"]["ratio"] == 1.0


def test_the_cost_per_million_tokens_times_the_tokens_is_the_cost() -> None:
    for workload, tokens in ((training(tokens=2e12), 2e12), (batch_inference(requests=1e6), 1280e6)):
        for row in sized(workload).fitting():
            assert row.usd is not None
            assert row.usd_per_1m is not None
            assert row.usd_per_1m.p50 * tokens / 1e6 == pytest.approx(row.usd.p50)


def test_more_devices_take_more_device_hours_and_less_time() -> None:
    few, many = (sized(training(tokens=2e12), gpus=gpus).fitting()[0] for gpus in (512, 1024))
    assert few.gpu_hours is not None
    assert many.gpu_hours is not None
    assert many.gpu_hours.p50 == pytest.approx(few.gpu_hours.p50 * 2**0.05)
    assert few.hours is not None
    assert many.hours is not None
    assert many.hours.p50 < few.hours.p50
    assert many.kwh is not None
    assert few.kwh is not None
    assert many.kwh.p50 == pytest.approx(few.kwh.p50 * 2**0.05)


def test_the_energy_of_a_site_and_its_co2_follow_from_pue_and_grid() -> None:
    row = sized(training(tokens=2e12), location=OSLO).fitting()[0]
    assert row.kwh is not None
    assert row.site_kwh == pytest.approx(row.kwh.p50 * 1.2)
    assert row.co2_kg == pytest.approx(row.kwh.p50 * 1.2 * 0.030)
