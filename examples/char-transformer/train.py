"""Train a small character transformer with NumPy alone; stops and resumes wherever it was.

A real job for a machine without a GPU: it reads folklore.txt, writes checkpoints into $ISOFLOP_CHECKPOINT_DIR, reports
progress to $ISOFLOP_PROGRESS_FILE, saves once more when it is asked to stop (SIGTERM), and goes on from the newest
checkpoint when it is started again, to the same numbers as if it had never been stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Weights = dict[str, Array]

STOPPED = 143  # 128 + SIGTERM: ended because it was asked to


@dataclass(frozen=True)
class Shape:
    """A decoder-only transformer; about 12 * layers * width^2 parameters beside the embeddings."""

    vocabulary: int
    layers: int
    width: int
    heads: int
    context: int


def initial_weights(shape: Shape, rng: np.random.Generator) -> Weights:
    """Scaled normal initialisation; biases are left out and layer norms have a gain alone."""

    def normal(*size: int, scale: float = 0.02) -> Array:
        return (rng.standard_normal(size) * scale).astype(np.float32)

    d = shape.width
    weights = {"token": normal(shape.vocabulary, d), "position": normal(shape.context, d)}
    for layer in range(shape.layers):
        weights |= {
            f"{layer}.norm1": np.ones(d, np.float32),
            f"{layer}.qkv": normal(d, 3 * d),
            f"{layer}.out": normal(d, d, scale=0.02 / (2 * shape.layers) ** 0.5),
            f"{layer}.norm2": np.ones(d, np.float32),
            f"{layer}.up": normal(d, 4 * d),
            f"{layer}.down": normal(4 * d, d, scale=0.02 / (2 * shape.layers) ** 0.5),
        }
    return weights | {"norm": np.ones(d, np.float32), "head": normal(d, shape.vocabulary)}


def normalise(x: Array, gain: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """Layer norm over the last axis, and what its gradient needs."""
    centred = x - x.mean(-1, keepdims=True)
    inverse = 1.0 / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    unit = centred * inverse
    return unit * gain, (unit, inverse, gain)


def normalise_back(grad: Array, saved: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Gradients of layer norm with respect to its input and gain."""
    unit, inverse, gain = saved
    d_gain = (grad * unit).sum(axis=tuple(range(grad.ndim - 1)))
    g = grad * gain
    d_x = inverse * (g - g.mean(-1, keepdims=True) - unit * (g * unit).mean(-1, keepdims=True))
    return d_x, d_gain


def matmul_back(x: Array, weight: Array, grad: Array) -> tuple[Array, Array]:
    """Gradients of `x @ weight` with respect to both."""
    flat_x, flat_grad = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return grad @ weight.T, flat_x.T @ flat_grad


def split_heads(x: Array, heads: int) -> Array:
    """(batch, time, width) -> (batch, heads, time, width / heads)."""
    batch, time, width = x.shape
    return x.reshape(batch, time, heads, width // heads).transpose(0, 2, 1, 3)


def join_heads(x: Array) -> Array:
    """The inverse of `split_heads`."""
    batch, heads, time, size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, time, heads * size)


def block(weights: Weights, layer: int, x: Array, heads: int) -> tuple[Array, dict[str, object]]:
    """One pre-norm block: causal attention, then a ReLU^2 multilayer perceptron."""
    normed, norm1 = normalise(x, weights[f"{layer}.norm1"])
    q, k, v = (split_heads(part, heads) for part in np.split(normed @ weights[f"{layer}.qkv"], 3, axis=-1))
    scores = q @ k.transpose(0, 1, 3, 2) / np.float32(q.shape[-1] ** 0.5)
    scores += np.triu(np.full(scores.shape[-2:], -1e9, np.float32), 1)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    attention = scores / scores.sum(-1, keepdims=True)
    mixed = join_heads(attention @ v)
    middle = x + mixed @ weights[f"{layer}.out"]
    normed2, norm2 = normalise(middle, weights[f"{layer}.norm2"])
    hidden = np.maximum(normed2 @ weights[f"{layer}.up"], 0)
    result = middle + (hidden * hidden) @ weights[f"{layer}.down"]
    saved = {"norm1": norm1, "normed": normed, "q": q, "k": k, "v": v, "attention": attention, "mixed": mixed}
    return result, saved | {"norm2": norm2, "normed2": normed2, "hidden": hidden}


