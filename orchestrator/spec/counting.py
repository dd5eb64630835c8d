"""Counting: how many parameters a transformer's shape makes, against how many it is said to have."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from orchestrator.domain.consistency import Contradiction
from orchestrator.domain.workload import Model

LARGEST_VOCABULARY = 300_000.0  # of published models; where the vocabulary is not given
MISFIT = 3.0  # times: shared experts, dense layers between sparse ones and a second stack stay below


def counted(model: Model, *, tied: bool, chosen: bool = False) -> float | None:
    """Parameters of a decoder of this shape; None where the shape is not whole.

    Embeddings (one matrix if `tied`, else two), attention with grouped queries, feed-forward networks (of a mixture
    all experts and the router, or the `chosen` ones alone) and norms: V·h·(1 or 2) + L·(h·d·(2·a + 2·k) + m·h·f·E +
    h·E + 2·h), with m = 3 matrices where it is gated and 2 where not. Leaves out biases, positions, shared experts,
    dense layers among sparse ones, and what latent attention does otherwise.
    """
    layers, hidden, vocabulary, wide, gated = (
        *(model.layers, model.hidden, model.vocabulary),
        *(model.feed_forward, model.gated),
    )
    attention = _attention(model)
    if layers is None or hidden is None or vocabulary is None or wide is None or gated is None or attention is None:
        return None
    experts = model.experts or 1
    used = (model.experts_per_token or 1) if chosen else experts
    forward = (3 if gated else 2) * hidden * wide * used + (hidden * experts if experts > 1 else 0)
    return float(vocabulary * hidden * (1 if tied else 2) + layers * (attention + forward + 2 * hidden))


def misfit(model: Model) -> Iterator[Contradiction]:
    """Parameters that are several times off what the shape makes: a slip in one of them, `7M` for `7B`."""
    attention = _attention(model)
    if model.layers is None or model.hidden is None or attention is None:
        return
    experts, wide = model.experts or 1, model.feed_forward
    matrix = model.hidden * (wide or 0) * experts
    vocabulary = model.vocabulary or LARGEST_VOCABULARY
    least = model.layers * (attention + (3 if model.gated else 2) * matrix)
    most = model.layers * (attention + (2 if model.gated is False else 3) * matrix) + 2.0 * vocabulary * model.hidden
    if wide is None:
        most = inf
    if least / MISFIT <= model.parameters <= most * MISFIT:
        return
    bound = f"at least {least / 1e9:.2g}B" if model.parameters < least else f"at most {most / 1e9:.2g}B"
    message = f"is {model.parameters / 1e9:.3g}B, and layers, hidden and the rest of the shape make {bound}"
    yield Contradiction("parameters", message, "mend the one that is wrong: is a unit or a digit missing?")


def _attention(model: Model) -> int | None:
    """Parameters of one layer's attention: queries and output of all heads, keys and values of the grouped ones."""
    if model.hidden is None or model.heads is None:
        return None
    width = model.head_dim or max(1, model.hidden // model.heads)
    return model.hidden * width * (2 * model.heads + 2 * (model.kv_heads or model.heads))
