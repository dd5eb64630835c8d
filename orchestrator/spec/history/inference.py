"""Rows of inference runs: text in, what was served where and how fast out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.workload import Model
from orchestrator.sizing.observed import InferenceRun
from orchestrator.spec.history.cells import Cells
from orchestrator.spec.history.layout import OBSERVED, Layout
from orchestrator.spec.history.shapes import Find, model_of
from orchestrator.spec.history.training import PRECISIONS, Note, Resolve, device_of

SINGLE, CONCURRENT, LARGEST = "single", "conc", "inflight_max"
MODES = {mode: mode for mode in (SINGLE, "static", CONCURRENT, LARGEST, "mlperf_offline")}
FULL = frozenset({LARGEST, "mlperf_offline"})  # as many requests as memory allows
WEIGHTS: Mapping[str, Precision] = MappingProxyType(
    {**PRECISIONS, "int4_q40": Precision.INT4, "int4_q4km": Precision.INT4, "q4_0": Precision.INT4}
    | {"q4_k_m": Precision.INT4, "awq": Precision.INT4, "gptq": Precision.INT4, "w4a16": Precision.INT4}
    | {"q8_0": Precision.INT8, "w8a8": Precision.INT8}
)
# Bytes of one parameter with its scales, where the name says which of several formats of its width it is (llama.cpp's).
WEIGHT_BYTES = {
    **{"int4_q40": 0.5625, "q4_0": 0.5625, "int4_q4km": 0.612, "q4_k_m": 0.612},
    **{"q8_0": 1.0625, "nvfp4": 0.5625},
}


def inference_run(cells: Cells, name: str, find: Find, resolve: Resolve, note: Note) -> InferenceRun | None:
    """The point of a row called `name`; None, with the faults noted in `cells`, where a prediction cannot be judged.

    `note` is told whatever had to be assumed.
    """
    device = device_of(cells, resolve)
    model = model_of(cells, find)
    weights, kv = cells.word("weight_prec", WEIGHTS), cells.word("kv_prec", WEIGHTS)
    mode, concurrency = cells.word("mode", MODES), cells.number("batch_or_conc")
    prompt, output, year = cells.whole("isl"), cells.whole("osl"), cells.whole("year")
    observed = {column: cells.number(column) for column in OBSERVED[Layout.INFERENCE]}
    devices, replicas = _devices(cells, note)
    for column, value, meaning in (("isl", prompt, "prompt"), ("osl", output, "answer")):
        if value is None and not cells.faults:
            cells.fault(column, f"not given: the tokens of the {meaning}")
    if not any(observed.values()) and not cells.faults:
        cells.fault("tpot_ms", f"nothing observed: give one of {', '.join(observed)}")
    if cells.faults or device is None or model is None or prompt is None or output is None:
        return None
    if weights is None:
        note("weight_prec not given: taken as bf16")
    if kv is None:
        note("kv_prec not given: taken as bf16")
    mode = mode or _mode(concurrency, note)
    concurrency = 1.0 if mode == SINGLE and concurrency is None else concurrency
    if mode not in FULL and concurrency is None:
        cells.fault("batch_or_conc", f"not given: requests at once in mode {mode}")
        return None
    return InferenceRun(
        id=name,
        family=cells.text("family") or cells.text("source") or cells.text("engine") or model.name,
        group=cells.text("group") or _group(model, device, mode),
        engine=cells.text("engine"),
        mode=mode,
        model=model,
        accelerator=device.name,
        generation=device.generation,
        devices=devices,
        weights=weights or Precision.BF16,
        weight_bytes=WEIGHT_BYTES.get(cells.text("weight_prec").casefold()),
        kv=kv or Precision.BF16,
        concurrency=concurrency / replicas if concurrency else None,
        prompt_tokens=prompt,
        output_tokens=output,
        year=year,
        ttft_s=_seconds(observed["ttft_ms"]),
        tpot_s=_seconds(observed["tpot_ms"]),
        output_tokens_per_s=observed["out_tok_s"] / replicas if observed["out_tok_s"] else None,
        latency_s=_seconds(observed["e2e_latency_ms"]),
    )


def _devices(cells: Cells, note: Note) -> tuple[int, int]:
    """Devices of one replica, and how many replicas shared the load.

    The degree of parallelism may count cores (two a chip on Inferentia2): the devices are then `n_gpus`.
    """
    devices, tensor, pipeline = cells.whole("n_gpus"), cells.whole("tp"), cells.whole("pp")
    split = (tensor or 1) * (pipeline or 1)
    if devices is None:
        if tensor is None:
            note("n_gpus and tp not given: taken as one device")
        return split, 1
    if tensor is not None and devices > split and devices % split == 0:
        note("n_gpus is a multiple of tp x pp: taken as replicas that share the load evenly")
        return split, devices // split
    return devices, 1


def _mode(concurrency: float | None, note: Note) -> str:
    mode = LARGEST if concurrency is None else (SINGLE if concurrency == 1 else CONCURRENT)
    note(f"mode not given: taken as {mode}, by batch_or_conc")
    return mode


def _group(model: Model, device: Accelerator, mode: str) -> str:
    return f"{model.name}|{device.name}|{mode}"


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1e3 if milliseconds is not None else None