def block_back(
    weights: Weights, layer: int, grad: Array, saved: dict[str, object], heads: int, grads: Weights
) -> Array:
    """Gradient of `block` with respect to its input; weight gradients go into `grads`."""
    s: dict[str, Array] = saved  # type: ignore[assignment]
    d_squared, grads[f"{layer}.down"] = matmul_back(s["hidden"] * s["hidden"], weights[f"{layer}.down"], grad)
    d_normed2, grads[f"{layer}.up"] = matmul_back(s["normed2"], weights[f"{layer}.up"], d_squared * 2 * s["hidden"])
    d_middle, grads[f"{layer}.norm2"] = normalise_back(d_normed2, saved["norm2"])  # type: ignore[arg-type]
    d_middle += grad
    d_mixed, grads[f"{layer}.out"] = matmul_back(s["mixed"], weights[f"{layer}.out"], d_middle)
    d_heads = split_heads(d_mixed, heads)
    attention = s["attention"]
    d_attention = d_heads @ s["v"].transpose(0, 1, 3, 2)
    d_v = attention.transpose(0, 1, 3, 2) @ d_heads
    d_scores = attention * (d_attention - (d_attention * attention).sum(-1, keepdims=True))
    d_scores /= np.float32(s["q"].shape[-1] ** 0.5)
    d_q, d_k = d_scores @ s["k"], d_scores.transpose(0, 1, 3, 2) @ s["q"]
    d_qkv = np.concatenate([join_heads(part) for part in (d_q, d_k, d_v)], axis=-1)
    d_normed, grads[f"{layer}.qkv"] = matmul_back(s["normed"], weights[f"{layer}.qkv"], d_qkv)
    d_x, grads[f"{layer}.norm1"] = normalise_back(d_normed, saved["norm1"])  # type: ignore[arg-type]
    return d_x + d_middle


def loss_and_gradients(
    weights: Weights, shape: Shape, tokens: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]
) -> tuple[float, Weights]:
    """Mean cross-entropy in nats per character of one batch of shape (batch, time), and its gradients."""
    batch, time = tokens.shape
    x = weights["token"][tokens] + weights["position"][:time]
    blocks = []
    for layer in range(shape.layers):
        x, saved = block(weights, layer, x, shape.heads)
        blocks.append(saved)
    normed, norm = normalise(x, weights["norm"])
    logits = normed @ weights["head"]
    logits -= logits.max(-1, keepdims=True)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(-1, keepdims=True)
    rows, columns = np.arange(batch)[:, None], np.arange(time)[None, :]
    loss = float(-np.log(probabilities[rows, columns, targets] + 1e-12).mean())

    grads: Weights = {}
    probabilities[rows, columns, targets] -= 1
    d_logits = probabilities / np.float32(batch * time)
    d_normed, grads["head"] = matmul_back(normed, weights["head"], d_logits)
    d_x, grads["norm"] = normalise_back(d_normed, norm)
    for layer in reversed(range(shape.layers)):
        d_x = block_back(weights, layer, d_x, blocks[layer], shape.heads, grads)
    grads["position"] = np.zeros_like(weights["position"])
    grads["position"][:time] = d_x.sum(0)
    grads["token"] = np.zeros_like(weights["token"])
    np.add.at(grads["token"], tokens, d_x)
    return loss, grads


