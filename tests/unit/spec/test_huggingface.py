from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.spec.huggingface import from_config, from_config_json

LLAMA_31_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
MIXTRAL_8X7B = {
    **LLAMA_31_8B,
    "model_type": "mixtral",
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
}
DEEPSEEK_V2_LITE = {
    **DEEPSEEK_V3,
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "q_lora_rank": None,
    "vocab_size": 102400,
}
GEMMA_2_9B = {
    "model_type": "gemma2",
    "hidden_size": 3584,
    "num_hidden_layers": 42,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "intermediate_size": 14336,
    "vocab_size": 256000,
}
PHI_3_MINI = {
    "model_type": "phi3",
    "hidden_size": 3072,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 8192,
    "vocab_size": 32064,
}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
OPT_13B = {
    "model_type": "opt",
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "ffn_dim": 20480,
    "max_position_embeddings": 2048,
    "vocab_size": 50272,
}
FALCON_7B = {
    "model_type": "falcon",
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "vocab_size": 65024,
}
FALCON_40B = {
    "model_type": "falcon",
    "hidden_size": 8192,
    "num_hidden_layers": 60,
    "num_attention_heads": 128,
    "num_kv_heads": 8,
    "new_decoder_architecture": True,
    "vocab_size": 65024,
}
QWEN2_57B_A14B = {
    "model_type": "qwen2_moe",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "moe_intermediate_size": 2560,
    "shared_expert_intermediate_size": 20480,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}

LLAMA_4_SCOUT = {
    "model_type": "llama4_text",
    "hidden_size": 5120,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "interleave_moe_layer_step": 1,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "max_position_embeddings": 10485760,
    "vocab_size": 202048,
}
LLAMA_4_MAVERICK = {**LLAMA_4_SCOUT, "interleave_moe_layer_step": 2, "num_local_experts": 128}


@pytest.mark.parametrize(
    ("config", "billions", "active"),
    [
        pytest.param(LLAMA_31_8B, 8.03, 8.03, id="llama-3.1-8b"),
        pytest.param(MIXTRAL_8X7B, 46.7, 12.9, id="mixtral-8x7b"),
        pytest.param(QWEN3_30B_A3B, 30.5, 3.3, id="qwen3-30b-a3b"),
        pytest.param(DEEPSEEK_V3, 671.0, 37.0, id="deepseek-v3"),
        pytest.param(DEEPSEEK_V2_LITE, 15.7, 2.66, id="deepseek-v2-lite"),
        pytest.param(QWEN2_57B_A14B, 57.4, 14.2, id="qwen2-57b-a14b"),
        pytest.param(LLAMA_4_SCOUT, 107.8, 17.2, id="llama-4-scout"),
        pytest.param(LLAMA_4_MAVERICK, 400.0, 17.2, id="llama-4-maverick"),
        pytest.param(GEMMA_2_9B, 9.24, 9.24, id="gemma-2-9b"),
        pytest.param(PHI_3_MINI, 3.82, 3.82, id="phi-3-mini"),
        pytest.param(GPT2, 0.124, 0.124, id="gpt2"),
        pytest.param(OPT_13B, 12.85, 12.85, id="opt-13b"),
        pytest.param(FALCON_7B, 7.22, 7.22, id="falcon-7b"),
        pytest.param(FALCON_40B, 41.8, 41.8, id="falcon-40b"),
    ],
)
def test_counted_parameters_are_within_two_percent_of_the_published(
    config: dict[str, object], billions: float, active: float
) -> None:
    model = from_config(config, "config.json")
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.02)
    assert model.active_parameters / 1e9 == pytest.approx(active, rel=0.02)


