"""The model of a row: what the row says of it, completed from a table of shapes where the two agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.workload import Model
from orchestrator.spec.history.cells import Cells

SAME_SIZE = 0.1  # of the parameters: a model whose count is further off is another one of a like name
GATED = {"1": True, "0": False, "true": True, "false": False, "yes": True, "no": False}

Find = Callable[[str], Model | None]


def finder(own: Mapping[str, Model], known: Find) -> Find:
    """Looks a name up among the user's `own` shapes (by folded name), then among the `known` ones."""
    return lambda name: own.get(name.casefold()) or known(name)


def model_of(cells: Cells, find: Find) -> Model | None:
    """The row's model; None, with the faults noted, where its size is not known or contradicts itself.

    What the row says goes first. The shape is completed from the table only where the row's parameters are within a
    tenth of the table's and its layers and width, if it gives them, are the same.
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
        problem = f"{name!r} is no model we know" if name else "no model is named"
        cells.fault("params_b" if name else "model", f"{problem}: give params_b")
        return None
    model = known or Model(name=name or "unnamed", parameters=0.0, active_parameters=0.0, source="row")
    if billions is not None:
        share = model.active_parameters / model.parameters if known is not None else 1.0
        model = replace(model, parameters=billions * 1e9, active_parameters=billions * 1e9 * share)
    if active_billions is not None:
        model = replace(model, active_parameters=active_billions * 1e9)
    if model.active_parameters > model.parameters * 1.001:
        cells.fault("active_b", f"{model.active_parameters:.4g} active of {model.parameters:.4g} parameters")
        return None
    active = min(model.active_parameters, model.parameters)
    return replace(model, active_parameters=active, layers=layers or model.layers, hidden=hidden or model.hidden)


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


def _same(known: Model, billions: float | None, layers: int | None, hidden: int | None) -> bool:
    return (
        (billions is None or abs(billions * 1e9 / known.parameters - 1.0) <= SAME_SIZE)
        and (layers is None or known.layers in {None, layers})
        and (hidden is None or known.hidden in {None, hidden})
    )
