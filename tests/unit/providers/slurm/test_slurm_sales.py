from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.lease import Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer
from providers.slurm import pilots, records
from providers.slurm.records import QueuedJob
from providers.slurm.settings import Rate, SiteSettings, SlurmSettings, parts
from providers.slurm.translate import sales, usable_s

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RATES = (Rate(gres="a100", accelerator="A100-80GB", usd_per_gpu_hour=1.0), Rate(gres="odd", usd_per_gpu_hour=2.0))
SITE = SiteSettings(name="lab", rates=RATES, warn_s=600.0)
PAGE = Path(__file__).parents[4] / "docs" / "providers" / "slurm.md"


def node(name: str, gres: str, used: str = "", state: str = "IDLE", cpus_used: int = 0) -> str:
    return (
        f"NodeName={name} CPUAlloc={cpus_used} CPUEfctv=16 Gres={gres} GresUsed={used} RealMemory=64000 AllocMem=0 "
        f"State={state} Partitions=batch"
    )


def sold(
    *lines: str, partition: str = "PartitionName=batch State=UP MaxTime=1-00:00:00 MaxNodes=UNLIMITED"
) -> tuple[dict[str, Offer], list[str]]:
    found, gaps = sales(SITE, records.nodes("\n".join(lines)), records.partitions(partition), NOW)
    return {sale.offer.instance_type: sale.offer for sale in found}, gaps


def test_a_machine_is_sold_in_parts_with_their_share() -> None:
    offers, gaps = sold(node("n0", "gpu:a100:4"))
    assert {name: (offer.gpus, offer.vcpus, offer.usd_per_hour) for name, offer in offers.items()} == {
        "1x-a100-4cpu-16gib": (1.0, 4.0, 1.0),
        "2x-a100-8cpu-31gib": (2.0, 8.0, 2.0),
        "4x-a100-16cpu-62gib": (4.0, 16.0, 4.0),
    }
    assert not gaps


def test_what_is_free_is_counted_by_devices_and_never_by_the_nodes_state() -> None:
    half = node("n0", "gpu:a100:4", "gpu:a100:2(IDX:0-1)", "ALLOCATED", cpus_used=8)
    offers, _ = sold(half, node("n1", "gpu:a100:4", state="IDLE+DRAIN"))
    assert offers["4x-a100-16cpu-62gib"].available == 0
    assert offers["2x-a100-8cpu-31gib"].available is None
    busy, _ = sold(node("n0", "gpu:a100:4", cpus_used=15))
    assert [offer.available for offer in busy.values()] == [0, 0, 0]


def test_a_device_nobody_knows_keeps_its_word_and_is_told() -> None:
    offers, gaps = sold(node("n0", "gpu:odd:1"), node("n1", "gpu:secret:3"), node("n2", "(null)"))
    assert [offer.accelerator for offer in offers.values()] == ["odd"]
    assert "3 GPUs that the site calls 'secret' have no rate: they are left out" in gaps
    assert "'odd' is no device that we hold facts about; its rate may say `accelerator`" in gaps
    assert "1 nodes without GPUs are left out" in gaps


def test_one_lease_has_no_more_nodes_than_the_partition_allows() -> None:
    limited = "PartitionName=batch State=UP MaxTime=UNLIMITED MaxNodes=2"
    offers, _ = sold(*(node(f"n{number}", "gpu:a100:4") for number in range(5)), partition=limited)
    assert offers["4x-a100-16cpu-62gib"].available == 2


def test_a_partition_that_is_shut_or_missing_is_told() -> None:
    wanted = replace(SITE, partitions=("batch", "gone"))
    shut = records.partitions("PartitionName=batch State=DOWN MaxTime=1-0")
    found, gaps = sales(wanted, records.nodes(node("n0", "gpu:a100:4")), shut, NOW)
    assert not found
    assert {"partition batch is not up", "there is no partition gone"} <= set(gaps)


