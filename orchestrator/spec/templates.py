"""Commented examples of job files, one of each kind, as `isoflop init` writes them."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from orchestrator.domain.errors import UserError
from orchestrator.domain.workload import BatchInference, FineTune, Inference, Training

KINDS: tuple[str, ...] = (Training.KIND, FineTune.KIND, Inference.KIND, BatchInference.KIND)
FOLDER = Path(__file__).parent / "data" / "templates"


def template(kind: str) -> str:
    """The example of a kind, in YAML that loads.

    Raises: UserError for a word that is no kind, naming the nearest.
    """
    folded = {known.lower(): known for known in KINDS}
    known = folded.get(kind.lower())
    if known is None:
        near = get_close_matches(kind.lower()[:64], folded, n=1)
        mean = f"did you mean {folded[near[0]]}? " if near else ""
        raise UserError(f"{kind!r} is not a kind of job ({mean}expected one of {', '.join(KINDS)})")
    return (FOLDER / f"{known}.yaml").read_text(encoding="utf-8")
