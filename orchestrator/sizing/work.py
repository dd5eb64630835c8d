"""Work of a training job per token: what the time models count, whatever the devices are."""

from __future__ import annotations

from typing import Final, NamedTuple

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.workload import Model
from orchestrator.sizing.flops import training_flops
from orchestrator.sizing.shape import attention_width, shape_of

ATTENTION: Final = 12.0  # FLOPs per layer, width, position and token: 4 forward (scores, values), twice that backward
FINE_GRAINED: Final = 4.0  # from this ratio of all to active parameters on, experts are taken to be many and narrow


class TrainingWork(NamedTuple):
    """One token of one training job.

    `global_batch_tokens` is None where nobody knows; `experts_per_token` is 0 for a dense model. `narrow_experts` says
    that an expert's feed-forward is narrower than the model, so that its matrix products are small.
    """

    parameters: float
    active_parameters: float
    layers: float
    hidden: float
    attention_width: float
    sequence_length: float
    precision: Precision
    global_batch_tokens: float | None = None
    head_share: float = 0.0  # of the matrix products, in the output layer
    experts: float = 0.0  # of one layer; 0 where nobody says
    experts_per_token: float = 0.0
    narrow_experts: bool = False

    @property
    def matrix_flops(self) -> float:
        """6·N_active: FLOPs of the matrix products of one token, forward and backward."""
        return training_flops(self.active_parameters, 1.0)

    @property
    def attention_flops(self) -> float:
        """12·L·d_attn·s: FLOPs of one token's attention to a whole sequence, as published MFU counts them.

        A causal mask needs half of them. Source: Narayanan et al. 2021, arXiv:2104.04473; Chowdhery et al. 2022 (PaLM),
        appendix B.
        """
        return ATTENTION * self.layers * self.attention_width * self.sequence_length


def work_of(
    model: Model,
    *,
    sequence_length: float,
    precision: Precision,
    global_batch_tokens: float | None = None,
) -> TrainingWork:
    """The work of training `model`; what its shape does not say is estimated as `shape_of` does.

    Of a mixture whose experts are not given, many narrow ones with 8 per token are assumed where it has at least 4
    times the parameters that it uses (DeepSeek, Qwen3, gpt-oss), and 2 wide ones otherwise (Mixtral).
    """
    shape, _ = shape_of(model)
    ratio = model.parameters / model.active_parameters
    mixture = ratio > 1.0 and (bool(model.experts) or ratio > 1.05)
    chosen, narrow = 0.0, False
    if mixture:
        chosen = float(model.experts_per_token or (8 if ratio >= FINE_GRAINED else 2))
        narrow = model.feed_forward < shape.hidden if model.feed_forward else ratio >= FINE_GRAINED
    return TrainingWork(
        parameters=model.parameters,
        active_parameters=model.active_parameters,
        layers=shape.layers,
        hidden=shape.hidden,
        attention_width=attention_width(model, shape),
        sequence_length=sequence_length,
        precision=precision,
        global_batch_tokens=global_batch_tokens,
        head_share=shape.vocabulary * shape.hidden / model.active_parameters if model.vocabulary else 0.0,
        experts=float(model.experts or 0),
        experts_per_token=chosen,
        narrow_experts=narrow,
    )
