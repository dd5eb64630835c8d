"""FLOPs of transformer work: the rules of thumb that every other number of a sizing stands on.

One parameter costs one multiply and one add (2 FLOPs) per token on the way forward, and twice that on the way back:
once for the gradient of the activations and once for the gradient of the weights (Kaplan et al. 2020, section 2.1).
Parameters are the *active* ones, which a token really passes through: fewer than all for a mixture of experts. The work
of attention over the sequence, 12·L·h·s FLOPs per token of training, is not counted: it adds 3 % to a 175 B model at
2 048 tokens, and more to smaller models and longer sequences.
"""

from __future__ import annotations

FORWARD = 2.0  # FLOPs per active parameter and token
BACKWARD_ACTIVATIONS = 2.0
BACKWARD_WEIGHTS = 2.0


def training_flops(active_parameters: float, tokens: float) -> float:
    """6·N·D: FLOPs of training `active_parameters` on `tokens`. Source: Kaplan et al. 2020, arXiv:2001.08361."""
    return (FORWARD + BACKWARD_ACTIVATIONS + BACKWARD_WEIGHTS) * active_parameters * tokens


def inference_flops(active_parameters: float, tokens: float) -> float:
    """2·N per token, read or written. Source: Kaplan et al. 2020, arXiv:2001.08361."""
    return FORWARD * active_parameters * tokens


def adapter_training_flops(active_parameters: float, adapter_parameters: float, tokens: float) -> float:
    """4·N·D + 6·A·D: FLOPs of training an adapter of `adapter_parameters` on a frozen model.

    The frozen weights carry the forward pass and the gradient of the activations, but need no gradient of their own;
    only the adapter pays for all three. Follows from Kaplan et al. 2020 and Hu et al. 2021 (LoRA), arXiv:2106.09685.
    """
    frozen = (FORWARD + BACKWARD_ACTIVATIONS) * active_parameters * tokens
    return frozen + training_flops(adapter_parameters, tokens)


def device_hours(flops: float, peak_tflops: float, utilisation: float) -> float:
    """Hours of one device: FLOPs over (peak times utilisation). The count of devices does not matter to their sum."""
    return flops / (peak_tflops * 1e12 * utilisation) / 3600.0


def usd_per_1000_tokens(device_s: float, tokens: float, usd_per_hour: float) -> float:
    """What 1 000 tokens cost when `tokens` take `device_s` seconds of a device at `usd_per_hour`."""
    return device_s / 3600.0 * usd_per_hour / tokens * 1000.0
