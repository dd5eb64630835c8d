"""Rows of training runs: text in, what was trained where and how long it took out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.parallelism import Recompute
from orchestrator.domain.workload import Model
from orchestrator.sizing.observed import TrainingRun
from orchestrator.spec.history.cells import Cells
from orchestrator.spec.history.shapes import Find, model_of

Resolve = Callable[
    [str, float | None], Accelerator | str
]  # a vendor's name and memory -> the device, or why it is none
Note = Callable[[str], None]

PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {precision.value: precision for precision in Precision}
    | {"mxfp8": Precision.FP8, "nvfp4": Precision.FP4, "mxfp4": Precision.FP4, "float16": Precision.FP16}
    | {"bfloat16": Precision.BF16, "float32": Precision.FP32, "mixed": Precision.BF16}
)
WIDE = frozenset({Precision.BF16, Precision.FP16, Precision.TF32, Precision.FP32})
RECOMPUTE = {
    **{recompute.value: recompute for recompute in Recompute},
    "selective-attention": Recompute.SELECTIVE,
    "false": Recompute.NONE,
    "true": Recompute.FULL,
}
KINDS = {"run": False, "bench": True, "benchmark": True}
DENSE, MIXTURE, BOTH_HALVES = "dense", "moe", "encdec"
ARCHITECTURES = {name: name for name in (DENSE, MIXTURE, BOTH_HALVES)}
BASES = {"model": False, "hardware": True}
MICRO_BATCH = re.compile(r"\bmbs=(\d{1,5})\b")  # how benchmark tables write it among their remarks
EXECUTED = 8.0 / 6.0  # FLOPs done over FLOPs counted where every layer's forward pass is done twice
SLACK = 1.02  # devices clock a little above their data sheets
AGREES = 0.2  # between hours and days x devices


def training_run(cells: Cells, name: str, find: Find, resolve: Resolve, note: Note) -> TrainingRun | None:
    """The run of a row called `name`; None, with the faults noted in `cells`, where a prediction could not be judged.

    `note` is told whatever had to be assumed.
    """
    device = device_of(cells, resolve)
    model = model_of(cells, find)
    arch = cells.word("arch", ARCHITECTURES) or DENSE
    precision = cells.word("precision", PRECISIONS)
    recompute = cells.word("recompute", RECOMPUTE)
    counts = {column: cells.whole(column) for column in ("n_gpus", "seq_len", "tp", "pp", "dp", "ep", "year")}
    batch, fabric = cells.number("gbs_tokens_m"), cells.number("fabric_gbps_per_gpu")
    micro_batch = cells.whole("micro_batch") or _micro_batch(cells)
    if device is None or model is None or cells.faults:
        return None
    if precision is None:
        note("precision not given: taken as bf16")
    peak16 = _peak16(device)
    if not peak16:
        cells.fault("gpu", f"{device.name} has no 16-bit peak to count utilisation against")
        return None
    if arch == MIXTURE and model.active_parameters == model.parameters and not _in_flops(cells):
        cells.fault("active_b", "a mixture of experts needs its active parameters")
        return None
    seen = _Seen(
        cells,
        model,
        device,
        precision=precision or Precision.BF16,
        recompute=recompute,
        gpus=counts["n_gpus"],
        note=note,
    )
    if not seen.read():
        return None
    return TrainingRun(
        id=name,
        family=cells.text("family") or model.name,
        group=cells.text("group") or f"{cells.text('family') or model.name}|{device.name}",
        benchmark=seen.benchmark,
        model=model,
        encoder_decoder=arch == BOTH_HALVES,
        accelerator=device.name,
        generation=device.generation,
        peak16_tflops=peak16,
        gpus=seen.gpus,
        precision=precision or Precision.BF16,
        sequence_length=counts["seq_len"],
        global_batch_tokens=batch * 1e6 if batch else None,
        tensor=counts["tp"],
        pipeline=counts["pp"],
        data=counts["dp"],
        expert=counts["ep"],
        micro_batch=micro_batch,
        recompute=recompute,
        fabric_gb_per_s=fabric / 8.0 if fabric else None,
        year=counts["year"],
        flops=seen.flops,
        gpu_hours=seen.gpu_hours,
        mfu=seen.mfu,
        tokens_per_s_per_gpu=seen.tokens_per_s,
    )


def device_of(cells: Cells, resolve: Resolve) -> Accelerator | None:
    """The row's device; None, with the fault noted, where it is none that we know."""
    said, memory_gib = cells.text("gpu"), cells.number("gpu_mem_gib")
    if not said:
        cells.fault("gpu", "empty")
        return None
    found = resolve(said, memory_gib)
    if isinstance(found, str):
        cells.fault("gpu", found)
        return None
    return found


def _peak16(device: Accelerator) -> float:
    """The 16-bit peak; a CPU, which has no such units, is counted against what it reaches in FP32."""
    return device.peak16_tflops or (device.peak(Precision.FP32) if device.generation == "cpu" else None) or 0.0


def _in_flops(cells: Cells) -> bool:
    """Whether the row states its work in FLOPs, so that it does not hang on the active parameters."""
    return cells.number("tokens_t") is None and bool(cells.text("train_flops_6nd") or cells.text("flops_reported"))


def _micro_batch(cells: Cells) -> int | None:
    found = MICRO_BATCH.search(cells.note("note"))
    return int(found[1]) or None if found else None


