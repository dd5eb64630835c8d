"""The model of a row: what the row says of it, completed from a table of shapes where the two agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.consistency import Contradicted
from orchestrator.domain.workload import Model
from orchestrator.spec.history.cells import Cells

SAME_SIZE = 0.1  # of the parameters: a model whose count is further off is another one of a like name
GATED = {"1": True, "0": False, "true": True, "false": False, "yes": True, "no": False}
SOURCE = "row"

Find = Callable[[str], Model | None]


def finder(own: Mapping[str, Model], known: Find) -> Find:
    """Looks a name up among the user's `own` shapes, by folded name and completed from the `known` ones, then there."""

    def find(name: str) -> Model | None:
        mine, theirs = own.get(name.casefold()), known(name)
        if mine is None or theirs is None:
            return mine or theirs
        if not _same(theirs, mine.parameters / 1e9, mine.layers, mine.hidden):
            return mine
        try:
            return replace(
                mine,
                experts=theirs.experts,
                experts_per_token=theirs.experts_per_token,
                context_length=theirs.context_length,
            )
        except Contradicted:
            return mine

    return find


def model_of(cells: Cells, find: Find) -> Model | None:
    """The row's model; None, with the faults noted, where its size is not known or contradicts itself.

    What the row says goes first. The shape is completed from the table only where the row's parameters are within a
    tenth of the table's, its layers and width, if it gives them, are the same, and nothing contradicts the row.
    """
    name = cells.text("model")
    billions, active_billions = cells.number("params_b"), cells.number("active_b")
    layers, hidden = cells.whole("layers"), cells.whole("d_model")
    if cells.faults:
        return None
    known = find(name) if name else None
    if known is not None and not _same(known, billions, layers, hidden):
        known = None
    if billions is None and known is None:
        problem = f"{name[:40]!r} is no model we know" if name else "no model is named"
        cells.fault("params_b" if name else "model", f"{problem}: give params_b")
        return None
    if known is not None:
        completed = _completed(known, billions, active_billions, layers, hidden)
        if completed is not None or billions is None:
            if completed is None:
                cells.fault("active_b", f"{active_billions:g}e9 active parameters are not those of {known.name}")
            return completed
    parameters = (billions or 0.0) * 1e9
    active = parameters if active_billions is None else active_billions * 1e9
    if active > parameters * 1.001:
        cells.fault("active_b", f"{active:.4g} active of {parameters:.4g} parameters")
        return None
    return Model(
        name=name or "unnamed",
        parameters=parameters,
        active_parameters=min(active, parameters),
        layers=layers,
        hidden=hidden,
        source=SOURCE,
    )


def _completed(
    known: Model, billions: float | None, active_billions: float | None, layers: int | None, hidden: int | None
) -> Model | None:
    """The known model with the row's numbers, or None where they contradict it."""
    share = known.active_parameters / known.parameters
    parameters = known.parameters if billions is None else billions * 1e9
    active = parameters * share if active_billions is None else active_billions * 1e9
    if active > parameters * 1.001:
        return None
    try:
        return replace(
            known,
            parameters=parameters,
            active_parameters=min(active, parameters),
            layers=layers or known.layers,
            hidden=hidden or known.hidden,
        )
    except Contradicted:
        return None


def shape_of(cells: Cells) -> Model | None:
    """The model that a row of model shapes describes; None, with the faults noted, where it is none."""
    name, billions, active = cells.text("model"), cells.number("params_b"), cells.number("active_b")
    whole = {column: cells.whole(column) for column in ("layers", "d_model", "heads", "kv_heads", "head_dim")}
    ffn, vocabulary, gated = cells.whole("ffn"), cells.whole("vocab"), cells.word("gated", GATED)
    for column, value in (("model", name), ("params_b", billions)):
        if not value and not cells.faults:
            cells.fault(column, "empty")
    if cells.faults or billions is None:
        return None
    try:
        return Model(
            name=name,
            parameters=billions * 1e9,
            active_parameters=(active or billions) * 1e9,
            layers=whole["layers"],
            hidden=whole["d_model"],
            heads=whole["heads"],
            kv_heads=whole["kv_heads"],
            head_dim=whole["head_dim"],
            vocabulary=vocabulary,
            feed_forward=ffn,
            gated=gated,
            source="your table of model shapes",
        )
    except Contradicted as error:
        cells.fault("", str(error))
        return None


def _same(known: Model, billions: float | None, layers: int | None, hidden: int | None) -> bool:
    return (
        (billions is None or abs(billions * 1e9 / known.parameters - 1.0) <= SAME_SIZE)
        and (layers is None or known.layers in {None, layers})
        and (hidden is None or known.hidden in {None, hidden})
    )
