"""LLM traces: when requests came and how long their prompts and answers were, read, thickened and generated."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.errors import UserError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


class Requests(NamedTuple):
    """Requests in the order of arrival, in seconds from the start of the trace, which ends at `horizon_s`."""

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    horizon_s: float

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def mean_rate(self) -> float:
        """Requests per second over the whole trace."""
        return self.arrival_s.size / self.horizon_s if self.horizon_s else 0.0


def read_azure(path: Path) -> Requests:
    """The CSV of the Azure LLM inference traces: TIMESTAMP, ContextTokens, GeneratedTokens.

    Raises: UserError for a file that is not one.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # Seven decimals of a second; datetime reads six.
        times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
        prompts = [int(row["ContextTokens"]) for row in rows]
        outputs = [int(row["GeneratedTokens"]) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is no Azure LLM trace (TIMESTAMP, ContextTokens, GeneratedTokens): {error}") from error
    if not times:
        raise UserError(f"{path} holds no requests.")
    start = min(times)
    return of_rows([(time - start).total_seconds() for time in times], prompts, outputs)


def read_mooncake(path: Path) -> Requests:
    """The JSON lines of the Mooncake traces: timestamp in ms, input_length, output_length.

    Raises: UserError for a file that is not one.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        times = [float(row["timestamp"]) / 1000.0 for row in rows]
        prompts = [int(row["input_length"]) for row in rows]
        outputs = [int(row["output_length"]) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no Mooncake trace (timestamp, input_length, output_length): {error}") from error
    if not times:
        raise UserError(f"{path} holds no requests.")
    return of_rows(times, prompts, outputs)


def of_rows(times_s: list[float], prompts: list[int], outputs: list[int]) -> Requests:
    """Rows in any order as a trace; it ends with the second after the last arrival."""
    times = np.array(times_s, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    horizon = float(np.ceil(times.max(initial=0.0) + 1e-9))
    return Requests(times[order], np.array(prompts, np.int64)[order], np.array(outputs, np.int64)[order], horizon)


def denser(trace: Requests, times: int, shift_s: float = 1.0) -> Requests:
    """`times` copies of a trace on top of each other, each `shift_s` later than the one before, wrapped at the end."""
    shifts = np.arange(times)[:, None] * shift_s
    arrival = ((trace.arrival_s[None, :] + shifts) % trace.horizon_s).ravel()
    order = np.argsort(arrival, kind="stable")
    prompts, outputs = np.tile(trace.prompt_tokens, times)[order], np.tile(trace.output_tokens, times)[order]
    return Requests(arrival[order], prompts, outputs, trace.horizon_s)


def generated(rates: Floats, bin_s: float, lengths: tuple[float, float, float, float], seed: int) -> Requests:
    """Poisson arrivals at `rates` (requests/s, one per bin) with log-normal lengths.

    `lengths` are the means of prompt and output tokens and their coefficients of variation.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rates * bin_s)
    starts = np.repeat(np.arange(rates.size) * bin_s, counts)
    arrival = np.sort(starts + rng.random(starts.size) * bin_s)
    prompt, output, prompt_cv, output_cv = lengths
    tokens = [
        np.maximum(1, np.rint(_lognormal(rng, mean, cv, arrival.size))).astype(np.int64)
        for mean, cv in ((prompt, prompt_cv), (output, output_cv))
    ]
    return Requests(arrival, tokens[0], tokens[1], float(rates.size * bin_s))


def _lognormal(rng: np.random.Generator, mean: float, cv: float, size: int) -> Floats:
    sigma2 = np.log1p(cv * cv)
    return rng.lognormal(np.log(mean) - sigma2 / 2.0, np.sqrt(sigma2), size)
