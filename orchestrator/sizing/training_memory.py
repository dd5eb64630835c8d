"""Training memory: bytes by term on the fullest device of a layout, for full, LoRA and QLoRA training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.sizing import Assumption
from orchestrator.domain.workload import Method, Model
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.sizing.parameters import bundled
from orchestrator.sizing.parts import Parts, parameter_split
from orchestrator.sizing.recipes import BufferRates, Framework, Rates, Recipe, recipe, usual_framework

ROOT_BYTES: Final = 2.0  # of frozen embeddings, norms and output layers, which QLoRA does not quantise
DEQUANTISED_BYTES: Final = 2.0  # of the one matrix that QLoRA widens at a time
SCORE_BYTES: Final = 5.0  # per head and pair of tokens: softmax and dropout's output at 16 bits, its mask at 8


class Terms(NamedTuple):
    """Bytes on one device. Driver context, communication library and fragments are not in them: see `memory`."""

    weights: float
    gradients: float
    optimizer: float
    activations: float  # what grows with the micro-batch, workspace of the loss and of recomputation included
    buffers: float  # what does not: gathered layers, gradients on their way, narrow copies of weights

    @property
    def states(self) -> float:
        """Weights, gradients and optimizer."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """All five."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.buffers


class _Planes(NamedTuple):
    """Bytes of one token in one layer: not split, and split, by tensor parallelism without sequence parallelism."""

    outer: float
    inner: float


class _Rates(NamedTuple):
    """What one sharding makes of a recipe and a method, in bytes per parameter."""

    sums: tuple[float, float, float, float, float, float]  # of the next three: what is held and what is shared out
    base: Rates  # of every parameter of the layers
    root: Rates  # of embedding and output layer
    adapter: Rates
    buffers: BufferRates
    stored: dict[Recompute, _Planes]  # activations kept from forward to backward
    live: dict[Recompute, _Planes]  # of the one layer that is computed again, beyond what it stored
    logit_bytes: float
    gathers: bool


class _Held(NamedTuple):
    """Parameters of one device's part of the model, before anything is sharded over the data-parallel devices."""

    dense: float
    experts: float
    root: float  # embedding and output layer
    adapter: float


class Adapter(NamedTuple):
    """Parameters of low-rank adapters on every linear layer but the output layer."""

    dense: float
    experts: float

    @property
    def total(self) -> float:
        """Both."""
        return self.dense + self.experts


class _BySharding(dict[Sharding, _Rates]):
    """Rates that are worked out when they are first asked for: most jobs are looked at in one sharding."""

    def __init__(self, rates_of: Callable[[Sharding], _Rates]) -> None:
        super().__init__()
        self._rates_of = rates_of

    def __missing__(self, sharding: Sharding) -> _Rates:
        self[sharding] = rates = self._rates_of(sharding)
        return rates


