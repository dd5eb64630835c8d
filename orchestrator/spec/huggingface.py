"""Counts a transformer's parameters from its Hugging Face `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.workload import Model

MOST_BYTES = 2**20
LARGEST = 10**9  # of any dimension: keeps every product a finite float
MOST_SCALING = 10_000  # of a context by rope scaling; the largest published is 64

# One number has many names; the first that is there counts.
NAMES = {
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
    "intermediate_size": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "positions": ("max_position_embeddings", "n_positions"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "top_k"),
    "head_dim": ("head_dim", "d_kv", "kv_channels"),
    "sparse_step": ("decoder_sparse_step", "interleave_moe_layer_step"),
}
# Any of them may be the longest sequence; a file may hold two, the shorter being what the model was first trained at.
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a `model_type` implies and its config.json may leave out (transformers writes no key at its default)."""

    gated: bool = True  # three matrices in the feed-forward part (SwiGLU, GeGLU) instead of two
    tied: bool = False  # input and output embeddings are one matrix, where `tie_word_embeddings` is missing
    learned_positions: bool = False
    wide: int | None = None  # intermediate size over hidden size, where it is missing
    shares_expert: bool = False  # beside the chosen experts every token passes one that no key tells of


LLAMA = Family()
TIED = Family(tied=True)
PLAIN = Family(gated=False, wide=4)
PLAIN_TIED = Family(gated=False, tied=True, wide=4)
POSITIONS = Family(gated=False, tied=True, learned_positions=True, wide=4)
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"), LLAMA),
    "llama4_text": Family(shares_expert=True),
    **dict.fromkeys(("phi3", "phimoe", "granite", "stablelm", "internlm2", "yi", "gpt_oss", "exaone"), LLAMA),
    **dict.fromkeys(("deepseek", "deepseek_v2", "deepseek_v3", "kimi_k2", "olmo", "olmo2", "olmo3", "olmoe"), LLAMA),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text", "cohere", "cohere2"), TIED),
    **dict.fromkeys(("gptj", "gpt_neox", "phi", "nemotron", "falcon", "RefinedWeb", "RefinedWebModel"), PLAIN),
    **dict.fromkeys(("bloom", "mpt", "starcoder2"), PLAIN_TIED),
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gpt_neo", "opt", "bert", "roberta"), POSITIONS),
}
GATED_ACTIVATIONS = frozenset({"silu", "swish", "swiglu", "geglu"})


def from_config_json(path: Path) -> Model:
    """The model that a Hugging Face `config.json` (or the folder that holds one) describes.

    Counts embeddings, attention (grouped queries, DeepSeek's latent attention), feed-forward parts (plain, gated,
    mixtures of experts with shared experts and leading dense layers) and norms; leaves out biases (under 0.2 %). Active
    parameters include both embeddings. For latent attention `kv_heads` and `head_dim` are those of a plain cache of the
    same size. `feed_forward` is the width of one expert in a mixture. `context_length` counts rope scaling where the
    file says what it scales.

    Raises: SpecError naming the file and every key that is missing, wrong or at odds with another.
    """
    if path.is_dir():
        path = path / "config.json"
    config = _read(path)
    text = config.get("text_config")  # multimodal models nest their language model
    if isinstance(text, dict):
        config = {"model_type": config.get("model_type"), **text}
    return from_config(config, str(path))


