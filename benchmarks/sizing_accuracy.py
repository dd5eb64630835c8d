"""How far the sizing is from published runs, beside two baselines and beside fits that never saw the run.

    python benchmarks/sizing_accuracy.py [FILE...] [--folds 8] [--generations] [--json]

Baselines: training at a constant 30 % of the 16-bit peak; for inference a roofline without overheads, decode = bytes
over bandwidth and prefill = 2·N·tokens over peak. The last columns are of held-out rows: families of runs are dealt
into folds, the numbers are fitted again without one fold at a time, and its rows are predicted with them (`--folds 0`
leaves out one family at a time, in some minutes). The released numbers come from all rows, so that the difference is
what they over-fit. Without files it reads `../shared/data/sizing` beside the repository, and says so where there is
none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from fit_sizing import DATA, fit, observed

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Band
from orchestrator.sizing.accuracy import Answer, Judged, Prediction, Quantity, Score, judge, score
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.sizing.memory import kv_bytes_per_token
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.sizing.parameters import Parameters, bundled
from orchestrator.sizing.predict import predict_inference, predict_training
from orchestrator.sizing.shape import shape_of

FILES = ("training_runs.csv", "inference_runs.csv", "model_arch.csv")
CONSTANT_MFU = 0.3
KINDS = ("whole runs", "benchmarks")
GIB = 2**30
# The most that the median error may be on rows nobody fitted to; None is no goal.
TARGETS = {
    Quantity.TRAINING_TIME: 0.15,
    Quantity.STEP_TIME: 0.08,
    Quantity.THROUGHPUT: 0.08,
    Quantity.TPOT: 0.10,
    Quantity.TTFT_ONE: 0.15,
    Quantity.TTFT_LOAD: 0.28,
}

Run: TypeAlias = TrainingRun | InferenceRun


@dataclass(frozen=True, slots=True)
class Row:
    """The scores of one quantity, or of the part of its rows that `part` names: as released, baseline, held out."""

    part: str
    ours: Score
    baseline: Score
    held_out: Score | None
    target: float | None

    @property
    def met(self) -> bool:
        """Whether the median error of the released numbers is within its target, and below the baseline's."""
        within = self.target is None or self.ours.median_error <= self.target
        return within and self.ours.median_error < self.baseline.median_error


def main() -> None:
    """Judge, print the table, and exit 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--folds", type=int, default=8, help="0 leaves out one family at a time, -1 none")
    parser.add_argument("--generations", action="store_true", help="a row per generation of devices too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    paths = options.files or [DATA / name for name in FILES]
    if not all(path.exists() for path in paths):
        print(f"no published runs at {paths[0].parent}: there is nothing to compare with", file=sys.stderr)
        return
    training, inference = observed(paths)
    rows = compare(training, inference, folds=options.folds, generations=options.generations)
    if options.json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=2))
    else:
        show(rows)
    sys.exit(0 if all(row.met for row in rows if not row.part) else 1)


def compare(
    training: Sequence[TrainingRun], inference: Sequence[InferenceRun], *, folds: int, generations: bool
) -> list[Row]:
    """Every row of the table."""
    runs: list[Run] = [*training, *inference]
    ours, others = verdict(runs, bundled()), baseline(runs)
    unseen = held_out(training, inference, folds) if folds >= 0 else []
    whole = {run.id for run in training if not run.benchmark}
    rows = []
    for quantity in Quantity:
        for part in parts([row for row in ours if row.quantity is quantity], generations=generations):

            def of(judged: Iterable[Judged], quantity: Quantity = quantity, part: str = part) -> Score | None:
                some = [row for row in judged if row.quantity is quantity and belongs(row, part, whole)]
                return score(some) if some else None

            mine, theirs = of(ours), of(others)
            if mine is not None and theirs is not None:
                rows.append(Row(part, mine, theirs, of(unseen), None if part else TARGETS.get(quantity)))
    return rows


def parts(judged: Sequence[Judged], *, generations: bool) -> tuple[str, ...]:
    """What the rows of one quantity are shown by: all of them first."""
    kinds = KINDS if judged and judged[0].quantity is Quantity.TRAINING_TIME else ()
    return ("", *kinds, *sorted({row.generation for row in judged} if generations else ()))


def belongs(row: Judged, part: str, whole: Container[str]) -> bool:
    """Whether a judged row is of a part; `whole` holds the ids of whole runs."""
    if part in KINDS:
        return (row.run_id in whole) == (part == KINDS[0])
    return part in {"", row.generation}


def verdict(runs: Sequence[Run], parameters: Parameters) -> tuple[Judged, ...]:
    """The predictions of all runs with these numbers."""
    found = judge(runs, devices(), parameters, training=predict_training, inference=predict_inference)
    for position, reason in found.refused:
        print(f"{runs[position].id}: not judged: {reason}", file=sys.stderr)
    return found.judged


def held_out(training: Sequence[TrainingRun], inference: Sequence[InferenceRun], folds: int) -> list[Judged]:
    """Every run predicted with numbers that were fitted without its fold of families."""
    found: list[Judged] = []
    for fold in dealt([run.family for run in training], folds):
        rest = [run for run in training if run.family not in fold]
        found += verdict([run for run in training if run.family in fold], fit(rest, ()))
    for fold in dealt([run.family for run in inference], folds):
        kept = [run for run in inference if run.family not in fold]
        found += verdict([run for run in inference if run.family in fold], fit((), kept))
    return found


def dealt(families: Sequence[str], folds: int) -> list[frozenset[str]]:
    """The families in so many folds of about as many rows, or each by itself where `folds` is 0."""
    sizes = Counter(families)
    if not folds:
        return [frozenset({family}) for family in sizes]
    piles: list[list[str]] = [[] for _ in range(min(folds, len(sizes)))]
    for family, _ in sizes.most_common():
        min(piles, key=lambda pile: sum(sizes[each] for each in pile)).append(family)
    return [frozenset(pile) for pile in piles]


def baseline(runs: Sequence[Run]) -> tuple[Judged, ...]:
    """The same observations beside the baselines' answers, which have no bands."""
    return judge(runs, devices(), bundled(), training=constant_mfu, inference=roofline).judged