class MemoryModel:
    """The memory of training one model in one precision by one method at one sequence length.

    Everything that does not depend on the layout is computed once, so that a search can ask for thousands of layouts.
    Activations follow Korthikanti et al. 2022 (arXiv:2205.05198), generalised from h and 4h to the widths of grouped
    queries, gated networks and routed experts: every matrix keeps its input, attention keeps queries, keys, values and
    its output, a norm keeps its input. Dropout's masks are counted unless the model is known to be gated: such models
    are trained without. Layers are taken as evenly spread over the stages, parameters as evenly split
    by tensor parallelism. Thread-safe: `terms` and `total` always answer the same.
    """

    def __init__(
        self,
        model: Model,
        *,
        sequence_length: int,
        precision: Precision = Precision.BF16,
        method: Method = Method.FULL,
        lora_rank: int = 16,
        framework: Framework | None = None,
        chunked_loss: bool = False,
    ) -> None:
        """`precision` is of the arithmetic; frozen weights of LoRA have its width, those of QLoRA are NF4.

        `framework` None takes the usual one of each sharding, and PyTorch's for adapters. `chunked_loss`: the loss is
        fused or computed in pieces, so that logits are never there all at once at full width.
        """
        self.parts = parts = parameter_split(model)
        self.adapter = adapter_parameters(model, parts, lora_rank) if method is not Method.FULL else None
        shape = parts.shape
        self._layers, self._hidden, self._vocabulary = shape.layers, shape.hidden, shape.vocabulary
        self._sequence = float(sequence_length)
        self._dense, self._experts = parts.dense, parts.experts
        self._embedding = parts.embedding
        self._head_alone = parts.head  # on the only stage a shared matrix is there once,
        self._head_apart = parts.head or parts.embedding  # on a last stage of its own it is there again
        self._adapter_dense = self.adapter.dense if self.adapter else 0.0
        self._adapter_experts = self.adapter.experts if self.adapter else 0.0
        self._dequantised = 0.0
        if method is Method.QLORA:
            matrices = 3.0 if parts.gated else 2.0
            self._dequantised = DEQUANTISED_BYTES * parts.feed_forward / (shape.layers * matrices)
        self._plane_bytes = 4.0 if precision in (Precision.FP32, Precision.TF32) else 2.0
        self._by_sharding = _BySharding(
            lambda sharding: _rates(
                _recipe_of(sharding, precision, method, framework),
                sharding,
                method,
                precision,
                parts,
                gated=model.gated is True,
                experts_per_token=float(model.experts_per_token or 0),
                sequence=self._sequence,
                chunked_loss=chunked_loss,
            )
        )

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """The numbers that had to be estimated or scaled."""
        return self.parts.assumptions

    def terms(self, layout: Parallelism) -> Terms:
        """Bytes by term on the fullest device of `layout`."""
        if layout.pipeline == 1:
            return self._terms(layout, self._layers, first=True, last=True)
        first, last = in_flight(layout, self._layers)
        return max(
            self._terms(layout, first, first=True, last=False),
            self._terms(layout, last, first=False, last=True),
            key=sum,
        )

    def total(self, layout: Parallelism) -> float:
        """Bytes on the fullest device of `layout`: the sum of `terms`, at less cost."""
        if layout.pipeline == 1:
            return self._fixed(layout, True, True) + self._activations(layout, self._layers, True)
        first, last = in_flight(layout, self._layers)
        return max(
            self._fixed(layout, True, False) + self._activations(layout, first, False),
            self._fixed(layout, False, True) + self._activations(layout, last, True),
        )

    def largest_micro_batch(self, layout: Parallelism, room: float) -> int:
        """The most sequences per pass that leave the fullest device within `room` bytes; 0 where not even one does.

        The number of passes stays that of `layout`. A stage's memory is linear in the micro-batch.
        """
        if layout.pipeline == 1:
            stages = [(self._layers, True, True)]
        else:
            first, last = in_flight(layout, self._layers)
            stages = [(first, True, False), (last, False, True)]
        most = [
            (room - self._fixed(layout, has_first, has_last))
            * layout.micro_batch
            / self._activations(layout, layers, has_last)
            for layers, has_first, has_last in stages
        ]
        return max(0, int(min(most)))

    def _held(self, layout: Parallelism, first: bool, last: bool) -> _Held:
        tensor = layout.tensor
        split = tensor * layout.pipeline
        root = self._embedding if first else 0.0
        if last:
            root += self._head_alone if first else self._head_apart
        return _Held(
            self._dense / split,
            self._experts / (split * layout.expert),
            root / tensor,
            self._adapter_dense / split + self._adapter_experts / (split * layout.expert),
        )

    def _fixed(self, layout: Parallelism, first: bool, last: bool) -> float:
        """States and buffers: what does not depend on the micro-batch."""
        rates = self._by_sharding[layout.sharding]
        held = self._held(layout, first, last)
        dense, experts, root, adapter = held
        shards = layout.data * layout.context
        base, base_shared, of_root, root_shared, of_adapter, adapter_shared = rates.sums
        return (
            (dense + experts) * base
            + base_shared * (dense + experts * min(shards, layout.expert)) / shards
            + root * (of_root + root_shared / shards)
            + adapter * (of_adapter + adapter_shared / shards)
            + self._buffers(layout, held, rates)
        )

    def _terms(self, layout: Parallelism, layers: float, *, first: bool, last: bool) -> Terms:
        rates = self._by_sharding[layout.sharding]
        held = self._held(layout, first, last)
        dense, experts, root, adapter = held
        shards = layout.data * layout.context
        # Experts are shared out over fewer devices: those that hold the same ones.
        sharded = (dense + experts * min(shards, layout.expert)) / shards
        base, of_root, of_adapter = rates.base, rates.root, rates.adapter
        weights, gradients, optimizer = [
            (dense + experts) * base[kind]
            + sharded * base[kind + 1]
            + root * (of_root[kind] + of_root[kind + 1] / shards)
            + adapter * (of_adapter[kind] + of_adapter[kind + 1] / shards)
            for kind in (0, 2, 4)
        ]
        return Terms(
            weights, gradients, optimizer, self._activations(layout, layers, last), self._buffers(layout, held, rates)
        )

    def _buffers(self, layout: Parallelism, held: _Held, rates: _Rates) -> float:
        rate = rates.buffers
        device = held.dense + held.experts
        buffers = rate.layer * device * layout.pipeline / self._layers + rate.root * held.root + rate.device * device
        if rates.gathers and layout.pipeline > 1:  # gathered once per step, not once per pass
            buffers += 2.0 * device + 4.0 * (device + held.root)
        return buffers + self._dequantised / layout.tensor

    def _activations(self, layout: Parallelism, layers: float, last: bool) -> float:
        """Stored planes of all layers in flight, and the workspace of the loss or of one layer, the larger of the two.

        They are not needed at once: the loss is done before the first layer is computed again.
        """
        rates = self._by_sharding[layout.sharding]
        tensor = layout.tensor
        outside = tensor if layout.sequence_parallel else 1
        stored, live = rates.stored[layout.recompute], rates.live[layout.recompute]
        plane = self._plane_bytes * self._hidden
        per_token = layers * (stored.outer / outside + stored.inner / tensor)
        workspace = live.outer / outside + live.inner / tensor
        if last:
            workspace = max(workspace, rates.logit_bytes * self._vocabulary / tensor)
            per_token += 2.0 * plane / outside  # inputs of the last norm and of the output layer
        if outside > 1:
            workspace += plane  # the whole sequence, gathered for the matrix at work
        tokens = self._sequence * layout.micro_batch / layout.context
        return tokens * (per_token + workspace)


