"""The measured models: their parameters are those that the catalogue and the config.json reader count."""

from __future__ import annotations

import pytest

from orchestrator.measure.decoders import LADDER, Decoder
from orchestrator.spec.huggingface import from_config
from orchestrator.spec.models import find_model


@pytest.mark.parametrize("decoder", LADDER, ids=lambda decoder: decoder.name)
def test_the_parameters_are_those_of_a_config_of_the_same_shape(decoder: Decoder) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": decoder.hidden,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "head_dim": decoder.head_dim,
        "intermediate_size": decoder.feed_forward,
        "vocab_size": decoder.vocabulary,
        "tie_word_embeddings": decoder.tied,
    }
    assert decoder.parameters == from_config(config, "test").parameters


@pytest.mark.parametrize("decoder", LADDER, ids=lambda decoder: decoder.name)
def test_the_model_is_the_catalogues_of_that_name(decoder: Decoder) -> None:
    known, ours = find_model(decoder.name), decoder.model()
    assert known is not None
    assert ours.parameters == pytest.approx(known.parameters, rel=1e-3)
    for field in ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "feed_forward", "gated"):
        assert getattr(ours, field) == getattr(known, field), field


def test_the_ladder_climbs() -> None:
    sizes = [decoder.parameters for decoder in LADDER]
    assert sizes == sorted(sizes)
