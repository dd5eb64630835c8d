"""Values for tests: every builder gives a sensible default of its type, and any field can be overridden by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.job import Job
from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from orchestrator.domain.network import EgressRate, Network, Place
from orchestrator.domain.offer import Billing, Offer, Tier
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Bound, Part, Placement, Plan, Term
from orchestrator.domain.sizing import Assumption, Band, FiniteWork, MemoryTerm, Sizing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import (
    BatchInference,
    FineTune,
    Inference,
    Model,
    Population,
    Program,
    Training,
)
from orchestrator.testing.clock import EPOCH

T = TypeVar("T")


def _with(default: T, overrides: dict[str, object]) -> T:
    return replace(default, **overrides) if overrides else default  # type: ignore[type-var]


def accelerator(**overrides: object) -> Accelerator:
    """An H100-SXM by its data sheet, unless overridden."""
    default = Accelerator(
        name="H100-SXM",
        vendor="nvidia",
        memory_gib=80.0,
        memory_bandwidth_gb_s=3350.0,
        peak_tflops=((Precision.FP32, 67.0), (Precision.TF32, 494.7), (Precision.FP16, 989.4), (Precision.BF16, 989.4)),
        tdp_w=700.0,
        link="nvlink4",
        link_gb_s=900.0,
        generation="hopper",
        year=2022,
        source="test",
        as_of="2026-01-01",
    )
    return _with(default, overrides)


def offer(**overrides: object) -> Offer:
    """Eight H100-SXM on demand at $32/h, four nodes left."""
    default = Offer(
        provider="acme",
        region="us-east-1",
        zone="",
        instance_type="h100.8x",
        accelerator="H100-SXM",
        gpus=8.0,
        billing=Billing.ON_DEMAND,
        usd_per_hour=32.0,
        available=4,
        tier=Tier.CLOUD,
        fabric="infiniband",
        vcpus=192.0,
        host_memory_gib=2048.0,
        interruption_rate=0.0,
        boot_s=120.0,
        min_billing_s=60.0,
        observed_at=EPOCH,
        source="test",
    )
    return _with(default, overrides)


def place(**overrides: object) -> Place:
    """Northern Virginia as `acme/us-east-1`."""
    default = Place(key="acme/us-east-1", latitude=38.95, longitude=-77.45, country="US", jurisdictions=("US",))
    return _with(default, overrides)


def network(**overrides: object) -> Network:
    """The default place, one in Frankfurt, and one egress rate of $0.09/GiB to the internet."""
    frankfurt = place(key="acme/eu-central-1", latitude=50.11, longitude=8.68, country="DE", jurisdictions=("DE", "EU"))
    city = place(key="Frankfurt", latitude=50.11, longitude=8.68, country="DE", jurisdictions=("DE", "EU"))
    egress = EgressRate(provider="acme", scope="internet", from_gib=0.0, usd_per_gib=0.09, source="test")
    return _with(Network(places=(place(), frankfurt, city), egress=(egress,)), overrides)


def snapshot(*offers: Offer, **overrides: object) -> Snapshot:
    """A snapshot of `offers` (one default offer if none is given), all of whose providers can be bought from."""
    listed = offers or (offer(),)
    default = Snapshot(
        taken_at=EPOCH,
        book=OfferBook.of(listed),
        accelerators=(accelerator(),),
        network=network(),
        buyable=tuple(sorted({listed_offer.provider for listed_offer in listed})),
    )
    return _with(default, overrides)


def model(**overrides: object) -> Model:
    """A 7 B dense transformer of Llama 2's shape."""
    default = Model(
        name="test-7b",
        parameters=6.74e9,
        active_parameters=6.74e9,
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=32,
        head_dim=128,
        vocabulary=32000,
        source="test",
    )
    return _with(default, overrides)


def program(**overrides: object) -> Program:
    """`true`, three attempts."""
    return _with(Program(command=("true",), max_attempts=3), overrides)