def adapter_parameters(model: Model, parts: Parts, rank: int) -> Adapter:
    """Parameters of LoRA adapters of `rank` on all linear layers: r·(inputs + outputs) of every matrix.

    Source: Hu et al. 2021, arXiv:2106.09685, on all linear layers as in Dettmers et al. 2023, arXiv:2305.14314.
    """
    shape = parts.shape
    hidden, layers = shape.hidden, shape.layers
    matrices = 3.0 if parts.gated else 2.0
    attention = 2.0 * (hidden + parts.query_width) + 2.0 * (hidden + shape.kv_width)
    width = parts.feed_forward / (layers * matrices * hidden)
    feed_forward = matrices * (hidden + width) if parts.feed_forward > 0 else 0.0
    experts = 0.0
    if parts.experts and model.experts:
        expert_width = parts.experts / (layers * model.experts * matrices * hidden)
        experts = model.experts * matrices * (hidden + expert_width)
    return Adapter(dense=rank * layers * (attention + feed_forward), experts=rank * layers * experts)


def in_flight(layout: Parallelism, layers: float) -> tuple[float, float]:
    """Layers times micro-batches whose activations the first and the last of several stages keep.

    1F1B: the first keeps a micro-batch per stage, the last one. Interleaved, the first is 1 + (p-1)/(p·v) times as full
    (Narayanan et al. 2021, Korthikanti et al. 2022). Neither keeps more than there are.
    """
    p, m, v = layout.pipeline, layout.micro_batches, layout.interleave
    if v == 1:
        return layers / p * min(p, m), layers / p
    chunk = layers / (p * v)
    return chunk * min(m * v, p * v + p - 1), chunk * min(m * v, (v - 1) * p + 1)


_NOTHING: Final = Rates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_ADAPTERS: Final = {
    sharding: recipe(Framework.ZERO, Precision.BF16).states[sharding] for sharding in Sharding
}  # 16-bit weights and gradients, FP32 states


