"""Device: which entry of the accelerator table is at hand, and what a product and a copy reach on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from orchestrator.catalog.accelerators import canonical
from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Assumption
from orchestrator.measure.bench import Bench, Job, OutOfMemory, Seen
from orchestrator.measure.cases import CPU, Rates
from orchestrator.measure.repeats import Repeats, Watch

PRODUCT_GPU: Final = (8192, 4)  # rows of the square matrices, products of one step
PRODUCT_CPU: Final = (2048, 1)
COPY_GPU: Final = (2**30, 8)  # bytes, copies of one step
COPY_CPU: Final = (2**28, 1)  # larger than caches
MOST_REPEATS: Final = 12
MOST_LOAD: Final = 0.25  # of other work per thread; beside more, PyTorch's threads wait for each other
SIXTEEN_BITS: Final = (Precision.BF16, Precision.FP16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The accelerator at hand; `rates` is None where there was no time to measure it."""

    accelerator: Accelerator
    rates: Rates | None
    shares: tuple[Assumption, ...]
    notes: tuple[str, ...]

    @property
    def peak16_tflops(self) -> float:
        """What MFU is counted against: the 16-bit peak, or of a CPU without one, that of FP32."""
        peaks = (self.accelerator.peak(precision) for precision in (*SIXTEEN_BITS, Precision.FP32))
        return next(peak for peak in peaks if peak)


def look(bench: Bench, seen: Seen, devices: Sequence[Accelerator], watch: Watch, *, share_s: float) -> Device:
    """Multiply and copy for about `share_s` seconds each, and find the device among `devices` by its name.

    A device of the table keeps the table's figures, and what was reached is a share of them; a CPU or a device that the
    table does not know is described by what was measured. The quickest repeat counts: other work only slows it down.
    """
    cpu = seen.backend == CPU
    size, products = PRODUCT_CPU if cpu else PRODUCT_GPU
    size_bytes, copies = COPY_CPU if cpu else COPY_GPU
    notes: list[str] = []
    tflops: dict[Precision, float] = {}
    for precision in seen.precisions:
        timed = _timed(partial(bench.product, precision, size, products), watch, share_s, notes)
        if timed is not None:
            tflops[precision] = 2.0 * size**3 * products / timed.quickest_s / 1e12
    timed = _timed(partial(bench.copy, size_bytes, copies), watch, share_s, notes)
    copy_gb_s = 2.0 * size_bytes * copies / timed.quickest_s / 1e9 if timed is not None else None
    accelerator, known = _entry(seen, devices, tflops, copy_gb_s)
    shares = _shares(accelerator, tflops, copy_gb_s) if known else ()
    notes = [*_described(seen, accelerator, known), *_reached(size, tflops, copy_gb_s, shares), *notes]
    rates = None
    if tflops and copy_gb_s:
        first = tflops.get(seen.precisions[0], max(tflops.values()))
        rates = Rates(flop_per_s=first * 1e12, bytes_per_s=copy_gb_s * 1e9)
    return Device(accelerator=accelerator, rates=rates, shares=shares, notes=tuple(notes))


def _timed(make: Callable[[], Job], watch: Watch, share_s: float, notes: list[str]) -> Repeats | None:
    try:
        job = make()
        try:
            repeats = watch.repeat(job.step, most=MOST_REPEATS, share_s=share_s)
        finally:
            job.close()
    except OutOfMemory as error:
        notes.append(f"no room for the matrices of a product or a copy: {error}")
        return None
    if repeats is not None and not repeats.steady:
        notes.append(f"a product or a copy took between 1 and {repeats.spread:.1f} times as long: other load, or heat")
    return repeats


def _entry(
    seen: Seen, devices: Sequence[Accelerator], tflops: dict[Precision, float], copy_gb_s: float | None
) -> tuple[Accelerator, bool]:
    """The device's entry among `devices`, or one made of what was measured; and which of the two it is."""
    cpu = seen.backend == CPU
    name = CPU if cpu else canonical(seen.name, seen.memory_gib)
    for device in devices:
        if device.name == name and (cpu or any(device.peak(precision) for precision in SIXTEEN_BITS)):
            return device, True
    measured = Accelerator(
        name=name or re.sub(r"[^A-Za-z0-9.]+", "-", seen.name).strip("-"),
        vendor=CPU if cpu else seen.name.split()[0],
        memory_gib=round(seen.memory_gib, 2),
        memory_bandwidth_gb_s=copy_gb_s or 0.0,
        peak_tflops=tuple((precision, tflops[precision]) for precision in Precision if precision in tflops),
        tdp_w=0.0,
        generation=CPU if cpu else "",
        source=f"measured on this machine with {seen.framework}: products and copies, not a data sheet",
    )
    return measured, False


def _shares(
    accelerator: Accelerator, tflops: dict[Precision, float], copy_gb_s: float | None
) -> tuple[Assumption, ...]:
    found: list[Assumption] = []
    for precision, reached in tflops.items():
        peak = accelerator.peak(precision)
        if peak:
            origin = f"measured: {reached:,.4g} of {peak:,.4g} TFLOP/s in products of large square matrices"
            found.append(Assumption(f"matmul_share.{precision}", reached / peak, origin))
    if copy_gb_s and accelerator.memory_bandwidth_gb_s:
        peak = accelerator.memory_bandwidth_gb_s
        origin = f"measured: {copy_gb_s:,.4g} of {peak:,.4g} GB/s in large copies, bytes read plus bytes written"
        found.append(Assumption("copy_share", copy_gb_s / peak, origin))
    return tuple(found)


def _described(seen: Seen, accelerator: Accelerator, known: bool) -> list[str]:
    threads = f", {seen.threads} threads" if seen.threads else ""
    about = f"{seen.name} ({seen.backend}, {seen.memory_gib:,.1f} GiB{threads}) with {seen.framework}"
    if known:
        lines = [f"{about}: {accelerator.name} of the accelerator table"]
    elif seen.backend == CPU:
        lines = [f"{about}: its peak is what a product reached"]
    else:
        lines = [f"{about}: not in the accelerator table; its peaks are what was measured, so shares of them are high"]
    if seen.backend != CPU and seen.free_gib < 0.9 * seen.memory_gib:
        lines.append(f"only {seen.free_gib:,.1f} GiB were free: something else uses the device, and may slow it down")
    if seen.load > MOST_LOAD:
        lines.append(
            f"the machine was busy before this ({seen.load:.1f} processes for each thread): every figure is too low,"
            " measure again when it is idle"
        )
    return lines


def _reached(
    size: int, tflops: dict[Precision, float], copy_gb_s: float | None, shares: tuple[Assumption, ...]
) -> list[str]:
    share = {each.name: each.value for each in shares}
    lines = [
        f"product of {size:,} x {size:,} in {precision}: {reached:,.4g} TFLOP/s"
        + _percent(share.get(f"matmul_share.{precision}"))
        for precision, reached in tflops.items()
    ]
    if copy_gb_s:
        lines.append(f"copy in memory: {copy_gb_s:,.4g} GB/s read and written{_percent(share.get('copy_share'))}")
    return lines


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    more = ": more than it should be able to, so the table's entry may be another device's" if share > 1.05 else ""
    return f", {share:.0%} of the peak{more}"