def test_the_rate_card_is_the_formula_of_the_page() -> None:
    rate = Rate(
        gres="a100", usd_per_gpu=15000.0, watts=500.0, usd_per_kwh=0.20, staff_usd_per_year=900.0, years=5.0, pue=1.3
    )
    assert rate.price == pytest.approx((3000 + 900) / (8766 * 0.7) + 0.5 * 1.3 * 0.20)
    assert f"{rate.price:.3f} USD an hour" in PAGE.read_text()


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="free offer"):
        Rate(gres="a100")


def test_the_page_shows_every_setting() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    table = tomllib.loads(block)["providers"]["slurm"]
    assert set(table["sites"][0]) == {field.name for field in fields(SiteSettings)}
    shown = read(SlurmSettings, table, where="page").sites[0]
    defaults = {field.name: getattr(SiteSettings(name="bare"), field.name) for field in fields(SiteSettings)}
    changed = {"name", "login", "identity", "host_key", "fabric", "rates"}
    assert {name for name, default in defaults.items() if getattr(shown, name) != default} == changed


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"sites": {"name": "x"}},
        {"sites": [{"name": ""}]},
        {"sites": [{"name": "a b"}]},
        {"sites": [{"name": "a"}, {"name": "a"}]},
        {"sites": [{"name": "a", "login": "me@host"}]},
        {"sites": [{"name": "a", "login": "host", "host_key": "k"}]},
        {"sites": [{"name": "a", "partitions": "batch"}]},
        {"sites": [{"name": "a", "rates": [{"gres": "x", "usd_per_gpu_hour": -1}]}]},
    ],
)
def test_settings_that_cannot_be_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        read(SlurmSettings, table, where="providers.slurm")


def test_a_login_has_a_user_a_host_and_a_port() -> None:
    assert parts("me@login.example:2222") == ("me", "login.example", 2222)
    assert parts("me@login.example") == ("me", "login.example", 22)