def _recipe_of(sharding: Sharding, precision: Precision, method: Method, framework: Framework | None) -> Recipe:
    if framework is None:
        framework = usual_framework(sharding) if method is Method.FULL else Framework.FSDP
    return recipe(framework, precision)


def _rates(
    made: Recipe,
    sharding: Sharding,
    method: Method,
    precision: Precision,
    parts: Parts,
    *,
    gated: bool,
    experts_per_token: float,
    sequence: float,
    chunked_loss: bool,
) -> _Rates:
    if method is Method.FULL:
        base = root = made.states[sharding]
        adapter, buffers = _NOTHING, made.buffers[sharding]
    else:
        width = bundled()["memory.nf4_bytes"] if method is Method.QLORA else BYTES[precision]
        base, root = _frozen(width, sharding), _frozen(max(ROOT_BYTES, width), sharding)
        adapter = _ADAPTERS[sharding]
        # Frozen layers are gathered, two at a time, but have no gradients to reduce.
        buffers = BufferRates(2.0 * width, ROOT_BYTES, 0.0) if sharding is Sharding.ZERO_3 else BufferRates(0, 0, 0)
    every = _every_plane(made, parts, 0.0 if gated else made.mask_bytes, experts_per_token)
    stored = {
        Recompute.NONE: every if made.fused_attention else _with_scores(every, parts, sequence),
        Recompute.SELECTIVE: _every_other_product(made, parts) if made.saves_every_other_product else every,
        Recompute.FULL: _Planes(made.plane_bytes * parts.shape.hidden, 0.0),
    }
    live = {mode: _beyond(every, kept) for mode, kept in stored.items()}
    logits = bundled()["memory.logit_bytes.chunked"] if chunked_loss else made.logit_bytes
    gathers = made.pipeline_gathers and sharding is Sharding.ZERO_3 and method is Method.FULL
    sums = (*_sum(base), *_sum(root), *_sum(adapter))
    return _Rates(sums, base, root, adapter, buffers, stored, live, logits, gathers)


def _sum(rates: Rates) -> tuple[float, float]:
    return sum(rates[0::2]), sum(rates[1::2])


def _frozen(width: float, sharding: Sharding) -> Rates:
    shared = sharding is Sharding.ZERO_3
    return _NOTHING._replace(weights=0.0 if shared else width, weights_shared=width if shared else 0.0)


def _every_plane(made: Recipe, parts: Parts, mask_bytes: float, experts_per_token: float) -> _Planes:
    """All that one layer keeps of one token with fused attention: 34·h bytes for h, 4h and 16 bits (the paper's)."""
    hidden, plane, kept = parts.shape.hidden, made.plane_bytes, made.input_bytes
    outer = hidden * (2.0 * plane + 2.0 * kept + 2.0 * mask_bytes)  # inputs of two norms and two matrices, masks
    matrices = 3.0 if parts.gated else 2.0
    width = parts.feed_forward_plane / matrices
    attention = plane * (parts.query_width + 2.0 * parts.shape.kv_width) + kept * parts.query_width
    feed_forward = width * (plane * (matrices - 1.0) + kept)
    routed = experts_per_token * hidden * (kept + plane)  # a copy for every expert and its answer, to be weighed
    return _Planes(outer, attention + feed_forward + routed)


def _with_scores(every: _Planes, parts: Parts, sequence: float) -> _Planes:
    """And the attention scores: 5·a·s bytes per token."""
    return _Planes(every.outer, every.inner + SCORE_BYTES * parts.shape.heads * sequence)


def _every_other_product(made: Recipe, parts: Parts) -> _Planes:
    """What PyTorch's per-operation checkpointing keeps: the layer's input, attention's output, every second product."""
    hidden, query, plane = parts.shape.hidden, parts.query_width, made.plane_bytes
    matrices = 3.0 if parts.gated else 2.0
    middle = parts.feed_forward_plane * (matrices - 1.0) / matrices
    products = query + 2.0 * parts.shape.kv_width + hidden + middle + hidden
    return _Planes(plane * hidden, plane * (query + products / 2.0))


def _beyond(every: _Planes, kept: _Planes) -> _Planes:
    return _Planes(max(0.0, every.outer - kept.outer), max(0.0, every.inner - kept.inner))
