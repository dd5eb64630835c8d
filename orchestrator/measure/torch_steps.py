"""The bench on PyTorch: a Llama-style decoder that trains and serves on whatever device PyTorch finds here.

Eager mode with PyTorch's own kernels (fused attention, fused AdamW), as most people's own code runs; a compiled or
hand-tuned stack is faster. Training keeps weights, gradients and AdamW's moments in FP32 and computes in the asked
format, as PyTorch's mixed precision does.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from orchestrator.domain.accelerator import Precision
from orchestrator.measure.bench import Job, OutOfMemory, Seen, Serving
from orchestrator.measure.decoders import Decoder
from orchestrator.measure.host import cpu_name, load, memory_bytes

GIB = 2**30
DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
SEED = 20260101
INITIAL_DEVIATION = 0.02  # of the weights, as GPT-2 and Llama begin
ROTARY_BASE = 500_000.0  # of Llama 3
LEARNING_RATE = 3e-4
NO_ROOM = ("out of memory", "can't allocate memory", "not enough memory")


def find() -> TorchBench:
    """The bench on the best device here: an NVIDIA or AMD GPU, else an Apple GPU, else the CPU."""
    if torch.cuda.is_available():
        return TorchBench("cuda:0")
    return TorchBench("mps" if torch.backends.mps.is_available() else "cpu")


class TorchBench:
    """One device under PyTorch; see `orchestrator.measure.bench.Bench`."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        if self._device.type == "cuda":
            torch.cuda.init()  # else the first question about memory is answered by an error

    def seen(self) -> Seen:
        """What is here."""
        if self._device.type == "cuda":
            return self._seen_gpu()
        total, free = memory_bytes()
        apple = self._device.type == "mps"
        return Seen(
            framework=f"PyTorch {torch.__version__}",
            backend=self._device.type,
            name="Apple GPU" if apple else cpu_name(),  # that GPU is part of the chip and shares its memory
            memory_gib=total / GIB,
            free_gib=free / GIB,
            precisions=(Precision.FP16, Precision.FP32) if apple else (Precision.FP32,),
            threads=0 if apple else torch.get_num_threads(),
            load=0.0 if apple else load() / torch.get_num_threads(),
        )

    def _seen_gpu(self) -> Seen:
        properties = torch.cuda.get_device_properties(self._device)
        free, _ = torch.cuda.mem_get_info(self._device)
        rocm = torch.version.hip is not None
        # PyTorch also counts GPUs that only emulate BF16; tensor cores for it came with compute capability 8.
        native = rocm or properties.major >= 8
        formats = (Precision.BF16, Precision.FP16) if native else (Precision.FP16,)
        return Seen(
            framework=f"PyTorch {torch.__version__}",
            backend="rocm" if rocm else "cuda",
            name=properties.name,
            memory_gib=properties.total_memory / GIB,
            free_gib=free / GIB,
            precisions=(*formats, Precision.FP32),
        )

    def product(self, precision: Precision, size: int, times: int) -> Job:
        """`times` products of two square matrices of `size` rows. Raises: OutOfMemory."""

        def make() -> Callable[[], None]:
            left, right = (_normal((size, size), DTYPES[precision], self._device) for _ in range(2))
            out = torch.empty_like(left)

            def multiply() -> None:
                for _ in range(times):
                    torch.mm(left, right, out=out)

            return multiply

        return Work(self._device, make)

    def copy(self, size_bytes: int, times: int) -> Job:
        """`times` copies of `size_bytes` within the device's memory. Raises: OutOfMemory."""

        def make() -> Callable[[], None]:
            source = torch.ones(size_bytes // 4, dtype=torch.float32, device=self._device)
            target = torch.empty_like(source)

            def copy() -> None:
                for _ in range(times):
                    target.copy_(source)

            return copy

        return Work(self._device, make)

    def training(self, decoder: Decoder, precision: Precision, *, sequence: int, batch: int) -> Job:
        """One optimizer step on one batch of sequences. Raises: OutOfMemory."""
        return Work(self._device, lambda: Training(decoder, precision, self._device, sequence, batch).step)

    def serving(self, decoder: Decoder, precision: Precision, *, prompt: int, output: int, batch: int) -> Serving:
        """Answers of `output` tokens to prompts of `prompt` tokens. Raises: OutOfMemory."""
        return Answering(decoder, precision, self._device, prompt=prompt, output=output, batch=batch)


class Work:
    """What `make` returns, done to the end at each step; see `orchestrator.measure.bench.Job`."""

    def __init__(self, device: torch.device, make: Callable[[], Callable[[], None]]) -> None:
        self._device = device
        self._do: Callable[[], None] | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with _room():
            self._do = make()

    def step(self) -> None:
        """Do it once; on return the device has finished. Raises: OutOfMemory."""
        with _room():
            if self._do is not None:
                self._do()
            _finish(self._device)

    def peak_bytes(self) -> int | None:
        """The most memory allocated since the job was made; PyTorch tells it of CUDA and ROCm devices."""
        return int(torch.cuda.max_memory_allocated(self._device)) if self._device.type == "cuda" else None

    def close(self) -> None:
        """Give the memory back."""
        self._do = None
        _give_back(self._device)


class Network:
    """A decoder with random weights, stored in `stored` and computed with in `computed`."""

    def __init__(
        self, decoder: Decoder, device: torch.device, *, stored: torch.dtype, computed: torch.dtype, context: int
    ) -> None:
        self.decoder = decoder
        self.computed = computed
        torch.manual_seed(SEED)
        self.weights = {
            name: torch.ones(shape, dtype=stored, device=device) if len(shape) == 1 else _normal(shape, stored, device)
            for name, shape in decoder.weights().items()
        }
        steps = torch.arange(0, decoder.head_dim, 2, device=device, dtype=torch.float32) / decoder.head_dim
        angles = torch.arange(context, device=device, dtype=torch.float32)[:, None] * ROTARY_BASE**-steps
        self._cos, self._sin = (f(angles)[:, None, :].to(computed) for f in (torch.cos, torch.sin))

    def logits(
        self,
        tokens: torch.Tensor,
        cache: torch.Tensor | None = None,
        *,
        start: int = 0,
        last_alone: bool = False,
    ) -> torch.Tensor:
        """Logits of shape (batch, tokens, vocabulary), or of the last token alone.

        `cache` holds keys and values of the `start` tokens before these, and is given those of these; its shape is
        (layers, 2, batch, KV heads, context, head_dim). After the first token, one token comes at a time.
        """
        x = F.embedding(tokens, self.weights["embedding"]).to(self.computed)
        for layer in range(self.decoder.layers):
            normed = self._norm(x, f"{layer}.attention.norm")
            x = x + self._attention(normed, layer, None if cache is None else cache[layer], start)
            normed = self._norm(x, f"{layer}.feed_forward.norm")
            gate, up = F.linear(normed, self._weight(f"{layer}.feed_forward.gate_up")).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, self._weight(f"{layer}.feed_forward.down"))
        x = self._norm(x[:, -1:] if last_alone else x, "norm")
        return F.linear(x, self._weight("embedding" if self.decoder.tied else "output"))

    def _attention(self, x: torch.Tensor, layer: int, cache: torch.Tensor | None, start: int) -> torch.Tensor:
        shape, (batch, length, _) = self.decoder, x.shape
        turned = shape.heads + shape.kv_heads
        states = F.linear(x, self._weight(f"{layer}.attention.qkv")).view(batch, length, -1, shape.head_dim)
        cos, sin = self._cos[start : start + length], self._sin[start : start + length]
        first, second = states[:, :, :turned].chunk(2, dim=-1)
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).transpose(1, 2)
        query, key = rotated[:, : shape.heads], rotated[:, shape.heads :]
        value = states[:, :, turned:].transpose(1, 2)
        if cache is not None:
            cache[0, :, :, start : start + length] = key
            cache[1, :, :, start : start + length] = value
        if start and cache is not None:
            # One token: the queries that share a KV head attend as if they were a sequence, so nothing is copied.
            grouped = query.reshape(batch, shape.kv_heads, -1, shape.head_dim)
            seen = cache[:, :, :, : start + length]
            mixed = F.scaled_dot_product_attention(grouped, seen[0], seen[1])
            mixed = mixed.reshape(batch, shape.heads, length, shape.head_dim)
        else:
            group = shape.heads // shape.kv_heads
            key, value = (_repeated(states, group) for states in (key, value))
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        joined = mixed.transpose(1, 2).reshape(batch, length, shape.attention_width)
        return F.linear(joined, self._weight(f"{layer}.attention.out"))

    def _weight(self, name: str) -> torch.Tensor:
        return self.weights[name].to(self.computed)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, (self.decoder.hidden,), self._weight(name), 1e-5)


