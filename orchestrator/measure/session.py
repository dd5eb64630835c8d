"""Session: measures the accelerator at hand within a time budget, and says what of it can be believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Final, TypeAlias

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.sizing import Assumption
from orchestrator.measure.bench import Bench, OutOfMemory, Seen
from orchestrator.measure.cases import Case, Rates, ServingCase, TrainingCase, as_large, cases, halved
from orchestrator.measure.device import Device, look
from orchestrator.measure.observations import Place, doubt, impossible, memory_note, serving_run, training_run
from orchestrator.measure.repeats import LEAST, WARM_UP, Watch
from orchestrator.sizing.observed import InferenceRun, TrainingRun

Progress: TypeAlias = Callable[[str], None]

MOST_BUDGET_S: Final = 7 * 86400.0
MOST_REPEATS: Final = 12
CASE_SHARE: Final = 1 / 2  # of the budget: a case that is expected to take more is not begun
STEPS_SHARE: Final = 1 / 40  # of the budget: for how long steps are repeated beyond the least number
LOOK_SHARE: Final = 1 / 40  # of the budget: what a product or a copy may take
BUILD_S: Final = 1e-8  # to make one random weight, until it is known: a CPU's


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was seen: rows for calibration, shares of the peaks that explain them, and what to know about both.

    `device` is the entry of the accelerator table, or, where the table has none (a CPU, a new GPU), what was measured.
    """

    device: Accelerator
    runs: tuple[TrainingRun | InferenceRun, ...]
    notes: tuple[str, ...]
    shares: tuple[Assumption, ...] = ()  # of the table's peaks: "matmul_share.bf16", "copy_share"
    source: str = ""  # what measured what, for the rows: "isoflop with PyTorch 2.13.0 on AMD EPYC"


def measure(devices: Sequence[Accelerator], *, budget_s: float, clock: Clock, progress: Progress) -> Measured:
    """Train and serve Llama-style models with random weights on the accelerator at hand for at most `budget_s` seconds.

    `devices` are the accelerators that a name may stand for; `progress` is told what is being measured. The budget is
    passed by one step at the most. A row whose repeats differ too much is refused, with a note.

    Raises: UserError for a budget that is not above 0 or is longer than a week; ConfigError where PyTorch is not
        installed, naming the extra.
    """
    if not 0 < budget_s <= MOST_BUDGET_S:
        raise UserError(f"measuring takes a time above 0 and up to {MOST_BUDGET_S:,.0f} seconds, not {budget_s:g}")
    if find_spec("torch") is None:
        raise ConfigError("measuring needs PyTorch: pip install 'isoflop[measure]'")
    bench: Bench = import_module(
        "orchestrator.measure.torch_steps"
    ).find()  # seconds to load, and nothing else needs it
    return measure_on(bench, devices, budget_s=budget_s, clock=clock, progress=progress)


def measure_on(
    bench: Bench,
    devices: Sequence[Accelerator],
    *,
    budget_s: float,
    clock: Clock,
    progress: Progress,
    timer: Callable[[], float] = time.perf_counter,
) -> Measured:
    """As `measure`, on `bench`; `timer` gives the seconds that steps are timed with."""
    watch = Watch(clock=clock, timer=timer, deadline=clock.now() + timedelta(seconds=budget_s))
    seen = bench.seen()
    progress(f"{seen.framework} on {seen.name} ({seen.backend})")
    found = look(bench, seen, devices, watch, share_s=budget_s * LOOK_SHARE)
    session = _Session(bench=bench, device=found, watch=watch, budget_s=budget_s, progress=progress)
    session.run(seen)
    return Measured(
        device=found.accelerator,
        runs=tuple(session.runs),
        notes=(*found.notes, *session.notes),
        shares=found.shares,
        source=f"measured by isoflop with {seen.framework} on {seen.name}",
    )