def adam(weights: Weights, grads: Weights, first: Weights, second: Weights, step: int, rate: float) -> None:
    """One step of Adam in place (Kingma and Ba 2015), `step` counted from 1."""
    for name, grad in grads.items():
        first[name] += 0.1 * (grad - first[name])
        second[name] += 0.01 * (grad * grad - second[name])
        update = first[name] / (1 - 0.9**step) / (np.sqrt(second[name] / (1 - 0.99**step)) + 1e-8)
        weights[name] -= np.float32(rate) * update


def save(folder: Path, step: int, *parts: Weights) -> None:
    """Write the checkpoint of `step` under its final name only once it is whole."""
    draft, final = folder / ".draft.npz", folder / f"step-{step:06d}.npz"
    with draft.open("wb") as stream:
        np.savez(stream, **{f"{i}:{name}": value for i, part in enumerate(parts) for name, value in part.items()})  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(final)
    for old in sorted(folder.glob("step-*.npz"))[:-2]:
        old.unlink()


def newest(folder: Path) -> tuple[int, list[Weights]] | None:
    """The newest checkpoint's step, weights and both moments; None where there is none."""
    found = sorted(folder.glob("step-*.npz"))
    if not found:
        return None
    parts: list[Weights] = [{}, {}, {}]
    with np.load(found[-1], allow_pickle=False) as stored:
        for key in stored.files:
            index, _, name = key.partition(":")
            parts[int(index)][name] = stored[key]
    return int(found[-1].stem.removeprefix("step-")), parts


def report(path: Path | None, done: int, total: int, loss: float) -> None:
    """Append one line of progress for whoever watches."""
    if path is not None:
        with path.open("a") as stream:
            stream.write(json.dumps({"done": done / total, "detail": f"step {done}/{total} loss {loss:.3f}"}) + "\n")


class Stop:
    """Remembers that the job was asked to end."""

    asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", type=Path, default=Path(__file__).with_name("folklore.txt"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--context", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint-every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("ISOFLOP_CHECKPOINT_DIR", "checkpoints")))
    return parser.parse_args()


def main() -> int:
    """Train to the last step; returns the exit code."""
    asked = options()
    stop = Stop()
    signal.signal(signal.SIGTERM, stop)
    asked.folder.mkdir(parents=True, exist_ok=True)
    progress = Path(os.environ["ISOFLOP_PROGRESS_FILE"]) if "ISOFLOP_PROGRESS_FILE" in os.environ else None

    text = asked.text.read_text()
    vocabulary = sorted(set(text))
    index = {character: code for code, character in enumerate(vocabulary)}
    data = np.array([index[character] for character in text], np.int64)
    shape = Shape(len(vocabulary), asked.layers, asked.width, asked.heads, asked.context)

    weights = initial_weights(shape, np.random.default_rng(asked.seed))
    first, second = ({name: np.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    start = 0
    if (found := newest(asked.folder)) is not None:
        start, (weights, first, second) = found
        print(f"resumed from the checkpoint of step {start}", flush=True)
    size = sum(value.size for value in weights.values())
    print(f"{size:,} parameters, {len(text):,} characters, steps {start}..{asked.steps}", flush=True)

    for step in range(start + 1, asked.steps + 1):
        draw = np.random.default_rng(
            (asked.seed, step)
        )  # by step, so that a resumed run sees the batches it would have
        starts = draw.integers(0, len(data) - asked.context - 1, asked.batch)
        windows = starts[:, None] + np.arange(asked.context + 1)
        tokens = data[windows]
        loss, grads = loss_and_gradients(weights, shape, tokens[:, :-1], tokens[:, 1:])
        adam(weights, grads, first, second, step, asked.rate * min(1.0, step / 20))
        if step % 10 == 0 or step == asked.steps:
            print(f"step {step:5d}  loss {loss:.3f}", flush=True)
            report(progress, step, asked.steps, loss)
        if stop.asked or step % asked.checkpoint_every == 0 or step == asked.steps:
            save(asked.folder, step, weights, first, second)
        if stop.asked and step < asked.steps:
            print(f"asked to stop: saved at step {step}", flush=True)
            return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