def from_config(config: Mapping[str, object], file: str) -> Model:
    """As `from_config_json`, of a config that is read already; `file` is for messages and `Model.source`.

    Raises: SpecError.
    """
    shape = _Config(config, file).shape()
    total, active = shape.count()
    kv_heads, head_dim = shape.kv_heads, shape.head_dim
    if shape.latent is not None:
        kv_heads, head_dim = 1, (shape.latent.kv_rank + shape.latent.rope_dim + 1) // 2
    name = config.get("_name_or_path")
    return Model(
        name=name if isinstance(name, str) and name else shape.model_type,
        parameters=float(total),
        active_parameters=float(active),
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=shape.vocabulary,
        feed_forward=shape.experts.width if shape.experts else shape.width,
        gated=shape.gated,
        experts=shape.experts.count if shape.experts else None,
        experts_per_token=shape.experts.chosen if shape.experts else None,
        context_length=shape.context_length,
        source=f"counted from {file}{shape.note}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """DeepSeek's multi-head latent attention; `query_rank` 0 is a query without compression."""

    query_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture: `layers` layers have `count` experts each, of which a token passes `chosen` and all shared ones."""

    count: int
    chosen: int
    width: int
    shared_width: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """All that the count needs."""

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    vocabulary: int
    embedding: int  # width of the embeddings; OPT-350m's is half of `hidden`
    gated: bool
    tied: bool
    learned_positions: int
    context_length: int | None
    latent: Latent | None
    experts: Experts | None
    note: str

    def count(self) -> tuple[int, int]:
        """(all parameters, those that one token passes)."""
        matrices = 3 if self.gated else 2
        fixed = self.vocabulary * self.embedding * (1 if self.tied else 2) + self.learned_positions * self.hidden
        fixed += 2 * self.embedding * self.hidden if self.embedding != self.hidden else 0
        fixed += self.layers * (self._attention() + 2 * self.hidden) + self.hidden
        if self.experts is None:
            dense = fixed + self.layers * matrices * self.hidden * self.width
            return dense, dense
        mixture = self.experts
        fixed += (self.layers - mixture.layers) * matrices * self.hidden * self.width
        fixed += mixture.layers * self.hidden * (matrices * mixture.shared_width + mixture.count)  # and the router
        one = mixture.layers * matrices * self.hidden * mixture.width
        return fixed + mixture.count * one, fixed + mixture.chosen * one

    def _attention(self) -> int:
        latent = self.latent
        if latent is None:
            return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        query_dim = self.heads * (latent.nope_dim + latent.rope_dim)
        query = latent.query_rank * (self.hidden + query_dim) if latent.query_rank else self.hidden * query_dim
        down = self.hidden * (latent.kv_rank + latent.rope_dim)
        up = latent.kv_rank * self.heads * (latent.nope_dim + latent.value_dim)
        return query + down + up + self.heads * latent.value_dim * self.hidden


class _Config:
    """Reads the keys of one config and gathers what is wrong with them."""

    def __init__(self, config: Mapping[str, object], file: str) -> None:
        self._config = config
        self._file = file
        self._problems: list[Problem] = []

    def shape(self) -> Shape:
        """Raises: SpecError with every key that is missing or wrong."""
        model_type = self._config.get("model_type")
        kind = model_type if isinstance(model_type, str) and model_type else "unknown"
        known = FAMILIES.get(kind)
        family = known or self._guess()
        hidden, layers = self._need("hidden_size"), self._need("num_hidden_layers")
        heads, vocabulary = self._need("num_attention_heads"), self._need("vocab_size")
        head_dim = self._find("head_dim") or (hidden // heads if heads else 0)
        default_width = hidden * family.wide if family.wide else None
        width = self._find("intermediate_size") or default_width or self._need("intermediate_size")
        kv_heads, latent = self._kv_heads(kind, heads), self._latent()
        if latent is None:
            self._judge_heads(hidden, heads, kv_heads)
        tied = self._config.get("tie_word_embeddings")
        shape = Shape(
            model_type=kind,
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            width=self._find("intermediate_size_mlp") or width,
            vocabulary=vocabulary,
            embedding=self._find("word_embed_proj_dim") or hidden,
            gated=family.gated,
            tied=tied if isinstance(tied, bool) else family.tied,
            learned_positions=self._need("positions") if family.learned_positions else 0,
            context_length=self._context(),
            latent=latent,
            experts=self._experts(layers, width, shares=family.shares_expert),
            note="" if known else f"; model_type {kind!r} is not known here, counted as a Llama-like decoder",
        )
        if self._problems:
            raise SpecError(self._file, tuple(self._problems))
        return shape

    def _guess(self) -> Family:
        activation = self._config.get("hidden_act") or self._config.get("hidden_activation")
        if activation is None or str(activation).lower() in GATED_ACTIVATIONS:
            return LLAMA
        return Family(gated=False)

    def _kv_heads(self, kind: str, heads: int) -> int:
        if kind in {"falcon", "RefinedWeb", "RefinedWebModel", "gpt_bigcode"}:
            grouped = self._config.get("new_decoder_architecture") is True
            if self._config.get("multi_query", True) is True and not grouped:
                return 1
        return self._find("num_key_value_heads") or heads

    def _judge_heads(self, hidden: int, heads: int, kv_heads: int) -> None:
        if not self._problems and self._find("head_dim") is None and hidden % heads:
            self._wrong(
                "num_attention_heads", f"{heads} heads do not divide the width of {hidden}, and head_dim is missing"
            )
        if not self._problems and (kv_heads > heads or heads % kv_heads):
            self._wrong("num_key_value_heads", f"{kv_heads} key-value heads do not divide {heads} heads")

    def _context(self) -> int | None:
        """The longest sequence: as stated, or what rope scaling makes of the length it starts from."""
        stated = [self._find(key) or 0 for key in CONTEXTS]
        scaling = self._config.get("rope_scaling") or self._config.get("rope_parameters")
        if isinstance(scaling, dict) and scaling.get("factor") is not None:
            factor = scaling["factor"]
            if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= MOST_SCALING:
                self._wrong("rope_scaling", f"has a factor that is no number from 1 to {MOST_SCALING}")
            elif isinstance(original := scaling.get("original_max_position_embeddings"), int):
                stated.append(int(min(max(original, 0), LARGEST) * factor))
        return max(stated) or None

    def _latent(self) -> Latent | None:
        if self._config.get("kv_lora_rank") is None:
            return None
        return Latent(
            query_rank=self._find("q_lora_rank") or 0,
            kv_rank=self._need("kv_lora_rank"),
            nope_dim=self._need("qk_nope_head_dim"),
            rope_dim=self._need("qk_rope_head_dim"),
            value_dim=self._need("v_head_dim"),
        )

    def _experts(self, layers: int, width: int, *, shares: bool) -> Experts | None:
        count = self._find("experts") or 0
        if count <= 1:  # 0 and 1 are how a file of a mixture's family says that the model is dense
            if (self._find("num_experts_per_tok") or 0) > 1:
                self._wrong("num_experts_per_tok", "is given, but no number of experts (num_local_experts)")
            return None
        chosen = self._need("experts_per_token")
        if chosen > count:
            self._wrong("num_experts_per_tok", f"{chosen} of {count} experts")
        inner = self._find("moe_intermediate_size") or width
        shared = self._find("shared_expert_intermediate_size") or (self._find("n_shared_experts") or 0) * inner
        dense = self._find("first_k_dense_replace") or 0
        alone = self._config.get("mlp_only_layers")
        dense += len(alone) if isinstance(alone, list) else 0
        step = self._find("sparse_step") or 1
        sparse = max(0, layers - dense) // step
        if sparse == 0:
            self._wrong("num_local_experts", f"{count} experts, but none of the {layers} layers is left for them")
        return Experts(
            count=count,
            chosen=min(chosen, count),
            width=inner,
            shared_width=shared or (inner if shares else 0),
            layers=sparse,
        )

    def _find(self, key: str) -> int | None:
        """The number under the key or one of its other names; None where there is none."""
        for name in NAMES.get(key, (key,)):
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
                self._wrong(name, "is not a whole number from 0 to 1e9")
                return 1
            return value
        return None

    def _need(self, key: str) -> int:
        value = self._find(key)
        if value:
            return value
        names = NAMES.get(key, (key,))
        other = f"or {', '.join(names[1:])}" if names[1:] else ""
        message = "is missing" if value is None else "is 0"
        self._problems.append(Problem(0, 0, names[0], message, other))
        return 1

    def _wrong(self, key: str, message: str) -> None:
        self._problems.append(Problem(0, 0, key, message))


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise _refused(path, "is larger than 1 MiB")
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise _refused(path, "holds no JSON object")
    return config


def _refused(path: Path, message: str) -> SpecError:
    return SpecError(str(path), (Problem(0, 0, "", message, "expected a Hugging Face config.json"),))
