"""A workload written as a job file and read again is the same workload."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import (
    BatchInference,
    Checkpointing,
    DataSet,
    FineTune,
    Framework,
    Inference,
    LatencyTarget,
    Limits,
    Population,
    Program,
    Setting,
    Stack,
    Training,
    Workload,
)
from orchestrator.spec.job import parse
from orchestrator.spec.job_text import job_text
from orchestrator.spec.models import find_model

KNOWN = find_model("llama-3.1-8b")
AMOUNTS = st.floats(0.01, 1e12, allow_nan=False) | st.integers(1, 10**12).map(float)
SECONDS = st.floats(1e-3, 1e8, allow_nan=False)
WORDS = st.sampled_from(["yes", "1e3", "null", "Zürich", "a: b", "# x", "eu-*", "12:30", "'", "48.1,11.6", "~"])
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
LIMITS = st.builds(
    Limits,
    budget_usd=st.none() | AMOUNTS,
    deadline_s=st.none() | SECONDS,
    latency=st.builds(
        LatencyTarget, first_token_s=st.none() | SECONDS, per_token_s=st.none() | SECONDS, total_s=st.none() | SECONDS
    ),
    regions=st.lists(WORDS, max_size=2).map(tuple),
    residency=st.sampled_from([(), ("EU",), ("NO", "SE")]),
    providers=st.lists(WORDS, max_size=2).map(tuple),
    accelerators=st.lists(WORDS, max_size=2).map(tuple),
    billing=st.sampled_from([(), (Billing.SPOT,), (Billing.ON_DEMAND, Billing.OWNED)]),
)
UNTIL = st.builds(
    Limits,
    finish_by=st.integers(0, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
PROGRAM = st.builds(
    Program,
    command=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    image=st.just("") | WORDS,
    env=st.dictionaries(st.sampled_from(["A", "NO"]), WORDS).map(lambda env: tuple(env.items())),
    secrets=st.sampled_from([(), (("TOKEN", "env:TOKEN"),)]),
    checkpoint=st.builds(Checkpointing, interval_s=SECONDS, grace_s=SECONDS),
    max_attempts=st.integers(1, 99),
    framework=st.sampled_from([None, Framework.RAY]),
    port=st.none() | st.integers(1, 65_535),
)
SETTINGS = st.sampled_from(
    [(), (Setting("latency", "usd_per_ms", 0.5), Setting("latency", "on", True), Setting("other", "word", "no"))]
)
COMMON = {
    "name": NAMES,
    "model": st.just(KNOWN),
    "limits": LIMITS | UNTIL,
    "data": st.builds(DataSet, location=st.just("aws/us-east-1"), size_gib=AMOUNTS, stays=st.booleans()),
    "program": st.none() | PROGRAM,
    "settings": SETTINGS,
    "after": st.sampled_from([(), ("first", "yes")]),
    "priority": st.sampled_from([0.0, -1.5, 1e-7]),
    "team": st.just("") | WORDS,
}
ANSWER = {
    "prompt_tokens": st.integers(1, 4096),
    "output_tokens": st.integers(1, 4096),
    "stack": st.sampled_from([Stack.VLLM, Stack.SGLANG]),
    "quantise": st.sampled_from([(), (Precision.FP8,)]),
}
SERVICES = st.builds(
    Inference,
    **COMMON,
    **ANSWER,
    users=st.lists(st.builds(Population, WORDS, AMOUNTS), min_size=1, max_size=3).map(tuple),
    duration_s=SECONDS,
    peak_over_mean=st.sampled_from([1.0, 2.5]),
)
BATCHES = st.builds(BatchInference, **COMMON, **ANSWER, requests=AMOUNTS.map(lambda amount: max(1.0, amount)))
TOKENS = {"tokens": st.integers(1, 10**14).map(float), "sequence_length": st.integers(1, 8192)}
TRAININGS = st.builds(Training, **COMMON, **TOKENS, mfu=st.none() | st.just(0.45))
TUNINGS = st.builds(FineTune, **COMMON, **TOKENS, lora_rank=st.integers(1, 64))


@settings(max_examples=60, deadline=None)
@given(SERVICES | BATCHES | TRAININGS | TUNINGS)
def test_a_job_file_that_is_written_reads_back_as_the_workload(workload: Workload) -> None:
    assert parse(job_text(workload), file="job.yaml", base=Path()) == workload