def test_the_shape_is_taken_over() -> None:
    model = from_config(QWEN3_30B_A3B, "config.json")
    assert (model.layers, model.hidden, model.heads, model.kv_heads, model.head_dim) == (48, 2048, 32, 4, 128)
    assert model.vocabulary == 151936
    assert (model.feed_forward, model.gated, model.experts, model.experts_per_token) == (768, True, 128, 8)
    dense = from_config(OPT_13B, "config.json")
    assert (dense.feed_forward, dense.gated, dense.experts, dense.experts_per_token) == (20480, False, None, None)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("keys", "longest"),
    [
        ({}, None),
        ({"max_position_embeddings": 8192}, 8192),
        ({"seq_length": 2048}, 2048),
        ({"max_position_embeddings": 4096, "max_sequence_length": 16384}, 16384),
        ({"max_position_embeddings": 32768, "rope_scaling": YARN}, 131072),
        (
            {"max_position_embeddings": 131072, "rope_scaling": {**YARN, "original_max_position_embeddings": 8192}},
            131072,
        ),
        ({"max_position_embeddings": 16384, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 32768, "rope_parameters": YARN}, 131072),
        ({"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "default"}}, 8192),
        ({"max_position_embeddings": 8192, "rope_scaling": None}, 8192),
    ],
)
def test_the_longest_sequence_counts_rope_scaling_where_the_file_says_what_it_scales(
    keys: dict[str, object], longest: int | None
) -> None:
    assert from_config({**LLAMA_31_8B, **keys}, "c").context_length == longest


@pytest.mark.parametrize("factor", [0, 0.5, -4, 1e5, float("nan"), float("inf"), "4", True])
def test_a_rope_scaling_that_is_none_is_refused(factor: object) -> None:
    with pytest.raises(SpecError, match="rope_scaling: has a factor that is no number from 1 to"):
        from_config({**LLAMA_31_8B, "rope_scaling": {**YARN, "factor": factor}}, "c.json")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {**LLAMA_31_8B, "num_attention_heads": 30, "num_key_value_heads": 30},
            "30 heads do not divide the width of 4096",
        ),
        ({**LLAMA_31_8B, "num_key_value_heads": 5}, "5 key-value heads do not divide 32 heads"),
        ({**LLAMA_31_8B, "num_key_value_heads": 64}, "64 key-value heads do not divide 32 heads"),
        ({**LLAMA_31_8B, "num_hidden_layers": 0}, "num_hidden_layers: is 0"),
        ({**LLAMA_31_8B, "num_attention_heads": 0}, "num_attention_heads: is 0"),
        ({**LLAMA_31_8B, "vocab_size": 0}, "vocab_size: is 0"),
        ({**LLAMA_31_8B, "intermediate_size": 0}, "intermediate_size: is 0"),
        ({**LLAMA_31_8B, "num_experts_per_tok": 2}, "num_experts_per_tok: is given, but no number of experts"),
        ({**MIXTRAL_8X7B, "num_experts_per_tok": 0}, "num_experts_per_tok: is 0"),
        ({**DEEPSEEK_V3, "first_k_dense_replace": 61}, "none of the 61 layers is left for them"),
        ({**LLAMA_4_MAVERICK, "interleave_moe_layer_step": 49}, "none of the 48 layers is left for them"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused_at_the_key(config: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_config(config, "c.json")
    assert str(caught.value).startswith("c.json: ")
    assert said in str(caught.value)


def test_heads_wider_than_their_share_of_the_width_are_no_contradiction() -> None:
    model = from_config({**LLAMA_31_8B, "num_attention_heads": 30, "num_key_value_heads": 10, "head_dim": 128}, "c")
    assert (model.heads, model.head_dim) == (30, 128)


@pytest.mark.parametrize("count", [0, 1])
def test_a_mixture_of_no_experts_or_one_is_a_dense_model(count: int) -> None:
    model = from_config({**LLAMA_31_8B, "num_local_experts": count, "num_experts_per_tok": count}, "c")
    assert model == from_config(LLAMA_31_8B, "c")


def test_latent_attention_is_given_as_a_plain_cache_of_the_same_size() -> None:
    model = from_config(DEEPSEEK_V3, "config.json")
    assert model.kv_heads is not None
    assert model.head_dim is not None
    assert 2 * model.kv_heads * model.head_dim == 512 + 64


def test_leading_dense_layers_count_as_dense() -> None:
    all_sparse = from_config({**DEEPSEEK_V3, "first_k_dense_replace": 0}, "c")
    assert all_sparse.parameters > from_config(DEEPSEEK_V3, "c").parameters


def test_tied_embeddings_count_once() -> None:
    tied = from_config({**LLAMA_31_8B, "tie_word_embeddings": True}, "c")
    assert from_config(LLAMA_31_8B, "c").parameters - tied.parameters == 128256 * 4096


def test_an_unknown_type_with_missing_keys_names_them_all() -> None:
    with pytest.raises(SpecError) as caught:
        from_config({"model_type": "novel", "hidden_size": 1024}, "c.json")
    missing = [problem.field for problem in caught.value.problems]
    assert missing == ["num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"]
    assert "c.json: num_hidden_layers: is missing (or n_layer" in str(caught.value)


def test_an_unknown_type_with_all_keys_is_counted_and_says_how() -> None:
    model = from_config({**LLAMA_31_8B, "model_type": "novel"}, "c.json")
    assert model.parameters == from_config(LLAMA_31_8B, "c.json").parameters
    assert "'novel' is not known here" in model.source


@pytest.mark.parametrize("value", [-1, 1.5, True, "4096", [1], 10**12])
def test_a_dimension_that_is_no_sane_whole_number_is_refused(value: object) -> None:
    with pytest.raises(SpecError, match="hidden_size: is not a whole number"):
        from_config({**LLAMA_31_8B, "hidden_size": value}, "c.json")


def test_a_mixture_needs_to_say_how_many_experts_a_token_passes() -> None:
    with pytest.raises(SpecError, match="num_experts_per_tok: is missing"):
        from_config({**MIXTRAL_8X7B, "num_experts_per_tok": None}, "c.json")
    with pytest.raises(SpecError, match="9 of 8 experts"):
        from_config({**MIXTRAL_8X7B, "num_experts_per_tok": 9}, "c.json")


def test_a_multimodal_config_counts_its_language_model(tmp_path: Path) -> None:
    nested = {"model_type": "gemma3", "text_config": {**GEMMA_2_9B, "model_type": "gemma3_text"}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(nested))
    assert (
        from_config_json(path).parameters
        == from_config_json(tmp_path).parameters
        == from_config(GEMMA_2_9B, "").parameters
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("[1]", "holds no JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("x" * (2**20 + 1), "is larger than 1 MiB"),
        ("{}", "hidden_size: is missing"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(SpecError, match=said):
        from_config_json(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        from_config_json(tmp_path / "config.json")