@dataclass(slots=True, kw_only=True)
class _Session:
    """One walk through the cases, from the quickest on."""

    bench: Bench
    device: Device
    watch: Watch
    budget_s: float
    progress: Progress
    runs: list[TrainingRun | InferenceRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[Case] = field(default_factory=list)  # had no room
    too_long: list[Case] = field(default_factory=list)
    slowness: dict[type[Case], float] = field(default_factory=dict)  # of the last case: seconds seen over guessed
    build_s: float = BUILD_S  # per weight, of the last case

    def run(self, seen: Seen) -> None:
        """Measure what fits."""
        rates = self.device.rates
        if rates is None:
            self.notes.append("no time was left to train or serve anything: give a larger budget")
            return
        waiting = list(cases(seen, rates))
        while waiting:
            case = waiting.pop(0)
            if any(as_large(case, other) for other in self.failed):
                continue
            if self._takes_s(case, rates) > min(self.watch.left_s, self.budget_s * CASE_SHARE):
                self.too_long.append(case)
            elif not self._fits(case, rates):
                self.failed.append(case)
                smaller = halved(case)
                if smaller is not None and smaller not in waiting:
                    waiting.insert(0, smaller)
        if self.too_long:
            self.notes.append(
                f"{len(self.too_long)} cases would take too long for a budget of {self.budget_s:g} s, the quickest of"
                f" them {self.too_long[0].label}: a larger budget measures larger models"
            )

    def _takes_s(self, case: Case, rates: Rates) -> float:
        steps = (WARM_UP + LEAST) * case.seconds(rates) * self.slowness.get(type(case), 1.0)
        return steps + self.build_s * case.decoder.parameters

    def _fits(self, case: Case, rates: Rates) -> bool:
        """Measure `case`; False, with a note, where it has no room."""
        self.progress(case.label)
        try:
            seen_s = self._train(case) if isinstance(case, TrainingCase) else self._serve(case)
        except OutOfMemory as error:
            self.notes.append(f"{case.label}: out of memory, so less was tried ({error})")
            return False
        if seen_s is not None:
            self.slowness[type(case)] = seen_s / case.seconds(rates)
        return True

    def _train(self, case: TrainingCase) -> float | None:
        """Seconds of the median step, where there was time for enough of them."""
        start = self.watch.timer()
        job = self.bench.training(case.decoder, case.precision, sequence=case.sequence, batch=case.batch)
        try:
            self.build_s = (self.watch.timer() - start) / case.decoder.parameters
            steps = self.watch.repeat(job.step, most=MOST_REPEATS, share_s=self.budget_s * STEPS_SHARE)
            peak_bytes = job.peak_bytes()
        finally:
            job.close()
        if steps is None:
            self.too_long.append(case)
            return None
        if peak_bytes:
            self.notes.append(memory_note(case, peak_bytes))
        run = training_run(case, steps, self._place, len(self.runs) + 1)
        reason = impossible(run) if steps.steady else doubt(case, "steps", steps)
        if reason:
            self.notes.append(reason)
        else:
            self.runs.append(run)
        return steps.median_s

    def _serve(self, case: ServingCase) -> float | None:
        """Seconds of the median prefill and a quarter of the decoding, where there was time for enough of them."""
        start = self.watch.timer()
        serving = self.bench.serving(
            case.decoder, case.precision, prompt=case.prompt, output=case.output, batch=case.batch
        )
        try:
            self.build_s = (self.watch.timer() - start) / case.decoder.parameters
            share_s = self.budget_s * STEPS_SHARE / 2
            prefill = self.watch.repeat(serving.prefill, most=MOST_REPEATS, share_s=share_s)
            decode = self.watch.repeat(serving.decode, most=2 * case.output, share_s=share_s) if prefill else None
        finally:
            serving.close()
        if prefill is None or decode is None:
            self.too_long.append(case)
            return None
        shaky = [(what, each) for what, each in (("prefills", prefill), ("decode steps", decode)) if not each.steady]
        self.notes += [doubt(case, what, each) for what, each in shaky]
        if not shaky:
            self.runs.append(serving_run(case, prefill, decode, self._place, len(self.runs) + 1))
        return prefill.median_s + decode.median_s * case.output / 4.0

    @property
    def _place(self) -> Place:
        return Place(
            accelerator=self.device.accelerator, peak16_tflops=self.device.peak16_tflops, now=self.watch.clock.now()
        )
