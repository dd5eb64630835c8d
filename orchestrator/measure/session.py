"""Session: measures the accelerator at hand within a time budget, and says what of it can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import Clock
from orchestrator.domain.sizing import Assumption
from orchestrator.sizing.observed import InferenceRun, TrainingRun

Progress: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was seen: rows for calibration, shares of the peaks that explain them, and what to know about both.

    `device` is the entry of the accelerator table, or, where the table has none (a CPU, a new GPU), what was measured.
    """

    device: Accelerator
    runs: tuple[TrainingRun | InferenceRun, ...]
    notes: tuple[str, ...]
    shares: tuple[Assumption, ...] = ()  # in (0, 1]: "matmul_share.bf16", "copy_share"
    source: str = ""  # what measured what, for the rows: "isoflop with PyTorch 2.13.0 on AMD EPYC"


def measure(devices: Sequence[Accelerator], *, budget_s: float, clock: Clock, progress: Progress) -> Measured:
    """Train and serve small Llama-style models on the accelerator at hand for about `budget_s` seconds.

    `devices` are the accelerators that a name may stand for; `progress` is told what is being measured. The budget is
    passed by one step at the most. A row whose repeats differ too much is refused, with a note.

    Raises: UserError for a budget that is not above 0; ConfigError where PyTorch is not installed, naming the extra.
    """
    raise NotImplementedError
