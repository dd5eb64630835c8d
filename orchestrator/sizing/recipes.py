"""Recipes: bytes that a training framework keeps per parameter and per token, by precision and sharding."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Sharding
from orchestrator.sizing.parameters import bundled


class Framework(StrEnum):
    """Who lays out the training state."""

    MEGATRON = "megatron"  # Megatron-LM, NeMo, Megatron Core with Transformer Engine: FP32 gradients
    ZERO = "zero"  # as the ZeRO paper counts it: 2 + 2 + 12 bytes
    DEEPSPEED = "deepspeed"  # as DeepSpeed's own estimators count its ZeRO: FP32 gradients beside the optimizer
    FSDP = "fsdp"  # PyTorch's: FP32 weights, gradients and moments, 16-bit copies of the layers at work


class Rates(NamedTuple):
    """Bytes per parameter that every data-parallel device holds, and that it shares out (divided by their number)."""

    weights: float
    weights_shared: float
    gradients: float
    gradients_shared: float
    optimizer: float
    optimizer_shared: float


class BufferRates(NamedTuple):
    """Bytes of workspace per parameter of one layer, of embedding and output layer, and of all that a device has."""

    layer: float
    root: float
    device: float


class Recipe(NamedTuple):
    """How one framework trains in one precision."""

    framework: Framework
    states: Mapping[Sharding, Rates]
    buffers: Mapping[Sharding, BufferRates]
    plane_bytes: float  # of one activation
    input_bytes: float  # of one activation that is kept only to multiply it again: the input of a matrix
    mask_bytes: float  # of one dropout mask; 0 where training uses no dropout
    fused_attention: bool  # scores are never stored, whatever is recomputed
    saves_every_other_product: bool  # what selective recomputation means: half the products, not all but the scores
    logit_bytes: float  # at the peak of the loss
    pipeline_gathers: bool  # ZeRO-3 in a pipeline keeps its stage's weights gathered and its gradients whole


def recipe(framework: Framework, precision: Precision) -> Recipe:
    """The recipe of `framework` for `precision`.

    FP32 doubles 16-bit weights and activations and needs no master copy. FP8 and FP4 keep 16-bit weights: Transformer
    Engine caches a narrow copy and its transpose beside them and keeps the inputs of matrices at 8 bits; PyTorch casts
    as it goes, which leaves memory as it is.
    """
    return _recipe(framework, precision)


def usual_framework(sharding: Sharding) -> Framework:
    """The framework a layout is usually run with: Megatron up to ZeRO-1, ZeRO's own count for ZeRO-2, then FSDP."""
    if sharding is Sharding.ZERO_3:
        return Framework.FSDP
    return Framework.ZERO if sharding is Sharding.ZERO_2 else Framework.MEGATRON


_WIDE: Final = frozenset({Precision.FP32, Precision.TF32})
_NARROW: Final[Mapping[Precision, float]] = {Precision.FP8: 1.0, Precision.FP4: 0.5625}  # with the scales of blocks


@cache
def _recipe(framework: Framework, precision: Precision) -> Recipe:
    megatron, pytorch = framework is Framework.MEGATRON, framework is Framework.FSDP
    base = Recipe(
        framework=framework,
        states=_STATES[framework],
        buffers=_BUFFERS[framework],
        plane_bytes=2.0,
        input_bytes=2.0,
        mask_bytes=1.0 if megatron or framework is Framework.ZERO else 0.0,
        fused_attention=not megatron,
        saves_every_other_product=pytorch,
        logit_bytes=bundled()["memory.logit_bytes.megatron" if megatron else "memory.logit_bytes.pytorch"],
        pipeline_gathers=pytorch,
    )
    if precision in _WIDE:
        return base._replace(states=_sharded(4.0, 4.0, 8.0), plane_bytes=4.0, input_bytes=4.0)
    if precision in _NARROW and megatron:
        copies = 2.0 * _NARROW[precision]
        wider = {sharding: rates._replace(device=rates.device + copies) for sharding, rates in base.buffers.items()}
        return base._replace(buffers=wider, input_bytes=1.0)
    return base


def _sharded(weights: float, gradients: float, optimizer: float) -> Mapping[Sharding, Rates]:
    """What each stage of ZeRO shares out (Rajbhandari et al. 2020, section 5)."""
    return {
        Sharding.NONE: Rates(weights, 0.0, gradients, 0.0, optimizer, 0.0),
        Sharding.ZERO_1: Rates(weights, 0.0, gradients, 0.0, 0.0, optimizer),
        Sharding.ZERO_2: Rates(weights, 0.0, 0.0, gradients, 0.0, optimizer),
        Sharding.ZERO_3: Rates(0.0, weights, 0.0, gradients, 0.0, optimizer),
    }


_FSDP_STATES: Final = {
    **_sharded(4.0, 4.0, 8.0),
    Sharding.ZERO_2: Rates(2.0, 4.0, 0.0, 4.0, 0.0, 8.0),  # SHARD_GRAD_OP keeps 16-bit copies between the passes
}
_DEEPSPEED_STATES: Final = {
    Sharding.NONE: Rates(2.0, 0.0, 2.0, 0.0, 16.0, 0.0),
    Sharding.ZERO_1: Rates(2.0, 0.0, 2.0, 0.0, 0.0, 16.0),
    Sharding.ZERO_2: Rates(2.0, 0.0, 2.0, 0.0, 0.0, 16.0),  # estimate_zero2_model_states_mem_needs: 4 + 16/n
    Sharding.ZERO_3: Rates(0.0, 2.0, 0.0, 0.0, 0.0, 16.0),  # estimate_zero3_model_states_mem_needs: 18/n + a layer
}
_STATES: Final[Mapping[Framework, Mapping[Sharding, Rates]]] = {
    Framework.MEGATRON: _sharded(2.0, 4.0, 12.0),
    Framework.ZERO: _sharded(2.0, 2.0, 12.0),
    Framework.DEEPSPEED: _DEEPSPEED_STATES,
    Framework.FSDP: _FSDP_STATES,
}

# ZeRO-3 gathers the layer at work and the next one at 16 bits (4), holds one layer's 16-bit gradients and their FP32
# copy for the reduction (6), and keeps embedding and output layer gathered (2). Below ZeRO-3 gradients are reduced out
# of one layer's worth of buckets; Megatron reduces them where they lie.
_GATHERED: Final = BufferRates(10.0, 2.0, 0.0)
_BUCKET: Final = BufferRates(4.0, 0.0, 0.0)
_IN_PLACE: Final = BufferRates(0.0, 0.0, 0.0)
_GENERIC: Final = {
    Sharding.NONE: _BUCKET,
    Sharding.ZERO_1: _BUCKET,
    Sharding.ZERO_2: _BUCKET,
    Sharding.ZERO_3: _GATHERED,
}
_BUFFERS: Final[Mapping[Framework, Mapping[Sharding, BufferRates]]] = {
    Framework.MEGATRON: {
        Sharding.NONE: _IN_PLACE,
        Sharding.ZERO_1: _IN_PLACE,
        Sharding.ZERO_2: _IN_PLACE,
        Sharding.ZERO_3: _GATHERED,
    },
    Framework.ZERO: _GENERIC,
    Framework.DEEPSPEED: _GENERIC,
    Framework.FSDP: _GENERIC,
}
