"""The data files shipped with the catalogue, read as rows of strings."""

from __future__ import annotations

import csv
from pathlib import Path

FOLDER = Path(__file__).parent / "data"


def rows(name: str) -> list[dict[str, str]]:
    """The rows of the bundled file `name`, each a mapping from column to text.

    Raises: FileNotFoundError or ValueError where the installation is damaged; neither is the user's fault.
    """
    with (FOLDER / name).open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header = next(reader)
        return [dict(zip(header, row, strict=True)) for row in reader if row]