def constant_mfu(run: TrainingRun, device: Accelerator, parameters: Parameters) -> Answer:
    """6·N·D at 30 % of the 16-bit peak, whatever the run."""
    ours = predict_training(run, device, parameters)
    if not isinstance(ours, tuple):
        return ours
    seconds = run.flops / (run.peak16_tflops * 1e12 * CONSTANT_MFU)
    value = seconds * 1e6 if run.benchmark else seconds / 3600.0
    return tuple(at(each, value) for each in ours)


def roofline(run: InferenceRun, device: Accelerator, parameters: Parameters) -> Answer:
    """Bytes over bandwidth for a step, 2·N·tokens over peak for a prompt, and nothing else."""
    ours = predict_inference(run, device, parameters)
    if not isinstance(ours, tuple):
        return ours
    shape, _ = shape_of(run.model)
    weights = run.model.parameters * (run.weight_bytes or BYTES[run.weights])
    per_token = kv_bytes_per_token(shape, run.kv)
    room = run.devices * device.memory_gib * GIB - weights
    held = run.concurrency or max(1.0, room / (per_token * (run.prompt_tokens + run.output_tokens)))
    context = run.prompt_tokens + run.output_tokens / 2.0
    bandwidth = run.devices * device.memory_bandwidth_gb_s * 1e9
    step_s = (weights + held * context * per_token) / bandwidth
    peak = device.peak(run.weights) or device.peak(Precision.BF16) or device.peak(Precision.FP16) or 1.0
    prefill_s = 2.0 * run.model.active_parameters * run.prompt_tokens / (run.devices * peak * 1e12)
    value: Mapping[Quantity, float] = {
        Quantity.TPOT: step_s,
        Quantity.TTFT_ONE: prefill_s,
        Quantity.TTFT_LOAD: prefill_s,
        Quantity.THROUGHPUT: held / (step_s + held * prefill_s / run.output_tokens),
        Quantity.LATENCY: held * prefill_s + run.output_tokens * step_s,
    }
    return tuple(at(each, value[each.quantity]) for each in ours)


def at(prediction: Prediction, value: float) -> Prediction:
    """The same observation beside another answer."""
    return Prediction(quantity=prediction.quantity, true=prediction.true, predicted=Band(value, value, value))


def devices() -> dict[str, Accelerator]:
    """The accelerator table by name."""
    return {device.name: device for device in load()}


def show(rows: Sequence[Row]) -> None:
    """The table."""
    print(
        f"{'median error of':37} {'rows':>5} {'median':>7} {'p90':>6} {'bias':>7} {'<25 %':>6} {'band':>6} "
        f"{'baseline':>9} {'ratio':>6}   {'held out':>8} {'<25 %':>6} {'band':>6} {'target':>7}"
    )
    for row in rows:
        name = f"  {row.part}" if row.part else row.ours.quantity.value
        ours, other = row.ours, row.baseline.median_error
        figures = (
            f"{ours.n:5} {ours.median_error:7.1%} {ours.p90_error:6.0%} {ours.bias:+7.1%} {ours.near:6.0%} "
            f"{ours.covered:6.0%} {other:9.1%} {ours.median_error / other if other else float('inf'):5.2f}x"
        )
        unseen = row.held_out
        apart = f"{unseen.median_error:8.1%} {unseen.near:6.0%} {unseen.covered:6.0%}" if unseen else " " * 22
        goal = "" if row.part else f"{row.target:7.0%} " if row.target else " " * 8
        print(f"{name:37} {figures}   {apart} {goal}{'' if row.part else 'met' if row.met else 'MISSED'}")


if __name__ == "__main__":
    main()
