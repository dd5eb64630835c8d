"""Decoders: the Llama-style models that are measured, by the shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from orchestrator.domain.workload import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A decoder of RMSNorm, rotary positions, grouped-query attention and SwiGLU."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    tied: bool  # one matrix embeds the tokens and makes the logits

    @property
    def attention_width(self) -> int:
        """Elements of one token's query."""
        return self.heads * self.head_dim

    @property
    def parameters(self) -> int:
        """Every weight, the embeddings counted once where they are tied."""
        return sum(prod(shape) for shape in self.weights().values())

    def weights(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every weight by name; matrices are (outputs, inputs)."""
        heads = self.heads + 2 * self.kv_heads
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, self.hidden)}
        for layer in range(self.layers):
            shapes[f"{layer}.attention.norm"] = (self.hidden,)
            shapes[f"{layer}.attention.qkv"] = (heads * self.head_dim, self.hidden)
            shapes[f"{layer}.attention.out"] = (self.hidden, self.attention_width)
            shapes[f"{layer}.feed_forward.norm"] = (self.hidden,)
            shapes[f"{layer}.feed_forward.gate_up"] = (2 * self.feed_forward, self.hidden)
            shapes[f"{layer}.feed_forward.down"] = (self.hidden, self.feed_forward)
        shapes["norm"] = (self.hidden,)
        if not self.tied:
            shapes["output"] = (self.vocabulary, self.hidden)
        return shapes

    def training_flops(self, sequence: int) -> float:
        """FLOPs of training one token of a sequence: 6·N + 12·L·s·d_attn, attention counted in full.

        That is how the field quotes MFU (Chowdhery et al. 2022, PaLM, appendix B); a causal kernel does half of the
        second term.
        """
        return 6.0 * self.parameters + 12.0 * self.layers * sequence * self.attention_width

    def kv_bytes(self, bytes_per_element: float) -> float:
        """Bytes of keys and values of one token."""
        return 2.0 * self.layers * self.kv_heads * self.head_dim * bytes_per_element

    def model(self) -> Model:
        """The decoder in the terms of sizing."""
        return Model(
            name=self.name,
            parameters=float(self.parameters),
            active_parameters=float(self.parameters),
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocabulary=self.vocabulary,
            feed_forward=self.feed_forward,
            gated=True,
            source="shape of the published config.json, random weights",
        )


# From one that a laptop trains in a second to one that fills much of a large GPU. With tied embeddings a model has no
# weights that a token does not pass through, so that 6·N counts what is really done.
LADDER: Final = (
    Decoder(
        name="stories42m",
        layers=8,
        hidden=512,
        heads=8,
        kv_heads=8,
        head_dim=64,
        feed_forward=1376,
        vocabulary=32000,
        tied=True,
    ),
    Decoder(
        name="smollm2-135m",
        layers=30,
        hidden=576,
        heads=9,
        kv_heads=3,
        head_dim=64,
        feed_forward=1536,
        vocabulary=49152,
        tied=True,
    ),
    Decoder(
        name="smollm2-360m",
        layers=32,
        hidden=960,
        heads=15,
        kv_heads=5,
        head_dim=64,
        feed_forward=2560,
        vocabulary=49152,
        tied=True,
    ),
    Decoder(
        name="llama-3.2-1b",
        layers=16,
        hidden=2048,
        heads=32,
        kv_heads=8,
        head_dim=64,
        feed_forward=8192,
        vocabulary=128256,
        tied=True,
    ),
    Decoder(
        name="llama-3.2-3b",
        layers=28,
        hidden=3072,
        heads=24,
        kv_heads=8,
        head_dim=128,
        feed_forward=8192,
        vocabulary=128256,
        tied=True,
    ),
    Decoder(
        name="llama-3.1-8b",
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        feed_forward=14336,
        vocabulary=128256,
        tied=False,
    ),
)
