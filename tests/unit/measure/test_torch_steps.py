"""The bench on PyTorch, on the CPU with tiny models: the arithmetic is right, whatever the time it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.catalog import accelerators
from orchestrator.domain.accelerator import Precision
from orchestrator.measure import cases, device, session
from orchestrator.measure.bench import OutOfMemory
from orchestrator.measure.decoders import Decoder
from orchestrator.measure.rows import training_csv
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.testing.clock import FakeClock

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: .venv/bin/python -m pip install 'torch>=2.4' to test measuring with it"
)
flop_counter = pytest.importorskip("torch.utils.flop_counter")
attention = pytest.importorskip("torch.nn.attention")
steps = pytest.importorskip("orchestrator.measure.torch_steps")

HERE = torch.device("cpu")
TIED = Decoder(
    name="tiny", layers=3, hidden=48, heads=6, kv_heads=2, head_dim=8, feed_forward=80, vocabulary=96, tied=True
)
APART = Decoder(
    name="apart", layers=2, hidden=32, heads=4, kv_heads=4, head_dim=16, feed_forward=64, vocabulary=64, tied=False
)
BOTH = pytest.mark.parametrize("decoder", [TIED, APART], ids=lambda decoder: decoder.name)


def network(decoder: Decoder, context: int = 32) -> steps.Network:
    return steps.Network(decoder, HERE, stored=torch.float32, computed=torch.float32, context=context)


@BOTH
def test_the_network_has_as_many_weights_as_the_decoder_says(decoder: Decoder) -> None:
    assert sum(weight.numel() for weight in network(decoder).weights.values()) == decoder.parameters


def test_a_training_step_does_the_flops_that_mfu_counts() -> None:
    sequence, batch = 64, 2
    job = steps.Training(TIED, Precision.FP32, HERE, sequence, batch)
    # The mathematical form of attention is counted in full, as MFU does it; a fused kernel would count half.
    with attention.sdpa_kernel(attention.SDPBackend.MATH), flop_counter.FlopCounterMode(display=False) as counter:
        job.step()
    assert counter.get_total_flops() == pytest.approx(TIED.training_flops(sequence) * sequence * batch, rel=0.02)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_the_loss_falls_on_a_batch_that_is_seen_again(precision: Precision) -> None:
    job = steps.Training(TIED, precision, HERE, 16, 2)
    losses = []
    for _ in range(30):
        job.step()
        losses.append(float(job.loss))
    assert losses[-1] < losses[0] - 0.5
    assert all(weight.dtype is torch.float32 for weight in job.network.weights.values())


@BOTH
def test_every_weight_learns(decoder: Decoder) -> None:
    job = steps.Training(decoder, Precision.FP32, HERE, 16, 2)
    before = {name: weight.detach().clone() for name, weight in job.network.weights.items()}
    job.step()
    job.step()
    assert [name for name, weight in job.network.weights.items() if torch.equal(weight, before[name])] == []
    assert all(weight.grad is None for weight in job.network.weights.values())  # the next step begins with none


@BOTH
def test_decoding_from_the_cache_gives_the_logits_of_the_whole_sequence(decoder: Decoder) -> None:
    net = network(decoder)
    for weight in net.weights.values():
        weight.normal_(0.0, 0.3)  # large enough that every token sees the others
    tokens = torch.randint(decoder.vocabulary, (2, 12))
    whole = net.logits(tokens)
    cache = torch.full((decoder.layers, 2, 2, decoder.kv_heads, 12, decoder.head_dim), float("nan"))
    pieces = [net.logits(tokens[:, :8], cache, start=0)]
    pieces += [net.logits(tokens[:, n : n + 1], cache, start=n) for n in range(8, 12)]
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-4)
    assert torch.allclose(net.logits(tokens, last_alone=True), whole[:, -1:], atol=1e-4)


@BOTH
def test_the_logits_are_those_of_llama_written_down_token_by_token(decoder: Decoder) -> None:
    net = network(decoder)
    for weight in net.weights.values():
        weight.normal_(0.0, 0.3)
    tokens = torch.randint(decoder.vocabulary, (1, 7))
    theirs = written_down(decoder, {name: w.double().numpy() for name, w in net.weights.items()}, tokens[0].tolist())
    assert np.allclose(net.logits(tokens)[0].numpy(), theirs, atol=1e-3)


def written_down(decoder: Decoder, weights: dict[str, npt.NDArray[np.float64]], tokens: list[int]) -> object:
    """Llama by its papers' formulas, one token and one head at a time: logits of every token."""
    heads, width = decoder.heads, decoder.head_dim
    angles = 500_000.0 ** -(np.arange(0, width, 2) / width)

    def norm(x: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
        return x / np.sqrt(np.mean(x**2) + 1e-5) * weights[name]

    def turn(x: npt.NDArray[np.float64], position: int) -> npt.NDArray[np.float64]:
        plane = (x[: width // 2] + 1j * x[width // 2 :]) * np.exp(1j * position * angles)
        return np.concatenate((plane.real, plane.imag))

    rows = [weights["embedding"][token] for token in tokens]
    for layer in range(decoder.layers):
        keys: list[list[npt.NDArray[np.float64]]] = []
        values: list[list[npt.NDArray[np.float64]]] = []
        for position, x in enumerate(rows):
            states = (weights[f"{layer}.attention.qkv"] @ norm(x, f"{layer}.attention.norm")).reshape(-1, width)
            keys.append([turn(state, position) for state in states[heads : heads + decoder.kv_heads]])
            values.append(list(states[heads + decoder.kv_heads :]))
            mixed = []
            for head in range(heads):
                shared = head // (heads // decoder.kv_heads)
                scores = [turn(states[head], position) @ key[shared] / np.sqrt(width) for key in keys]
                shares = np.exp(scores) / np.exp(scores).sum()
                mixed.append(sum(share * value[shared] for share, value in zip(shares, values, strict=True)))
            joined = x + weights[f"{layer}.attention.out"] @ np.concatenate(mixed)
            both = weights[f"{layer}.feed_forward.gate_up"] @ norm(joined, f"{layer}.feed_forward.norm")
            gate, up = both[: decoder.feed_forward], both[decoder.feed_forward :]
            rows[position] = joined + weights[f"{layer}.feed_forward.down"] @ (gate / (1 + np.exp(-gate)) * up)
    return np.stack([weights["embedding" if decoder.tied else "output"] @ norm(x, "norm") for x in rows])


def test_a_token_sees_those_before_it_alone_and_how_far_away_they_are() -> None:
    net = network(TIED)
    for weight in net.weights.values():
        weight.normal_(0.0, 0.3)
    tokens = torch.randint(TIED.vocabulary, (1, 10))
    changed = tokens.clone()
    changed[0, 6] = (changed[0, 6] + 1) % TIED.vocabulary
    before, after = net.logits(tokens), net.logits(changed)
    assert torch.allclose(before[:, :6], after[:, :6], atol=1e-5)
    assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-3)
    swapped = tokens.clone()
    swapped[0, 0], swapped[0, 1] = tokens[0, 1], tokens[0, 0]
    assert not torch.allclose(net.logits(swapped)[:, -1], before[:, -1], atol=1e-3)


def test_serving_decodes_every_token_of_the_answer_and_then_begins_again() -> None:
    serving = steps.TorchBench("cpu").serving(TIED, Precision.FP32, prompt=5, output=4, batch=3)
    serving.prefill()
    first = serving._chosen
    assert first.shape == (3, 1)
    positions = []
    for _ in range(7):
        serving.decode()
        positions.append(serving._position - 1)  # of the token that it read
    assert positions == [5, 6, 7, 5, 6, 7, 5]  # the fourth token of an answer is given and never read
    serving.prefill()
    assert torch.equal(serving._chosen, first)
    serving.close()


def test_what_the_allocator_says_becomes_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    bench = steps.TorchBench("cpu")
    job = bench.training(TIED, Precision.FP32, sequence=8, batch=1)
    serving = bench.serving(TIED, Precision.FP32, prompt=4, output=2, batch=1)
    monkeypatch.setattr(steps.F, "linear", full)
    for act in (job.step, serving.prefill):
        with pytest.raises(OutOfMemory, match=r"20\.00 GiB"):
            act()
    job.close()
    serving.close()


def test_the_cpus_own_words_for_a_full_memory_are_understood() -> None:
    with pytest.raises(OutOfMemory):
        steps.TorchBench("cpu").copy(2**60, 1)


def test_another_error_of_the_framework_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **named: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    job = steps.TorchBench("cpu").training(TIED, Precision.FP32, sequence=8, batch=1)
    monkeypatch.setattr(steps.F, "linear", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        job.step()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases that take milliseconds."""
    monkeypatch.setattr(cases, "LADDER", (TIED, APART))
    monkeypatch.setattr(cases, "TRAINING_CPU", ((8, 1), (16, 2)))
    monkeypatch.setattr(cases, "SERVING_CPU", ((8, 4, 1), (8, 4, 2)))
    monkeypatch.setattr(device, "PRODUCT_CPU", (64, 1))
    monkeypatch.setattr(device, "COPY_CPU", (2**16, 1))


@pytest.mark.usefixtures("small")
def test_this_machine_is_measured_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "find", lambda: steps.TorchBench("cpu"))
    # This test is not about noise, which makes tiny products look slow beside tiny models.
    monkeypatch.setattr("orchestrator.measure.repeats.UNSTEADY", 1e9)
    monkeypatch.setattr("orchestrator.measure.observations.MOST_MFU", 1e9)
    said: list[str] = []
    seen = session.measure(accelerators.load(), budget_s=60.0, clock=FakeClock(), progress=said.append)
    training = [run for run in seen.runs if isinstance(run, TrainingRun)]
    serving = [run for run in seen.runs if isinstance(run, InferenceRun)]
    assert (len(training), len(serving)) == (4, 4)
    assert seen.device.name == "cpu"
    assert all(run.mfu and run.mfu > 0 and run.precision is Precision.FP32 for run in training)
    assert all(run.tpot_s and run.tpot_s > 0 for run in serving)
    assert [run.ttft_s is not None for run in serving] == [run.concurrency == 1 for run in serving]
    assert torch.__version__ in seen.source
    assert len(training_csv(seen.runs, source=seen.source).splitlines()) == 5
    assert sum("tiny" in line for line in said) == 4


def test_what_is_said_of_this_machine_is_what_it_is() -> None:
    seen = steps.TorchBench("cpu").seen()
    assert seen.name
    assert 0 < seen.free_gib <= seen.memory_gib
    assert seen.threads == torch.get_num_threads()
    assert Path(sys.executable).exists()
