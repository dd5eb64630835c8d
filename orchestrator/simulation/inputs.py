"""What a simulation is fed with: folders of spot traces, arrivals of jobs, and jobs to try it with."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from orchestrator.domain.errors import Problem, SpecError, UserError
from orchestrator.domain.workload import (
    BatchInference,
    Checkpointing,
    FineTune,
    Limits,
    Model,
    Program,
    Training,
    Workload,
)
from orchestrator.simulation.engine import Arrival
from orchestrator.simulation.llm_traces import Requests, read_azure, read_mooncake
from orchestrator.simulation.traces import SpotZone, spot_aws, spot_gcp

DAY_S = 86_400.0
WHOLE = "full.json"  # of a zone's folder that holds the record in pieces too


def spot_folder(folder: Path) -> list[SpotZone]:
    """Every spot trace in `folder` and below, by name; a file with prices is read as SkyNomad's, else "Can't Be Late".

    Raises: UserError where there is none, or one cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give one with spot traces, a JSON file per zone")
    whole = sorted(folder.rglob(WHOLE))
    files = whole or sorted(folder.rglob("*.json"))
    if not files:
        raise UserError(f"{folder} holds no spot traces (JSON files with metadata.gap_seconds and data)")
    zones = [spot_gcp(file) if _has_prices(file) else spot_aws(file) for file in files]
    return sorted(zones, key=lambda zone: zone.name)


def _has_prices(file: Path) -> bool:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # the reader says what is wrong with it
    metadata = document.get("metadata") if isinstance(document, dict) else None
    return isinstance(metadata, dict) and "price_info" in metadata


def requests(file: Path) -> Requests:
    """Requests to an LLM: the CSV of Azure's traces or the JSON lines of Mooncake's, by the file's ending.

    Raises: UserError for a file that is neither.
    """
    return read_mooncake(file) if file.suffix in {".jsonl", ".json"} else read_azure(file)


def arrivals(file: Path, load: Callable[[Path], Workload], read_s: Callable[[str], float]) -> tuple[Arrival, ...]:
    """Arrivals of a CSV with the columns `at` (a time since the start, such as 36h) and `job` (a file beside it).

    Raises: UserError, SpecError with every fault of the file.
    """
    jobs: dict[str, Workload] = {}
    found, problems = [], []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            if not {"at", "job"} <= set(rows.fieldnames or ()):
                raise SpecError(str(file), (Problem(1, 1, "", "the columns `at` and `job` are needed"),))
            for row in rows:
                at, job = (row["at"] or "").strip(), (row["job"] or "").strip()
                try:
                    at_s = 0.0 if at == "0" else read_s(at)
                    if not isfinite(at_s) or at_s < 0.0:
                        raise UserError("before the start")
                    if job not in jobs:
                        jobs[job] = load(file.absolute().parent / job)
                except (ValueError, UserError) as error:
                    problems.append(Problem(rows.line_num, 1, "", f"{at}, {job}: {error}"))
                    continue
                found.append(Arrival(at_s, jobs[job]))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    if problems or not found:
        raise SpecError(str(file), tuple(problems) or (Problem(1, 1, "", "no arrivals"),))
    return tuple(found)


def scattered(jobs: Sequence[Workload], each: int, days: float, seed: int) -> tuple[Arrival, ...]:
    """`each` copies of every job at random moments of the first three quarters of the days, one of the first at once.

    Raises: UserError for less than one copy.
    """
    if each < 1:
        raise UserError("every job arrives at least once")
    at_s = np.sort(np.random.default_rng([seed, 4]).random(each * len(jobs))) * 0.75 * days * DAY_S
    at_s[:1] = 0.0
    order = np.random.default_rng([seed, 5]).permutation(each * len(jobs)) % len(jobs)
    return tuple(Arrival(float(at), jobs[int(which)]) for at, which in zip(at_s, order, strict=True))


def examples() -> tuple[Workload, ...]:
    """Three jobs to try a simulation with: a fine-tuning, a training and a batch of answers, each with a deadline."""
    eight = Model(name="8B", parameters=8e9, active_parameters=8e9, source="example")
    one = Model(name="1B", parameters=1e9, active_parameters=1e9, source="example")
    program = Program(command=("python", "work.py"), checkpoint=Checkpointing(interval_s=900.0))
    day = Limits(deadline_s=DAY_S)
    return (
        FineTune(name="tune", model=eight, tokens=2e9, limits=day, program=program),
        Training(name="train", model=one, tokens=20e9, limits=Limits(deadline_s=3.0 * DAY_S), program=program),
        BatchInference(name="answers", model=eight, requests=4e6, limits=day, program=program),
    )
