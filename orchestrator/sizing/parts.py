"""Parts: which of a model's parameters are embedding, attention, feed-forward, experts, norms and output layer."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.domain.sizing import Assumption
from orchestrator.domain.workload import Model
from orchestrator.sizing.shape import Shape, shape_of

USUAL_FEED_FORWARD = 8.0  # h² per layer: two matrices of h x 4h (GPT-3), or three of h x 8h/3 (Llama)
SAID_FROM = 0.02  # of the total: a smaller disagreement is biases, positions and rounding


class Parts(NamedTuple):
    """Parameters by part, which sum to the model's total; floats, as the shape may be an estimate.

    `experts` are the routed ones alone: shared experts and the dense layers of a mixture are in `feed_forward`.
    """

    shape: Shape
    query_width: float  # heads times head width
    embedding: float
    attention: float  # of all layers, as are the next three
    feed_forward: float
    experts: float
    norms: float
    head: float  # 0 where the output layer shares the embedding's matrix
    routed_share: float  # of the experts that one token passes through; 0 without experts
    gated: bool
    assumptions: tuple[Assumption, ...] = ()

    @property
    def total(self) -> float:
        """All of them."""
        return self.embedding + self.attention + self.feed_forward + self.experts + self.norms + self.head

    @property
    def dense(self) -> float:
        """What every layer has but for its routed experts."""
        return self.attention + self.feed_forward + self.norms

    @property
    def feed_forward_plane(self) -> float:
        """Numbers that the feed-forward of one layer makes of one token, over all its matrices: their parameters / h.

        Each matrix of h x f reads or makes a plane of f numbers per token, so 2·f without and 3·f with a gate, and a
        mixture has those of the experts that the token is routed to.
        """
        active = self.feed_forward + self.experts * self.routed_share
        return active / (self.shape.layers * self.shape.hidden)


def parameter_split(model: Model) -> Parts:
    """The parts of `model`.

    Attention follows from the shape: L·h·(2·q + 2·kv) for the widths q of queries and kv of keys. Routed experts follow
    from the totals, which are published more often than widths: A = N - X·(1 - k/E) gives X = (N - A)/(1 - k/E), exact
    where every layer routes alike. The output layer is its own matrix where that leaves the feed-forward nearer to
    what is stated (or usual). The feed-forward is the rest, so that the parts sum to N.
    """
    shape, guessed = shape_of(model)
    layers, hidden = shape.layers, shape.hidden
    query = shape.heads * (model.head_dim or hidden / shape.heads)
    bare = Parts(
        shape=shape,
        query_width=query,
        embedding=shape.vocabulary * hidden,
        attention=layers * 2.0 * hidden * (query + shape.kv_width),
        feed_forward=0.0,
        experts=0.0,
        norms=(2.0 * layers + 1.0) * hidden,
        head=0.0,
        routed_share=0.0,
        gated=model.gated is not False,
        assumptions=guessed,
    )
    if model.active_parameters < model.parameters:
        return _reconciled(model, _mixture(model, bare))
    return _reconciled(model, _with_head(bare, model.parameters, _stated_feed_forward(model, shape)))


def _stated_feed_forward(model: Model, shape: Shape) -> float:
    """Parameters of the dense feed-forward networks as the shape has them, or as they usually are."""
    if not model.feed_forward:
        return shape.layers * USUAL_FEED_FORWARD * shape.hidden**2
    return shape.layers * (2.0 if model.gated is False else 3.0) * shape.hidden * model.feed_forward


def _with_head(parts: Parts, unrouted: float, expected: float) -> Parts:
    """With the output layer and, as the rest of the `unrouted` parameters, the feed-forward."""
    rest = unrouted - parts.embedding - parts.attention - parts.norms
    head = parts.embedding if rest - expected > parts.embedding / 2.0 else 0.0
    return parts._replace(head=head, feed_forward=rest - head)


def _mixture(model: Model, parts: Parts) -> Parts:
    """With routed experts."""
    total, active = model.parameters, model.active_parameters
    if model.experts and model.experts_per_token and model.experts_per_token < model.experts:
        share = model.experts_per_token / model.experts
        experts = (total - active) / (1.0 - share)
        return _with_head(parts._replace(experts=experts, routed_share=share), total - experts, 0.0)
    fixed = 2.0 * parts.embedding + parts.attention + parts.norms
    experts = max(total - fixed, (total - active))
    share = max(0.0, 1.0 - (total - active) / experts)
    note = Assumption(
        "routed_share", share, "all feed-forward is taken as routed experts: the model's experts are not given"
    )
    said = parts._replace(experts=experts, routed_share=share, assumptions=(*parts.assumptions, note))
    return _with_head(said, total - experts, 0.0)


def _reconciled(model: Model, parts: Parts) -> Parts:
    """With parts that are not negative and sum to the total; every part is scaled where the shape says more than N."""
    if parts.feed_forward < 0.0:
        # The experts are certain, so it is attention that is smaller than its widths: latent attention projects
        # through a narrow middle.
        latent = parts.attention + parts.feed_forward
        if parts.experts and latent > 0.0:
            note = (
                "the parameters that experts and embeddings leave: fewer than its widths make, as of latent attention"
            )
            said = Assumption("attention_parameters", latent, note)
            rounding = -parts.feed_forward < SAID_FROM * parts.attention
            notes = parts.assumptions if rounding else (*parts.assumptions, said)
            parts = parts._replace(attention=latent, assumptions=notes)
        parts = parts._replace(feed_forward=0.0)
    factor = model.parameters / parts.total
    if abs(factor - 1.0) > 1e-9:
        parts = parts._replace(
            embedding=parts.embedding * factor,
            attention=parts.attention * factor,
            feed_forward=parts.feed_forward * factor,
            experts=parts.experts * factor,
            norms=parts.norms * factor,
            head=parts.head * factor,
        )
        note = f"the shape makes {1.0 / factor:.2f} times the stated parameters: every part is scaled to their sum"
        if abs(factor - 1.0) > SAID_FROM:
            parts = parts._replace(assumptions=(*parts.assumptions, Assumption("parts_scaled", factor, note)))
    stated = _stated_feed_forward(model, parts.shape)
    off = (parts.feed_forward - stated) / model.parameters
    if model.feed_forward and not parts.experts and abs(off) > SAID_FROM:
        note = (
            f"the stated width makes {stated / 1e9:,.2f}e9 parameters of feed-forward; the rest of the stated total is"
            " used"
        )
        parts = parts._replace(assumptions=(*parts.assumptions, Assumption("feed_forward", parts.feed_forward, note)))
    return parts
