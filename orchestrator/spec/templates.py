"""Commented examples of job files, one of each kind, as `isoflop init` writes them."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from orchestrator.domain.errors import UserError
from orchestrator.domain.workload import BatchInference, FineTune, Inference, Training

KINDS: tuple[str, ...] = (Training.KIND, FineTune.KIND, Inference.KIND, BatchInference.KIND)
FOLDER = Path(__file__).parent / "data" / "templates"


def kind_named(word: str) -> str:
    """The kind that `word` means, whatever its case, dashes and underscores: `fine-tune` is FineTune.

    Raises: UserError for a word that is no kind, naming the nearest.
    """
    folded = {_folded(known): known for known in KINDS}
    asked = _folded(word)
    if asked in folded:
        return folded[asked]
    near = get_close_matches(asked[:64], folded, n=1)
    mean = f"did you mean {folded[near[0]]}? " if near else ""
    raise UserError(f"{word!r} is not a kind of job ({mean}expected one of {', '.join(KINDS)})")


def template(kind: str) -> str:
    """The example of a kind, in YAML that loads. Raises: as `kind_named`."""
    return (FOLDER / f"{kind_named(kind)}.yaml").read_text(encoding="utf-8")


def _folded(word: str) -> str:
    return word.casefold().replace("-", "").replace("_", "")
