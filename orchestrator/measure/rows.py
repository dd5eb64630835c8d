"""Rows: observed runs written in the layout of `training_runs.csv` and `inference_runs.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.domain.workload import Model
from orchestrator.sizing.observed import InferenceRun, TrainingRun

TRAINING_COLUMNS = (
    *("id", "kind", "family", "model", "arch", "params_b", "active_b", "layers", "d_model", "tokens_t"),
    *("flops_reported", "gpu", "n_gpus", "precision", "seq_len", "gbs_tokens_m", "tp", "pp", "dp", "ep", "recompute"),
    *("tflops_gpu_reported", "flops_basis", "mfu_reported", "hfu_reported", "wall_days", "gpu_hours"),
    *("gpu_hours_basis", "tok_s_gpu", "energy_mwh", "co2_t", "fabric_gbps_per_gpu", "year", "source", "url", "verif"),
    *("quality", "quoted", "derived", "note", "peak16_tflops", "train_flops_6nd", "mfu_eff_6nd", "mfu_model16"),
    *("gpu_gen", "group"),
)
INFERENCE_COLUMNS = (
    *("id", "source", "url", "verif", "engine", "mode", "model", "params_b", "active_b", "gpu", "n_gpus", "tp", "pp"),
    *("weight_prec", "kv_prec", "batch_or_conc", "isl", "osl", "ttft_ms", "tpot_ms", "out_tok_s", "e2e_latency_ms"),
    *("year", "quality", "quoted", "derived", "note", "group"),
)
MEASURED = {"verif": "measured", "quality": "A"}


def training_csv(runs: Iterable[TrainingRun | InferenceRun], *, source: str) -> str:
    """The training runs among `runs` with a heading; the heading alone where there are none."""
    rows = [_training(run, source) for run in runs if isinstance(run, TrainingRun)]
    return _text(TRAINING_COLUMNS, rows)


def inference_csv(runs: Iterable[TrainingRun | InferenceRun], *, source: str) -> str:
    """The inference runs among `runs` with a heading; the heading alone where there are none."""
    rows = [_inference(run, source) for run in runs if isinstance(run, InferenceRun)]
    return _text(INFERENCE_COLUMNS, rows)


def _training(run: TrainingRun, source: str) -> dict[str, object]:
    return {
        **MEASURED,
        **_model(run.model),
        "id": run.id,
        "kind": "bench" if run.benchmark else "run",
        "family": run.family,
        "arch": "encdec" if run.encoder_decoder else ("moe" if run.model.experts else "dense"),
        "layers": run.model.layers,
        "d_model": run.model.hidden,
        "gpu": run.accelerator,
        "n_gpus": run.gpus,
        "precision": run.precision.value,
        "seq_len": run.sequence_length,
        "gbs_tokens_m": _scaled(run.global_batch_tokens, 1e-6),
        "tp": run.tensor,
        "pp": run.pipeline,
        "dp": run.data,
        "ep": run.expert,
        "recompute": run.recompute.value if run.recompute else None,
        "gpu_hours": run.gpu_hours,
        "tok_s_gpu": run.tokens_per_s_per_gpu,
        "fabric_gbps_per_gpu": _scaled(run.fabric_gb_per_s, 8.0),
        "year": run.year,
        "source": source,
        "quoted": "tok_s_gpu",
        "derived": "mfu_model16",
        "note": f"mbs={run.micro_batch}" if run.micro_batch else None,
        "peak16_tflops": run.peak16_tflops,
        "mfu_model16": run.mfu,
        "gpu_gen": run.generation,
        "group": run.group,
    }


def _inference(run: InferenceRun, source: str) -> dict[str, object]:
    return {
        **MEASURED,
        **_model(run.model),
        "id": run.id,
        "source": source,
        "engine": run.engine,
        "mode": run.mode,
        "gpu": run.accelerator,
        "n_gpus": run.devices,
        "tp": run.devices,
        "pp": 1,
        "weight_prec": run.weights.value,
        "kv_prec": run.kv.value,
        "batch_or_conc": run.concurrency,
        "isl": run.prompt_tokens,
        "osl": run.output_tokens,
        "ttft_ms": _scaled(run.ttft_s, 1e3),
        "tpot_ms": _scaled(run.tpot_s, 1e3),
        "out_tok_s": run.output_tokens_per_s,
        "e2e_latency_ms": _scaled(run.latency_s, 1e3),
        "year": run.year,
        "quoted": ";".join(name for name, value in (("ttft_ms", run.ttft_s), ("tpot_ms", run.tpot_s)) if value),
        "derived": "out_tok_s=batch*osl/(prefill+(osl-1)*tpot)" if run.output_tokens_per_s else None,
        "group": run.group,
    }


def _model(model: Model) -> dict[str, object]:
    return {
        "model": model.name,
        "params_b": model.parameters / 1e9,
        "active_b": model.active_parameters / 1e9,
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """One line per row; what is not known is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.10g}"  # a timing has four figures at the most; a peak of a table keeps its own
    return "" if value is None else value
