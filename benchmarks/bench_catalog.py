"""How fast prices come in: imports of 50 000 rows in three formats, and refreshes of 5 000 offers with their history.

    python benchmarks/bench_catalog.py [--json] [--rows N]

The baseline of an import is a loop of Python's own `csv.DictReader` over the same file that reads every row and does
nothing with it: no number is parsed, no device named, no row checked, nothing sorted. The baseline of a refresh is
writing the same book to disk, without comparing it with the one before or keeping a history. The rows are drawn with a
fixed seed over the instance types, places and devices of the bundled price book; every price is its own. Times are
CPU seconds of this process, the best of several; both sides of a ratio are measured in turn.

Exit code 1 where a goal is missed: 50 000 rows of a catalogue in at most 1.5 s of CPU and 8 times the baseline, an
answer kept in at most 0.15 s, and the market after it read no slower than the price book.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orchestrator.catalog import cache, history, intake, market, pricebook, refreshed
from orchestrator.catalog.changes import last_changes
from orchestrator.catalog.importer import BadRows
from orchestrator.catalog.intake import Wishes
from orchestrator.catalog.refreshed import Refreshed
from orchestrator.domain.offerbook import OfferBook, Words
from orchestrator.testing.clock import EPOCH

ROWS, OFFERS, LOOKS = 50_000, 5_000, 365
REPEATS = 3
GOAL_S, GOAL_RATIO, GOAL_REFRESH_S = 1.5, 8.0, 0.15
MOVED = 0.3  # share of the prices that differ from one look to the next, as on a spot market
OURS = "provider,region,zone,instance_type,gpu,gpu_count,gpu_mem_gib,vcpu,mem_gib,on_demand,spot,od_source,od_as_of"
GPUHUNT = (
    "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags,cpu_arch,"
    "provider_data"
)
SKYPILOT = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch"
)
DEVICES = (("H100", 80), ("A100", 40), ("A100", 80), ("L4", 24), ("T4", 16), ("H200", 141), ("MI300X", 192))


class Figure(NamedTuple):
    """One measurement beside its baseline, both in seconds of CPU."""

    name: str
    ours_s: float
    baseline: str
    baseline_s: float
    met: bool


def cpu_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least CPU time of several runs."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def rows(count: int, form: str, chance: np.random.Generator) -> list[str]:
    """Lines of a catalogue in one of the formats, each another machine in another place at its own price."""
    prices = np.round(chance.uniform(0.5, 40.0, count), 4).tolist()
    lines = []
    for number, price in enumerate(prices):
        (gpu, gib), gpus = DEVICES[number % len(DEVICES)], 2 ** (number % 4)
        kind, region = f"m{number // 120}.{gpus}x", f"region-{number % 30}"
        zone = f"{region}{'abcd'[number // 30 % 4]}"
        if form == "ours":
            lines.append(f"aws,{region},{zone},{kind},{gpu},{gpus},{gib},96,1152,{price},{price / 2},list,2026-11-01")
        elif form == "gpuhunt":
            lines.append(f'{kind},{zone},{price},96,1152,{gpus},{gpu},{gib},{number % 2 == 1},,nvidia,,x86,"{{}}"')
        else:
            facts = {"Gpus": [{"Name": gpu, "Count": float(gpus), "MemoryInfo": {"SizeInMiB": gib * 1024}}]}
            lines.append(f'{kind},{gpu},{gpus}.0,96.0,1152.0,"{facts}",{price},{price / 2},{region},{zone},x86_64')
    return lines


def imports(folder: Path, count: int, chance: np.random.Generator) -> list[Figure]:
    """Every format against reading alone."""
    figures = []
    for form, header in (("ours", OURS), ("gpuhunt", GPUHUNT), ("skypilot", SKYPILOT)):
        path = folder / form / "aws.csv"
        path.parent.mkdir()
        path.write_text("\n".join([header, *rows(count, form, chance)]) + "\n")
        wishes = Wishes(on_bad=BadRows.REFUSE, as_of=EPOCH)
        report = intake.read(path, wishes)
        if report.good != count:
            raise SystemExit(f"{form}: {report.good} of {count} rows are good: {report.bad[:3]}")
        ours, baseline = cpu_s(partial(intake.read, path, wishes)), cpu_s(partial(read_only, path))
        met = form == "ours" or (ours <= GOAL_S * count / ROWS and ours / baseline <= GOAL_RATIO)
        name = f"import {count:,} rows, {report.formats[0]}, {report.offers:,} offers"
        figures.append(Figure(name, ours, "csv.DictReader loop, reading only", baseline, met))
    return figures


def read_only(path: Path) -> int:
    """The baseline: every row as a dictionary, and nothing done with it."""
    with path.open(newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def look(offers: int) -> OfferBook:
    """A provider's answer: the bundled book's offers under one name, in more regions."""
    book = OfferBook.merge([pricebook.load()])
    copies = -(-offers // len(book))
    parts = []
    for number in range(copies):
        columns = book.columns()
        columns["provider"] = Words(np.zeros(len(book), np.int32), ("acme",))
        region = Words.encode([f"{word}-{number}" for word in book.region.vocab])
        columns["region"] = Words(region.codes[book.region.codes], region.vocab)
        parts.append(OfferBook.from_columns(columns))
    return OfferBook.merge(parts).take(np.arange(offers))


def moved(book: OfferBook, chance: np.random.Generator) -> OfferBook:
    """The same offers, a share of them at other prices."""
    columns = book.columns()
    factor = np.where(chance.random(len(book)) < MOVED, chance.uniform(0.8, 1.25, len(book)), 1.0)
    columns["usd_per_hour"] = book.usd_per_hour * factor
    return OfferBook.from_columns(columns)


def refreshes(folder: Path, chance: np.random.Generator) -> tuple[list[Figure], dict[str, float]]:
    """What keeping an answer costs, with its history, at the end of a year of daily refreshes; and that history."""
    book = look(OFFERS)
    looks = [moved(book, chance) for _ in range(8)]
    source = "live-acme"
    known = history.empty()
    for day in range(LOOKS):
        known = history.added(known, looks[day % len(looks)], EPOCH + timedelta(days=day))
    history.record(folder, source, looks[0], EPOCH)
    path = folder / history.FOLDER / f"{source}{history.SUFFIX}"
    path.write_bytes(b"".join(history._encode(known)))
    turn = iter(range(10_000))

    def keep() -> None:
        number = next(turn)
        now = EPOCH + timedelta(days=LOOKS + number)
        told = Refreshed(provider="acme", book=looks[number % len(looks)], at=now, everything=True)
        refreshed.store(folder, refreshed.brought_up(refreshed.last(folder, "acme"), told))
        last_changes(source, history.record(folder, source, told.book, now))

    plain = folder / "plain.offers"
    ours, baseline = cpu_s(keep), cpu_s(lambda: cache.write(plain, looks[0], {}))
    figures = [
        Figure(
            f"keep {OFFERS:,} offers, {MOVED:.0%} at a new price",
            ours,
            "writing the book",
            baseline,
            ours <= GOAL_REFRESH_S,
        )
    ]
    merged, bundled = cpu_s(lambda: fresh_market(folder)), cpu_s(pricebook.load)
    figures.append(Figure("the market after a refresh, merged anew", merged, "reading the price book", bundled, True))
    kept = cpu_s(lambda: market.read(folder, pricebook.CURRENT))
    figures.append(Figure("the market after that", kept, "reading the price book", bundled, kept <= bundled))
    return figures, {"history_mb": path.stat().st_size / 1e6, "history_changes": float(len(known))}


def fresh_market(folder: Path) -> OfferBook:
    """The market without the merge that is kept."""
    for path in folder.glob(".*.offers"):
        path.unlink()
    return market.read(folder, pricebook.CURRENT)


def main() -> int:
    """Measure, print, and say whether the goals were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    chance = np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        figures = imports(Path(folder), asked.rows, chance)
        more, kept = refreshes(Path(folder), chance)
    figures += more
    if asked.json:
        print(json.dumps({"figures": [figure._asdict() for figure in figures], **kept}))
    else:
        for figure in figures:
            ratio = figure.ours_s / figure.baseline_s
            verdict = "" if figure.met else "  MISSED"
            print(f"{figure.name:60} {figure.ours_s * 1e3:8.1f} ms {ratio:7.2f}x {figure.baseline}{verdict}")
        print(f"history of {LOOKS} looks: {kept['history_changes']:,.0f} changes, {kept['history_mb']:.1f} MB")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