def training(**overrides: object) -> Training:
    """The default model on 2 B tokens."""
    return _with(Training(name="train", model=model(), tokens=2e9), overrides)


def fine_tune(**overrides: object) -> FineTune:
    """The default model adapted by LoRA on 10 M tokens."""
    return _with(FineTune(name="tune", model=model(), tokens=1e7), overrides)


def inference(**overrides: object) -> Inference:
    """The default model served at 2 requests/s to Frankfurt."""
    return _with(Inference(name="serve", model=model(), users=(Population("Frankfurt", 2.0),)), overrides)


def batch_inference(**overrides: object) -> BatchInference:
    """A hundred thousand requests to the default model."""
    return _with(BatchInference(name="batch", model=model(), requests=1e5), overrides)


def sizing(**overrides: object) -> Sizing:
    """100 H100-hours (80 to 130) on at least one device."""
    default = Sizing(
        accelerator="H100-SXM",
        precision=Precision.BF16,
        min_gpus=1,
        flops=1.4e20,
        memory=(MemoryTerm("weights", 12.6), MemoryTerm("overhead", 2.0)),
        memory_per_gpu_gib=14.6,
        capacity_per_gpu_gib=72.0,
        mfu=Assumption("mfu", 0.4, "test"),
        effort=FiniteWork(gpu_hours=Band(80.0, 100.0, 130.0), energy_kwh=Band(56.0, 70.0, 91.0)),
    )
    return _with(default, overrides)


def placement(**overrides: object) -> Placement:
    """One node of the default offer for 12.5 hours: $400 of compute, the only term."""
    default = Placement(
        parts=(Part(offer(), 1),),
        sizing=sizing(),
        hours=Band(10.0, 12.5, 16.25),
        cost_usd=Band(320.0, 400.0, 520.0),
        terms=(Term("cost", "compute", 400.0),),
        objective_usd=400.0,
        rtt_ms=None,
        buyable=True,
    )
    return _with(default, overrides)


def placement_on(bought: Offer, *, nodes: int = 1, **overrides: object) -> Placement:
    """The default placement on `nodes` nodes of `bought`, with cost terms that add up."""
    usd = nodes * bought.usd_per_hour * 12.5
    default = placement(
        parts=(Part(bought, nodes),),
        sizing=sizing(accelerator=bought.accelerator),
        cost_usd=Band(0.8 * usd, usd, 1.3 * usd),
        terms=(Term("cost", "compute", usd),),
        objective_usd=usd,
    )
    return _with(default, overrides)


def plan_of(*placements: Placement, **overrides: object) -> Plan:
    """A plan whose failover order is `placements` as given (one default placement if none is)."""
    ranked = placements or (placement(),)
    default = Plan(
        workload=training(program=program()),
        snapshot_id="0" * 16,
        made_at=EPOCH,
        ranked=ranked,
        feasible=len(ranked),
        considered=len(ranked),
        refusals=(),
        policies=("cost",),
        bound=Bound(lower_usd=ranked[0].objective_usd, method="exhaustive: every candidate priced"),
        gaps=(),
    )
    return _with(default, overrides)


def lease(**overrides: object) -> Lease:
    """One node of the default offer, ready."""
    default = Lease(
        id="lease-1",
        provider="acme",
        token="token-1",  # noqa: S106 - an idempotency token, no credential
        owner="owner-1",
        offer=offer(),
        nodes=1,
        state=LeaseState.READY,
        usd_per_hour=32.0,
        acquired_at=EPOCH,
        endpoints=(Endpoint(launcher="process", path="/nonexistent"),),
    )
    return _with(default, overrides)


def job(**overrides: object) -> Job:
    """The default program, first attempt."""
    default = Job(
        run_id="run-1",
        attempt=1,
        token="token-1",  # noqa: S106 - an idempotency token, no credential
        program=program(),
        checkpoint_dir="/nonexistent",
    )
    return _with(default, overrides)
