"""The columns of the CSVs of observed runs: which layouts there are, and which one a header is."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.errors import Problem


class Layout(StrEnum):
    """What the rows of a file are."""

    TRAINING = "training runs"
    INFERENCE = "inference runs"
    MODELS = "model shapes"


SHAPE = ("params_b", "active_b", "layers", "d_model")
# What was observed. One such column makes a file of runs, and tells training from inference.
OBSERVED: Mapping[Layout, tuple[str, ...]] = {
    Layout.TRAINING: (
        "gpu_hours",
        "wall_days",
        "tok_s_gpu",
        "mfu_model16",
        "mfu_eff_6nd",
        "mfu_reported",
        "hfu_reported",
        "tflops_gpu_reported",
    ),
    Layout.INFERENCE: ("ttft_ms", "tpot_ms", "out_tok_s", "e2e_latency_ms"),
    Layout.MODELS: ("layers", "d_model"),
}
READ: Mapping[Layout, tuple[str, ...]] = {
    Layout.TRAINING: (
        *("id", "kind", "family", "group", "model", "arch", *SHAPE, "tokens_t", "train_flops_6nd", "flops_reported"),
        *("gpu", "gpu_mem_gib", "n_gpus", "precision", "seq_len", "gbs_tokens_m", "tp", "pp", "dp", "ep"),
        *("micro_batch", "recompute", "flops_basis", "fabric_gbps_per_gpu", "year", "peak16_tflops", "note"),
        *OBSERVED[Layout.TRAINING],
    ),
    Layout.INFERENCE: (
        *("id", "family", "source", "group", "engine", "mode", "model", *SHAPE, "gpu", "gpu_mem_gib", "n_gpus"),
        *("tp", "pp", "weight_prec", "kv_prec", "batch_or_conc", "isl", "osl", "year", *OBSERVED[Layout.INFERENCE]),
    ),
    Layout.MODELS: ("model", *SHAPE, "heads", "kv_heads", "head_dim", "ffn", "gated", "vocab"),
}
# Part of the published layouts, and of no use to a prediction.
UNREAD = (
    *("source", "url", "verif", "quality", "quoted", "derived", "note", "gpu_hours_basis", "gpu_gen"),
    *("energy_mwh", "co2_t"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """Where every column that is read stands; `ignored` says what becomes of the others that no layout has."""

    layout: Layout
    index: Mapping[str, int]
    width: int
    ignored: tuple[str, ...]


def read_header(fields: Sequence[str]) -> Header | Problem:
    """The layout that a header line describes, or what is wrong with it."""
    names = [field.strip().casefold() for field in fields]
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        return Problem(1, 1, "", "the columns are not separated by commas", hint="save the file as comma-separated")
    observed = [kind for kind in (Layout.TRAINING, Layout.INFERENCE) if set(OBSERVED[kind]) & set(names)]
    if len(observed) > 1:
        mixed = ", ".join(name for name in names if any(name in OBSERVED[kind] for kind in observed))
        return Problem(1, 1, "", f"the columns are of training and of inference: {mixed}", hint="use two files")
    layout = observed[0] if observed else Layout.MODELS
    wanted = ("model", *OBSERVED[Layout.MODELS]) if layout is Layout.MODELS else ("gpu",)
    missing = [name for name in wanted if name not in names]
    if missing:
        return _unknown(names) if not observed else _missing(missing[0], names)
    twice = [name for name, count in Counter(names).items() if count > 1 and name in READ[layout]]
    if twice:
        return Problem(1, 1, twice[0], f"the column {twice[0]!r} stands here more than once")
    index = {name: names.index(name) for name in READ[layout] if name in names}
    return Header(layout, index, len(names), _ignored(names, layout))


def _missing(name: str, names: Sequence[str]) -> Problem:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"is {near[0]!r} meant?" if near else "the device's name, such as H100 SXM 80GB"
    return Problem(1, 1, name, f"the column {name!r} is missing", hint=hint)


def _unknown(names: Sequence[str]) -> Problem:
    known = [column for columns in OBSERVED.values() for column in columns]
    near = [(name, match) for name in names for match in difflib.get_close_matches(name, known, n=1, cutoff=0.7)]
    if near:
        return Problem(1, 1, near[0][0], "no column says what was observed", hint=f"is {near[0][1]!r} meant?")
    kinds = (Layout.TRAINING, Layout.INFERENCE)
    hint = "; ".join(f"{kind}: gpu and one of {', '.join(OBSERVED[kind])}" for kind in kinds)
    return Problem(1, 1, "", "the first line is no header of training runs, inference runs or model shapes", hint=hint)


def _ignored(names: Sequence[str], layout: Layout) -> tuple[str, ...]:
    absent = [name for name in READ[layout] if name not in names]
    found = []
    for name in names:
        if not name or name in READ[layout] or name in UNREAD:
            continue
        near = difflib.get_close_matches(name, absent, n=1, cutoff=0.7)
        found.append(f"{name} (is {near[0]} meant?)" if near else name)
    return tuple(found)