class _Seen:
    """What a row observed, brought to hours of a run, or to tokens per second and utilisation of a benchmark."""

    def __init__(
        self,
        cells: Cells,
        model: Model,
        device: Accelerator,
        *,
        precision: Precision,
        recompute: Recompute | None,
        gpus: int | None,
        note: Note,
    ) -> None:
        self._cells = cells
        self._model = model
        self._device = device
        self._peak16 = _peak16(device)
        self._precision = precision
        self._recompute = recompute
        self._note = note
        self.gpus = gpus
        self.benchmark = False
        self.flops = 0.0
        self.gpu_hours: float | None = None
        self.mfu: float | None = None
        self.tokens_per_s: float | None = None

    def read(self) -> bool:
        """Fill the fields; False, with the fault noted, where nothing usable was observed."""
        cells = self._cells
        kind = cells.word("kind", KINDS)
        self._hours()
        self.tokens_per_s = cells.number("tok_s_gpu")
        self.mfu = self._utilisation()
        if cells.faults:
            return False
        if kind is None:
            kind = self.gpu_hours is None
            self._note(f"kind not given: taken as {'bench' if kind else 'run'}, by what was observed")
        self.benchmark = kind
        return self._benchmark() if kind else self._run()

    def _benchmark(self) -> bool:
        self.flops = 6.0 * self._model.active_parameters
        self.gpu_hours = None
        if self.tokens_per_s is None and self.mfu is None and not self._cells.faults:
            self._cells.fault("tok_s_gpu", "nothing observed: give tok_s_gpu, mfu_model16 or tflops_gpu_reported")
        if self.tokens_per_s is not None:
            self._possible("tok_s_gpu", self.tokens_per_s * self.flops)
        elif self.mfu is not None:
            self._possible("mfu_model16", self.mfu * self._peak16 * 1e12)
        return not self._cells.faults

    def _run(self) -> bool:
        cells = self._cells
        tokens = cells.number("tokens_t")
        stated = cells.number("train_flops_6nd") or cells.number("flops_reported")
        if tokens is not None:
            self.flops = 6.0 * self._model.active_parameters * tokens * 1e12
        elif stated is not None:
            self._note("tokens_t not given: taken from the FLOPs stated")
            self.flops = stated
        elif not cells.faults:
            cells.fault("tokens_t", "not given: without tokens there is no work to predict")
        effective = cells.number("mfu_eff_6nd")
        if self.gpu_hours is None and effective is not None:
            self.gpu_hours = self.flops / (effective * self._row_peak() * 1e12) / 3600.0
        if self.gpu_hours is None and not cells.faults:
            cells.fault("gpu_hours", "nothing observed: a run needs gpu_hours, or wall_days and n_gpus")
        if self.gpu_hours is not None:
            self._possible("gpu_hours", self.flops / (self.gpu_hours * 3600.0))
        return not cells.faults

    def _possible(self, column: str, flop_per_s: float) -> None:
        """Note a fault where one device would have computed faster than it can."""
        most = max(self._peak16, self._device.peak(self._precision) or 0.0)
        if flop_per_s > most * 1e12 * SLACK and not self._cells.faults:
            said = f"{flop_per_s / 1e12:.4g} TFLOP/s of one {self._device.name}, whose peak is {most:g}"
            self._cells.fault(column, f"it would mean {said}: check the units")

    def _hours(self) -> None:
        """`gpu_hours`, or days times devices; the devices from both where they are not given."""
        hours, days = self._cells.number("gpu_hours"), self._cells.number("wall_days")
        if days is not None and self.gpus is not None:
            product = days * 24.0 * self.gpus
            if hours is not None and abs(hours / product - 1.0) > AGREES:
                self._note("gpu_hours and wall_days x n_gpus differ by more than 20 %: gpu_hours taken")
            hours = hours or product
        elif days is not None and hours is not None:
            self._note("n_gpus not given: taken from gpu_hours and wall_days")
            self.gpus = max(1, round(hours / (days * 24.0)))
        self.gpu_hours = hours

    def _utilisation(self) -> float | None:
        """Model FLOP/s utilisation against our 16-bit peak of the device, whatever the row counts it against."""
        normalised, reported = self._cells.number("mfu_model16"), self._cells.number("mfu_reported")
        executed, tflops = self._cells.number("hfu_reported"), self._cells.number("tflops_gpu_reported")
        hardware = self._cells.word("flops_basis", BASES) or False
        share = self._row_peak() / self._peak16
        if normalised is not None:
            return normalised * share
        if tflops is not None:
            return self._counted(tflops / self._peak16, executed=hardware)
        if self._precision not in WIDE:  # against which peak it was counted nobody knows
            if reported is not None or executed is not None:
                self._note("utilisation at less than 16 bits not used: against which peak is not said")
            return None
        if reported is not None:
            return reported * share
        return self._counted(executed * share, executed=True) if executed is not None else None

    def _counted(self, mfu: float, *, executed: bool) -> float | None:
        """Without the recomputed pass, where `executed` FLOPs were counted."""
        if not executed:
            return mfu
        if self._recompute is None:
            self._note("executed FLOPs not used: how much was recomputed is not said")
            return None
        return mfu / EXECUTED if self._recompute is Recompute.FULL else mfu

    def _row_peak(self) -> float:
        return self._cells.number("peak16_tflops") or self._peak16