class Training:
    """A network that learns one fixed batch of random sequences by heart."""

    def __init__(self, decoder: Decoder, precision: Precision, device: torch.device, sequence: int, batch: int) -> None:
        computed = DTYPES[precision]
        self.network = Network(decoder, device, stored=torch.float32, computed=computed, context=sequence)
        for weight in self.network.weights.values():
            weight.requires_grad_(True)
        fused = device.type in ("cuda", "cpu")
        self._optimizer = torch.optim.AdamW(self.network.weights.values(), lr=LEARNING_RATE, fused=fused)
        # Gradients in FP16 fall below its smallest number unless the loss is scaled up (Micikevicius et al. 2018).
        scaled = precision is Precision.FP16 and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        tokens = torch.randint(decoder.vocabulary, (batch, sequence + 1), device=device)
        self._inputs, self._targets = tokens[:, :-1], tokens[:, 1:]
        self.loss = torch.zeros((), device=device)

    def step(self) -> None:
        """Forward, backward, AdamW; `loss` is of before it."""
        logits = self.network.logits(self._inputs)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), self._targets.flatten())
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.loss = loss.detach()


class Answering:
    """A network that answers random prompts greedily; see `orchestrator.measure.bench.Serving`."""

    def __init__(
        self, decoder: Decoder, precision: Precision, device: torch.device, *, prompt: int, output: int, batch: int
    ) -> None:
        self._device = device
        self._prompt, self._context = prompt, prompt + output
        dtype = DTYPES[precision]
        cache = (decoder.layers, 2, batch, decoder.kv_heads, self._context, decoder.head_dim)
        self._network: Network | None = None
        with _room(), torch.inference_mode():
            self._network = Network(decoder, device, stored=dtype, computed=dtype, context=self._context)
            self._cache = torch.zeros(cache, dtype=dtype, device=device)
            self._prompts = torch.randint(decoder.vocabulary, (batch, prompt), device=device)
            self._chosen = self._prompts[:, -1:]
        self._position = prompt

    def prefill(self) -> None:
        """Read every prompt and choose the first tokens. Raises: OutOfMemory."""
        self._position = self._prompt
        self._advance(self._prompts, 0)

    def decode(self) -> None:
        """One more token of every answer, and after the last one the second again. Raises: OutOfMemory."""
        if self._position >= self._context - 1:  # the last token of an answer is never read
            self._position = self._prompt
        self._advance(self._chosen, self._position)
        self._position += 1

    def _advance(self, tokens: torch.Tensor, start: int) -> None:
        if self._network is None:
            return
        with _room(), torch.inference_mode():
            logits = self._network.logits(tokens, self._cache, start=start, last_alone=True)
            self._chosen = logits.argmax(dim=-1)
            _finish(self._device)

    def close(self) -> None:
        """Give the memory back."""
        self._network = None
        self._cache = torch.empty(0)
        _give_back(self._device)


def _normal(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=device).normal_(0.0, INITIAL_DEVIATION)


def _repeated(states: torch.Tensor, group: int) -> torch.Tensor:
    """Every KV head once for each of the `group` query heads that share it: not every kernel shares them itself."""
    batch, heads, length, width = states.shape
    return states[:, :, None].expand(batch, heads, group, length, width).reshape(batch, heads * group, length, width)


def _finish(device: torch.device) -> None:
    """Wait for the device: what is asked of a GPU returns before it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _give_back(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def _room() -> Iterator[None]:
    """Every device says in its own words that it is full. Raises: OutOfMemory."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in NO_ROOM):
            raise
        raise OutOfMemory(str(error).splitlines()[0]) from error
