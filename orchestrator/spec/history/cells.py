"""The cells of one row as checked numbers and words, every fault noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TypeVar

from orchestrator.spec.history.layout import Header

NOTHING = frozenset({"", "-", "?", "n/a", "na", "nan", "none", "null", "unknown"})  # how people write "not known"
Value = TypeVar("Value")

# The most a column may say, and what its unit is. Larger numbers are in another unit, or no measurement at all.
MOST: Mapping[str, tuple[float, str]] = {
    "params_b": (1e5, "1e9 parameters"),
    "active_b": (1e5, "1e9 parameters"),
    "layers": (1e5, "layers"),
    "d_model": (1e7, "the model's width"),
    "heads": (1e6, "attention heads"),
    "kv_heads": (1e6, "key-value heads"),
    "head_dim": (1e6, "the width of a head"),
    "ffn": (1e8, "the feed-forward's width"),
    "vocab": (1e9, "tokens"),
    "tokens_t": (1e5, "1e12 tokens"),
    "train_flops_6nd": (1e32, "FLOP"),
    "flops_reported": (1e32, "FLOP"),
    "gpu_mem_gib": (1e5, "GiB"),
    "n_gpus": (1e8, "devices"),
    "seq_len": (1e9, "tokens"),
    "gbs_tokens_m": (1e6, "1e6 tokens"),
    "tp": (1e6, "devices"),
    "pp": (1e6, "devices"),
    "dp": (1e8, "devices"),
    "ep": (1e6, "devices"),
    "micro_batch": (1e6, "sequences"),
    "fabric_gbps_per_gpu": (1e6, "Gb/s"),
    "year": (2100, "a year"),
    "peak16_tflops": (1e6, "TFLOP/s of one device"),
    "gpu_hours": (1e12, "device-hours"),
    "wall_days": (1e5, "days"),
    "tok_s_gpu": (1e9, "tokens per second of one device"),
    "mfu_model16": (8.0, "a share such as 0.4"),
    "mfu_eff_6nd": (8.0, "a share such as 0.4"),
    "mfu_reported": (1.0, "a share such as 0.4"),
    "hfu_reported": (1.0, "a share such as 0.4"),
    "tflops_gpu_reported": (1e6, "TFLOP/s of one device"),
    "batch_or_conc": (1e7, "requests"),
    "isl": (1e8, "tokens"),
    "osl": (1e8, "tokens"),
    "ttft_ms": (1e9, "ms"),
    "tpot_ms": (1e8, "ms"),
    "out_tok_s": (1e12, "tokens per second"),
    "e2e_latency_ms": (1e10, "ms"),
}
LEAST = 1e-12


class Cells:
    """One row by column; `faults` holds (column, message) of everything that could not be read."""

    def __init__(self, header: Header, fields: Sequence[str]) -> None:
        self._header = header
        self._fields = fields
        self.faults: list[tuple[str, str]] = []
        if len(fields) != header.width:
            self.fault("", f"{len(fields)} fields where the header has {header.width}")
            self._fields = [""] * header.width

    def fault(self, column: str, message: str) -> None:
        """Note that the row cannot be used."""
        self.faults.append((column, message))

    def text(self, column: str) -> str:
        """The words of `column`; empty where nothing is said."""
        position = self._header.index.get(column)
        text = "" if position is None else self._fields[position].strip()
        if not text.isprintable():
            self.fault(column, f"{text[:40]!r} holds bytes that are no UTF-8 text")
            return ""
        return "" if text.casefold() in NOTHING else text

    def note(self, column: str) -> str:
        """The words of a column of remarks, whatever they are."""
        position = self._header.index.get(column)
        return "" if position is None else self._fields[position]

    def number(self, column: str) -> float | None:
        """A number above 0, or None where nothing is said or the cell is at fault."""
        text = self.text(column)
        if not text:
            return None
        try:
            number = float(text) if "_" not in text else float("nan")
        except ValueError:
            number = float("nan")
        most, unit = MOST[column]
        if not isfinite(number):
            self.fault(column, f"{text[:40]!r} is not a number")
        elif number < LEAST:
            self.fault(column, f"{text[:40]} is not above 0")
        elif number > most:
            self.fault(column, f"{text[:40]} is too much: the column holds {unit}")
        else:
            return number
        return None

    def whole(self, column: str) -> int | None:
        """A whole number from 1, or None; "8.0" is 8."""
        number = self.number(column)
        if number is None:
            return None
        if number != round(number):
            self.fault(column, f"{number:g} is not a whole number")
            return None
        return int(number)

    def word(self, column: str, meanings: Mapping[str, Value]) -> Value | None:
        """What the word in `column` means, or None where nothing is said or it means nothing to us."""
        said = self.note(column).strip().casefold()
        if said in meanings:  # "none" says that nothing was recomputed, not that nothing is known
            return meanings[said]
        text = self.text(column)
        if not text:
            return None
        meaning = meanings.get(text.casefold())
        if meaning is None:
            self.fault(column, f"{text[:40]!r} is none of {', '.join(meanings)}")
        return meaning
