from __future__ import annotations

import csv
from pathlib import Path

import pytest

from orchestrator.spec.models import find_model, known_models, nearest_models

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "sizing" / "model_arch.csv"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("BERT-large", 0.34e9),
        ("GPT-J", 6e9),
        ("GPT-2", 1.5e9),
        ("GPT-3", 175e9),
        ("GPT-4", 1760e9),
        ("Llama 2 70B", 69e9),
        ("Llama 3.1 405B", 405e9),
    ],
)
def test_the_models_of_the_published_tables_have_the_tables_counts(name: str, parameters: float) -> None:
    model = find_model(name)
    assert model is not None
    assert model.parameters == model.active_parameters == parameters


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("Llama 3.1 8B", "llama-3.1-8b"),
        ("LLAMA_3.1_8B", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("Mixtral 8x7B", "mixtral-8x7b"),
        ("gptj", "gpt-j"),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"),
        ("google/gemma-2-9b-it", "gemma-2-9b"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("openai-community/gpt2", "gpt2-small"),
        ("gpt2", "gpt-2"),
    ],
)
def test_a_model_is_found_however_it_is_spelt(spelling: str, name: str) -> None:
    model = find_model(spelling)
    assert model is not None
    assert model.name == name


@pytest.mark.parametrize(
    "name", ["llama-27b", "llama-31-8b", "llama-2", "gpt-5", "someone/llama-3.1-8b-merged", "", "/"]
)
def test_a_name_that_is_merely_similar_is_not_found(name: str) -> None:
    assert find_model(name) is None


def test_the_nearest_names_are_offered() -> None:
    assert nearest_models("lama-3.1-8b")[0] == "llama-3.1-8b"
    assert "llama-2-7b" in nearest_models("llama-2")
    assert nearest_models("x" * 100_000) == ()


def test_every_row_is_whole() -> None:
    models = known_models()
    assert len({model.name for model in models}) == len(models) > 100
    for model in models:
        assert model.source
        assert 0 < model.active_parameters <= model.parameters
        assert find_model(model.name) == model
        if model.heads is not None and model.kv_heads is not None:
            assert model.kv_heads <= model.heads


def test_open_families_are_there() -> None:
    names = " ".join(model.name for model in known_models())
    for family in (
        "llama-2",
        "llama-3-",
        "llama-3.1",
        "mistral",
        "mixtral",
        "qwen",
        "gemma",
        "deepseek-v3",
        "phi",
        "olmo",
    ):
        assert family in names


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference table of architectures lies outside the repository")
def test_the_catalogue_agrees_with_the_reference_table() -> None:
    with REFERENCE.open(encoding="utf-8", newline="") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    checked = 0
    for name, row in rows.items():
        model = find_model(name)
        if model is None or model.layers is None:
            continue
        shape = (model.layers, model.hidden, model.heads, model.kv_heads, model.head_dim, model.vocabulary)
        columns = ("layers", "d_model", "heads", "kv_heads", "head_dim", "vocab")
        assert shape == tuple(int(row[column]) for column in columns), name
        assert (model.feed_forward, model.gated) == (int(row["ffn"]), row["gated"] == "1"), name
        assert model.parameters / 1e9 == pytest.approx(float(row["params_b"]), rel=0.01), name
        assert model.active_parameters / 1e9 == pytest.approx(float(row["active_b"]), rel=0.02), name
        checked += 1
    assert checked >= 25
