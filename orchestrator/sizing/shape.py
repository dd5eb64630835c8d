"""Shape: layers and widths of a model, estimated from its size where the user gave only that."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.domain.sizing import Assumption
from orchestrator.domain.workload import Model

WIDTH_PER_LAYER = (
    128.0  # hidden / layers: GPT-3 175B has 12288/96 = 128, Llama 7B 4096/32 = 128, Llama 70B 8192/80 = 102
)
PARAMETERS_PER_LAYER = 12.0  # times hidden squared: 4 for attention, 8 for a feed-forward of four times the width
HEAD_WIDTH = 128.0  # of GPT-3, Llama, Mistral and Qwen alike
VOCABULARY = 128_000.0  # of Llama 3; older models have 32 000 to 50 000, newer ones up to 256 000


class Shape(NamedTuple):
    """What the memory formulas need; floats, because estimates are not rounded: they must grow with the model."""

    layers: float
    hidden: float
    heads: float
    kv_width: float  # KV heads times head width: elements of one key (or value) of one token in one layer
    vocabulary: float


def shape_of(model: Model) -> tuple[Shape, tuple[Assumption, ...]]:
    """The shape of `model`, and an assumption for every number that had to be estimated.

    Layers and width follow N = 12·L·h² (Kaplan et al. 2020) at a width of 128 per layer, from the *active* parameters,
    which for a mixture of experts is nearer to the truth than all of them. KV heads default to one per head: without
    grouped queries the KV cache is an upper bound.
    """
    guessed: list[Assumption] = []
    layers, hidden = _depth_and_width(model, guessed)
    heads = float(model.heads or 0)
    if not heads:
        heads = max(1.0, hidden / (model.head_dim or HEAD_WIDTH))
    head_width = float(model.head_dim or hidden / heads)
    if model.kv_heads:
        kv_width = model.kv_heads * head_width
    else:
        kv_width = heads * head_width
        guessed.append(
            Assumption("kv_width", kv_width, "one KV head per head, an upper bound: the model's kv_heads is not given")
        )
    if not model.vocabulary:
        guessed.append(Assumption("vocabulary", VOCABULARY, "that of Llama 3: the model's vocabulary is not given"))
    return Shape(layers, hidden, heads, kv_width, float(model.vocabulary or VOCABULARY)), tuple(guessed)


def _depth_and_width(model: Model, guessed: list[Assumption]) -> tuple[float, float]:
    """Layers and hidden width; the one given, if any, fixes the other."""
    size = model.active_parameters
    if model.layers and model.hidden:
        return float(model.layers), float(model.hidden)
    if model.layers:
        hidden = (size / (PARAMETERS_PER_LAYER * model.layers)) ** 0.5
        guessed.append(Assumption("hidden", hidden, "from N = 12·L·h²: the model's hidden is not given"))
        return float(model.layers), hidden
    if model.hidden:
        layers = max(1.0, size / (PARAMETERS_PER_LAYER * model.hidden**2))
        guessed.append(Assumption("layers", layers, "from N = 12·L·h²: the model's layers is not given"))
        return layers, float(model.hidden)
    layers = max(1.0, (size / (PARAMETERS_PER_LAYER * WIDTH_PER_LAYER**2)) ** (1 / 3))
    hidden = (size / (PARAMETERS_PER_LAYER * layers)) ** 0.5
    guessed.append(Assumption("layers", layers, "from N = 12·L·h² at h = 128·L: the model's shape is not given"))
    guessed.append(Assumption("hidden", hidden, "from N = 12·L·h² at h = 128·L: the model's shape is not given"))
    return layers, hidden


LATENT_ABOVE = 256  # a lone KV head wider than this stands for latent attention, whose cache it is as wide as
LATENT_HEAD = 160.0  # mean width of a query (192) and a value (128) of DeepSeek V2 and V3


def attention_width(model: Model, shape: Shape) -> float:
    """Heads times their width: what scores and values are computed over, in elements of one token and layer.

    Latent attention is given by the size of its KV cache (one head, 288 wide in DeepSeek's), but computes with heads of
    its own: DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.
    """
    if model.kv_heads == 1 and (model.head_dim or 0) > LATENT_ABOVE:
        return shape.heads * LATENT_HEAD
    return shape.heads * (model.head_dim or shape.hidden / shape.heads)
