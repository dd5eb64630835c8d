"""Write what the tables of grids and providers say of every place into the last two columns of `places.csv`.

    .venv/bin/python scripts/fill_places.py

A plan reads one table instead of four; run it after any change of those tables (a test compares).
"""

from __future__ import annotations

import csv

from orchestrator.catalog import grid, places
from orchestrator.catalog.tables import FOLDER, rows

FIELDS = ("key", "latitude", "longitude", "country", "where", "g_per_kwh", "pue")


def main() -> None:
    """Rewrite the file in place, rows in their order."""
    found = {place.key: place for place in places.load()}
    table = rows("places.csv")
    for row in table:
        intensity, pue = grid.intensity(found[row["key"]]), grid.pue(row["key"].partition("/")[0])
        row["g_per_kwh"] = "" if intensity is None else f"{intensity.value:g}"
        row["pue"] = "" if pue is None or "/" not in row["key"] else f"{pue.value:g}"
    with (FOLDER / "places.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
