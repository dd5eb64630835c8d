"""The great-circle estimate of round trips and its error, against measured ones.

    python benchmarks/bench_network.py [--folder ../shared/data/network] [--json]

Skyplane's measurements of 2022 (`links.csv.gz`) are what the error band was fitted on; Azure's published medians of May
2026 are held out. Baselines: light in fibre along the great circle, without a detour, and the straight line that fits
Skyplane's logarithms best. "error" is the median of |measured / estimated - 1|, "inside" the share of pairs between the
estimate's 10th and 90th percentile (a fifth should be outside). Exit code 1 where the estimate is not better than light
in fibre, more than 0.02 worse than the best line, or its band holds less than 0.75 or more than 0.85 of the held-out
pairs. Without the data nothing is measured, and the exit code is 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.catalog import places
from orchestrator.domain.network import FIBRE_KM_PER_MS, Place, estimated, great_circle_km
from orchestrator.domain.offerbook import FloatArray
from orchestrator.inventory.link_files import read

ROOT = Path(__file__).resolve().parents[1]
FITTED, HELD_OUT = "links.csv.gz", "azure_latency_matrix_2026-05.csv"
WORSE, LEAST, MOST = 0.02, 0.75, 0.85
BANDS_KM = (0, 500, 1500, 4000, 8000, 12000, 20100)


class Pairs(NamedTuple):
    """Measured round trips with the distance and the estimate, each of shape (n,)."""

    km: FloatArray
    measured: FloatArray
    guess: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, file: Path, known: dict[str, Place]) -> Pairs:
        """The pairs of a table of links whose places are known."""
        links = [link for link in read(file, list(known.values()), "").links if link.rtt_ms > 0]
        ends = [(known[link.a], known[link.b]) for link in links if link.a in known and link.b in known]
        kept = [link.rtt_ms for link in links if link.a in known and link.b in known]
        trips = [estimated(a, b) for a, b in ends]
        columns = (
            [great_circle_km(a, b) for a, b in ends],
            kept,
            [trip.ms for trip in trips],
            [trip.p10_ms or 0.0 for trip in trips],
            [trip.p90_ms or 0.0 for trip in trips],
        )
        return cls(*(np.array(column, np.float64) for column in columns))

    def inside(self) -> FloatArray:
        """1 where the measured round trip is within the band."""
        return ((self.low <= self.measured) & (self.measured <= self.high)).astype(np.float64)


def error(measured: FloatArray, guess: FloatArray) -> float:
    """Median of |measured / estimated - 1|."""
    return float(np.median(np.abs(measured / guess - 1.0)))


def best_line(pairs: Pairs) -> tuple[float, float]:
    """(ms, ms per km) of the line with the least mean |ln(measured / line)|, from a grid."""
    grid = [(base, slope) for base in np.arange(0.5, 20.0, 0.5) for slope in np.arange(0.010, 0.024, 0.0002)]
    loss = [float(np.abs(np.log(pairs.measured / (base + slope * pairs.km))).mean()) for base, slope in grid]
    base, slope = grid[int(np.argmin(loss))]
    return float(base), float(slope)


def rows(name: str, pairs: Pairs, line: tuple[float, float]) -> list[dict[str, object]]:
    """The whole table first, then by distance."""
    found: list[dict[str, object]] = []
    spans = [(0, BANDS_KM[-1]), *pairwise(BANDS_KM)]
    for least, most in spans:
        some = (pairs.km >= least) & (pairs.km < most)
        if some.sum() < 10:
            continue
        km, measured = pairs.km[some], pairs.measured[some]
        ratio = np.quantile(measured / pairs.guess[some], [0.1, 0.5, 0.9])
        found.append(
            {
                "data": name,
                "km": f"{least:,} to {most:,}",
                "pairs": int(some.sum()),
                "error": error(measured, pairs.guess[some]),
                "error, light in fibre": error(measured, np.maximum(2 * km / FIBRE_KM_PER_MS, 0.1)),
                "error, best line": error(measured, line[0] + line[1] * km),
                "p10": float(ratio[0]),
                "p50": float(ratio[1]),
                "p90": float(ratio[2]),
                "inside": float(pairs.inside()[some].mean()),
            }
        )
    return found


def main(argv: list[str]) -> int:
    """Print the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "data" / "network")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    files = [options.folder / name for name in (FITTED, HELD_OUT)]
    if not all(file.exists() for file in files):
        print(f"skipped: no measured round trips at {options.folder}")
        return 0
    known = {place.key: place for place in places.load()}
    fitted, held_out = (Pairs.of(file, known) for file in files)
    line = best_line(fitted)
    table = [*rows("skyplane 2022 (fitted)", fitted, line), *rows("azure 2026 (held out)", held_out, line)]
    wholes = [table[0], next(row for row in table if row["data"] == "azure 2026 (held out)")]
    missed = [
        f"{row['data']}: {goal}"
        for row in wholes
        for goal, kept in (
            ("better than light in fibre", float(str(row["error"])) < float(str(row["error, light in fibre"]))),
            (
                f"within {WORSE} of the best line",
                float(str(row["error"])) <= float(str(row["error, best line"])) + WORSE,
            ),
            (f"{LEAST} to {MOST} inside", LEAST <= float(str(row["inside"])) <= MOST),
        )
        if not kept
    ]
    if options.json:
        print(json.dumps({"best_line": line, "rows": table, "missed": missed}, indent=1))
        return int(bool(missed))
    names = list(table[0])
    shown = [
        [f"{row[name]:.2f}" if isinstance(row[name], float) else str(row[name]) for name in names] for row in table
    ]
    widths = [max(len(text) for text in column) for column in zip(names, *shown, strict=True)]
    for cells in (names, *shown):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)))
    print(f"best line on skyplane: {line[0]:.1f} ms + {1000 * line[1]:.1f} ms per 1000 km")
    print("\n".join(f"MISSED: {goal}" for goal in missed) or "all goals met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
