"""The known models' parameters, recounted from their shapes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestrator.domain.workload import Model
from orchestrator.spec.counting import counted, misfit
from orchestrator.spec.models import find_model, known_models

# Models whose shape the catalogue's columns cannot tell whole, or whose published count is rounded, by reason.
LATENT = "latent attention has matrices of its own, and shared experts and dense layers stand beside the mixture"
SHARED = "every token also passes a shared expert, or layers without experts stand between those with"
RELATIVE = "relative positions have a matrix per layer"
NARROW = "the embeddings are half as wide as the layers"
ROUNDED = "the paper says 1.5B, the weights are 1.56B"
EXCEPTIONS = {
    **dict.fromkeys(("deepseek-v2", "deepseek-v3", "deepseek-r1", "kimi-k2"), LATENT),
    **dict.fromkeys(("llama-4-scout", "llama-4-maverick", "qwen2-57b-a14b"), SHARED),
    **dict.fromkeys(("gopher-280b", "chinchilla-70b"), RELATIVE),
    "opt-350m": NARROW,
    "gpt-2": ROUNDED,
}
WITHOUT_SHAPE = {"gpt-4", "nemotron-super-49b"}  # not published; layers that differ from each other
WHOLE = [model for model in known_models() if model.name not in EXCEPTIONS.keys() | WITHOUT_SHAPE]


def errors(model: Model, published: float, *, chosen: bool = False) -> list[float]:
    """Relative errors with one embedding matrix and with two."""
    counts = (counted(model, tied=tied, chosen=chosen) for tied in (True, False))
    return [count / published - 1 for count in counts if count is not None]


@pytest.mark.parametrize("model", WHOLE, ids=lambda model: model.name)
def test_the_shape_makes_the_published_parameters(model: Model) -> None:
    assert min(map(abs, errors(model, model.parameters))) < 0.03
    assert min(map(abs, errors(model, model.active_parameters, chosen=True))) < 0.05


def test_nearly_every_row_is_recounted_and_the_exceptions_need_to_be() -> None:
    assert len(WHOLE) >= 125
    for model in known_models():
        if model.name in WITHOUT_SHAPE:
            assert counted(model, tied=True) is None
        elif model.name in EXCEPTIONS:
            off = min(map(abs, errors(model, model.parameters)))
            off += min(map(abs, errors(model, model.active_parameters, chosen=True)))
            assert off > 0.03, f"{model.name} needs no exception"


def test_every_row_with_a_shape_has_the_new_facts() -> None:
    for model in known_models():
        if model.name in WITHOUT_SHAPE:
            continue
        assert model.feed_forward is not None, model.name
        assert model.gated is not None, model.name
        assert model.context_length is not None, model.name
        assert 512 <= model.context_length <= 10_485_760, model.name
        assert (model.experts is None) == (model.active_parameters == model.parameters), model.name
        assert (model.experts is None) == (model.experts_per_token is None), model.name
        assert not list(misfit(model)), model.name


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("mixtral-8x7b", (14336, True, 8, 2, 32768)),
        ("deepseek-v3", (2048, True, 256, 8, 163840)),
        ("gpt-3", (49152, False, None, None, 2048)),
        ("llama-3.1-405b", (53248, True, None, None, 131072)),
        ("gpt-4", (None, None, None, None, None)),
    ],
)
def test_facts_are_read_from_the_table(name: str, facts: tuple[object, ...]) -> None:
    model = find_model(name)
    assert model is not None
    found = (model.feed_forward, model.gated, model.experts, model.experts_per_token, model.context_length)
    assert found == facts


LLAMA_2_7B = next(model for model in known_models() if model.name == "llama-2-7b")


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0, 1e3])
def test_parameters_that_the_shape_cannot_make_are_found(factor: float) -> None:
    wrong = replace(LLAMA_2_7B, parameters=6.7e9 * factor, active_parameters=6.7e9 * factor)
    (found,) = misfit(wrong)
    assert found.field == "parameters"
    assert re.search("at least" if factor < 1 else "at most", found.message)


def test_without_a_feed_forward_width_only_too_few_parameters_are_found() -> None:
    sparse = replace(LLAMA_2_7B, feed_forward=None)
    assert not list(misfit(replace(sparse, parameters=1e15)))
    assert list(misfit(replace(sparse, parameters=1e8, active_parameters=1e8)))
    assert not list(misfit(Model(name="?", parameters=1e15, active_parameters=1e15)))
