from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.slurm import records
from providers.slurm.records import JOB_FIELDS

NODE = (
    "NodeName=a100-0 Arch=x86_64 CoresPerSocket=16  CPUAlloc=1 CPUEfctv=60 CPUTot=64 ActiveFeatures=a100,nvlink "
    "Gres=gpu:a100:8(S:0-1),gpu:l4:2,nic:1 GresUsed=gpu:a100:2(IDX:0-1),gpu:l4:0(IDX:N/A) Version=22.05.8 "
    "OS=Linux 6.1 #1 SMP PREEMPT_DYNAMIC @0 RealMemory=64000 AllocMem=1000 MemSpecLimit=2000 State=MIXED "
    "Partitions=batch,spot  Reason=RAM was low, CPUTot=1 [root@2026-11-22T11:41:26]"
)
LINE = "6|isoflop-a-b|RUNNING|None|a100-[0-1]|2026-11-22T12:41:27|N/A|0|isoflop:abc|"


def test_a_node_is_read_whatever_its_reason_and_system_say() -> None:
    (node,) = records.nodes(NODE + "\n")
    assert (node.cpus, node.cpus_used, node.memory_mb, node.memory_used_mb) == (60, 1, 62000, 1000)
    assert dict(node.gpus) == {"a100": 8, "l4": 2}
    assert dict(node.used) == {"a100": 2, "l4": 0}
    assert (node.partitions, node.features, node.usable) == (("batch", "spot"), ("a100", "nvlink"), True)


def test_gpus_in_use_are_taken_from_the_allocation_where_details_are_missing() -> None:
    text = NODE.replace("GresUsed=", "Gone=").replace("State=", "AllocTRES=cpu=1,gres/gpu=3,gres/gpu:a100=3 State=")
    (node,) = records.nodes(text)
    assert dict(node.used) == {"a100": 3}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:4", {"gpu": 4}),
        ("gpu:a100:8(S:0-1)", {"a100": 8}),
        ("gpu:a100:2(IDX:0-1),gpu:a100:1(IDX:4)", {"a100": 3}),
        ("gpu:wafer9:1,shard:8", {"wafer9": 1}),
        ("(null)", {}),
        ("craynetwork:4", {}),
        ("mygpu:4", {}),
    ],
)
def test_devices_keep_the_sites_word(text: str, found: dict[str, int]) -> None:
    assert dict(records.gpus(text)) == found


@pytest.mark.parametrize("state", ["IDLE", "MIXED", "ALLOCATED", "IDLE+CLOUD", "MIXED+COMPLETING", "ALLOCATED+BLOCKED"])
def test_nodes_in_use_may_have_something_free(state: str) -> None:
    assert records.usable(state)


@pytest.mark.parametrize("state", ["DOWN", "DOWN*", "IDLE*", "IDLE+DRAIN", "MIXED+MAINT", "UNKNOWN", ""])
def test_nodes_that_take_no_job_have_nothing_free(state: str) -> None:
    assert not records.usable(state)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7-00:00:00", 604800.0), ("04:00:00", 14400.0), ("30:00", 1800.0), ("30", 1800.0), ("1-12", 129600.0)],
)
def test_limits_are_read_in_every_form(text: str, seconds: float) -> None:
    assert records.seconds(text) == seconds


@pytest.mark.parametrize("text", ["UNLIMITED", "NONE", "", "INVALID"])
def test_no_limit_is_none(text: str) -> None:
    assert records.seconds(text) is None


def test_only_a_partition_that_another_comes_before_is_preempted() -> None:
    low = "PartitionName=spot State=UP MaxTime=04:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=5"
    high = "PartitionName=top State=UP MaxTime=UNLIMITED MaxNodes=2 PriorityTier=10 PreemptMode=REQUEUE"
    shut = "PartitionName=shut State=DOWN PriorityTier=1 PreemptMode=OFF"
    spot, top, down = records.partitions("\n".join((low, high, shut)))
    assert (spot.preemptible, spot.max_s, spot.max_nodes, spot.grace_s) == (True, 14400.0, None, 5.0)
    assert (top.preemptible, top.max_s, top.max_nodes) == (False, None, 2)
    assert not down.up
    assert not down.preemptible


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("l4-0", ["l4-0"]),
        ("a100-[0-2],l4-0", ["a100-0", "a100-1", "a100-2", "l4-0"]),
        ("n[008-010,12]x", ["n008x", "n009x", "n010x", "n12x"]),
        ("r[1-2]n[0-1]", ["r1n0", "r1n1", "r2n0", "r2n1"]),
        ("(null)", []),
        ("", []),
    ],
)
def test_host_lists_are_expanded(hosts: str, names: list[str]) -> None:
    assert list(records.expand(hosts)) == names


def test_a_job_is_read_with_its_times_in_utc() -> None:
    (job,) = records.jobs(f"{LINE}\n")
    assert (job.id, job.name, job.state, job.reason, job.nodes) == (
        "6",
        "isoflop-a-b",
        "RUNNING",
        "",
        ("a100-0", "a100-1"),
    )
    assert job.ends_at == datetime(2026, 11, 22, 12, 41, 27, tzinfo=UTC)
    assert job.preempted_at is None
    assert job.comment == "isoflop:abc"


def test_somebody_elses_job_may_have_the_delimiter_in_its_name() -> None:
    (job,) = records.jobs("7|a|b|c|PENDING|Resources||N/A|N/A|0|(null)|")
    assert (job.name, job.state, job.reason, job.comment) == ("a|b|c", "PENDING", "Resources", "")


@given(st.text(max_size=200))
def test_what_is_no_line_of_squeue_is_refused_and_never_a_job_of_ours(text: str) -> None:
    try:
        found = records.jobs(text)
    except ValueError:
        return
    assert all(job.id.split("_")[0].isdigit() for job in found)
    assert not found or text.count("|") >= len(JOB_FIELDS)


@given(st.text(max_size=300))
def test_no_text_makes_the_reading_of_nodes_and_partitions_fail(text: str) -> None:
    records.nodes(f"NodeName=x {text}")
    records.partitions(f"PartitionName=x {text}")