def job(**changes: object) -> QueuedJob:
    base = QueuedJob(
        id="7",
        name=pilots.job_name("me", "t"),
        state="RUNNING",
        reason="",
        nodes=("n0",),
        ends_at=NOW + timedelta(hours=5),
        preempted_at=None,
        restarts=0,
        comment="",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def lease(name: str = "t", owner: str = "me") -> Lease:
    offers, _ = sold(node("n0", "gpu:a100:4"))
    offer = next(iter(offers.values()))
    return Lease(
        id="lab/1",
        provider="slurm",
        token=name,
        owner=owner,
        offer=offer,
        nodes=1,
        state=LeaseState.BOOTING,
        usd_per_hour=1.0,
        acquired_at=NOW,
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_comment_is_one_plain_word_whatever_is_in_it(token: str, owner: str) -> None:
    ours = lease(token, owner)
    text = pilots.comment(ours)
    assert re.fullmatch(r"isoflop:[A-Za-z0-9_=-]+", text)
    assert pilots.parse(text) == ours
    assert re.fullmatch(r"isoflop-[0-9a-f]{16}-[0-9a-f]{16}", pilots.job_name(owner, token))


@given(st.text(max_size=60))
def test_a_comment_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"comment|lease"):
        pilots.parse(text)


@pytest.mark.parametrize(
    ("changes", "state", "noticed"),
    [
        ({}, LeaseState.READY, False),
        ({"state": "PENDING", "nodes": (), "ends_at": None}, LeaseState.BOOTING, False),
        ({"state": "CONFIGURING"}, LeaseState.BOOTING, False),
        ({"state": "COMPLETING"}, LeaseState.RELEASING, False),
        ({"ends_at": NOW + timedelta(seconds=599)}, LeaseState.RECLAIMING, True),
        ({"preempted_at": NOW}, LeaseState.RECLAIMING, True),
        ({"state": "SUSPENDED"}, LeaseState.RECLAIMING, True),
        ({"state": "PENDING", "restarts": 1, "nodes": ()}, LeaseState.RECLAIMING, True),
    ],
)
def test_what_slurm_says_of_a_pilot_is_the_state_of_its_lease(
    changes: dict[str, object], state: LeaseState, noticed: bool
) -> None:
    held = pilots.ours([job(comment=pilots.comment(lease()), **changes)], "me", SITE, NOW)
    assert [pilot.lease.state for pilot in held] == [state]
    assert bool(pilots.notices(held, SITE, NOW)) is noticed


def test_jobs_of_others_and_with_comments_that_were_rewritten_are_no_leases() -> None:
    theirs = pilots.comment(lease(owner="them"))
    assert not pilots.ours([job(comment=theirs), job(comment="by the site"), job(name="mine")], "me", SITE, NOW)


def test_preemptible_partitions_are_spot() -> None:
    low = "PartitionName=batch State=UP MaxTime=1-0 PriorityTier=1 PreemptMode=REQUEUE"
    offers, _ = sold(node("n0", "gpu:a100:4"), partition=f"{low}\nPartitionName=top State=UP PriorityTier=9")
    assert {offer.billing for offer in offers.values()} == {Billing.SPOT}
    assert {offer.interruption_rate for offer in offers.values()} == {None}


@pytest.mark.parametrize(
    ("limit", "walltime_h", "walltime_s", "usable_s"),
    [
        ("1-00:00:00", 24.0, 86400.0, 85800.0),
        ("UNLIMITED", 24.0, 86400.0, 85800.0),
        ("04:00:00", 24.0, 14400.0, 13800.0),
        ("7-00:00:00", 200.0, 604800.0, 604200.0),
        ("30:00", 24.0, 1800.0, 1350.0),  # warned a quarter of it before
        ("01:30", 24.0, 60.0, 45.0),  # whole minutes, and never more than allowed
        ("UNLIMITED", 0.001, 60.0, 45.0),  # a minute is Slurm's least
    ],
)
def test_an_offer_says_how_long_its_leases_can_be_worked_in(
    limit: str, walltime_h: float, walltime_s: float, usable_s: float
) -> None:
    site = replace(SITE, walltime_h=walltime_h)
    found = records.partitions(f"PartitionName=batch State=UP MaxTime={limit} MaxNodes=UNLIMITED")
    sold_here, _ = sales(site, records.nodes(node("n0", "gpu:a100:1")), found, NOW)
    assert [(sale.walltime_s, sale.offer.max_lease_s) for sale in sold_here] == [(walltime_s, usable_s)]


@pytest.mark.parametrize(
    ("walltime_s", "left_s", "asked_back"),
    [(86400.0, 601.0, False), (86400.0, 599.0, True), (60.0, 16.0, False), (60.0, 14.0, True), (60.0, 59.0, False)],
)
def test_a_lease_is_asked_back_before_its_walltime_ends_and_never_from_its_start(
    walltime_s: float, left_s: float, asked_back: bool
) -> None:
    bought = replace(lease(), offer=replace(lease().offer, max_lease_s=usable_s(SITE, walltime_s)))
    ends_at = NOW + timedelta(seconds=left_s)
    held = pilots.ours([job(comment=pilots.comment(bought), ends_at=ends_at)], "me", SITE, NOW)
    assert [pilot.lease.ends_at for pilot in held] == [ends_at]
    assert [note.at for note in pilots.notices(held, SITE, NOW)] == ([ends_at] if asked_back else [])


def test_the_end_of_a_job_that_waits_or_goes_is_not_told() -> None:
    for changes in ({"state": "PENDING", "nodes": ()}, {"state": "PENDING", "restarts": 1}, {"state": "COMPLETING"}):
        held = pilots.ours([job(comment=pilots.comment(lease()), **changes)], "me", SITE, NOW)
        assert [pilot.lease.ends_at for pilot in held] == [None]


def test_a_preempted_pilot_has_until_the_end_of_its_grace_time() -> None:
    grace = job(comment=pilots.comment(lease()), preempted_at=NOW, ends_at=NOW + timedelta(seconds=90))
    (held,) = pilots.ours([grace], "me", SITE, NOW)
    (note,) = pilots.notices([held], SITE, NOW)
    assert note.at == NOW + timedelta(seconds=90)
    assert held.lease.ends_at is None  # its walltime is not what ends it
