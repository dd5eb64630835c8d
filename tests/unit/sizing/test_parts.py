"""The split of a model's parameters, against the dimensions that models publish."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from orchestrator.domain.workload import Model
from orchestrator.sizing.parts import parameter_split

ARCHITECTURES = Path(__file__).parents[4] / "shared" / "data" / "sizing" / "model_arch.csv"
EXPERTS = {
    "Mixtral 8x7B": (8, 2),
    "Mixtral 8x22B": (8, 2),
    "Qwen3-30B-A3B": (128, 8),
    "Qwen3-235B-A22B": (128, 8),
}
PRUNED = "Nemotron-Super-49B"  # its layers differ: the table's row has the widest one

MIXTRAL = Model(
    name="Mixtral 8x7B",
    parameters=46.7e9,
    active_parameters=12.9e9,
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    vocabulary=32000,
    experts=8,
    experts_per_token=2,
)


@pytest.mark.skipif(not ARCHITECTURES.exists(), reason="the table of published architectures is not here")
def test_feed_forward_and_experts_follow_from_the_totals_within_half_a_percent_of_the_model() -> None:
    with ARCHITECTURES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["model"] == PRUNED:
            continue
        parts = parameter_split(_model(row))
        matrices = 3 if row["gated"] == "1" else 2
        networks = EXPERTS.get(row["model"], (1, 1))[0]
        published = float(row["layers"]) * matrices * float(row["d_model"]) * float(row["ffn"]) * networks
        assert parts.feed_forward + parts.experts == pytest.approx(published, abs=0.005 * parts.total), row["model"]


def _model(row: dict[str, str]) -> Model:
    experts, routed = EXPERTS.get(row["model"], (None, None))
    return Model(
        name=row["model"],
        parameters=float(row["params_b"]) * 1e9,
        active_parameters=float(row["active_b"]) * 1e9,
        layers=int(row["layers"]),
        hidden=int(row["d_model"]),
        heads=int(row["heads"]),
        kv_heads=int(row["kv_heads"]),
        head_dim=int(row["head_dim"]),
        vocabulary=int(row["vocab"]),
        feed_forward=int(row["ffn"]),
        gated=row["gated"] == "1",
        experts=experts,
        experts_per_token=routed,
    )


def test_routed_experts_follow_from_total_and_active_parameters_alone() -> None:
    parts = parameter_split(MIXTRAL)
    assert parts.experts == pytest.approx(32 * 8 * 3 * 4096 * 14336, rel=1e-3)
    assert parts.routed_share == 0.25


def test_a_token_passes_through_the_active_parameters() -> None:
    parts = parameter_split(MIXTRAL)
    assert parts.total - parts.experts * (1 - parts.routed_share) == pytest.approx(12.9e9)


def test_a_mixture_without_its_experts_says_what_it_takes() -> None:
    bare = Model(name="m", parameters=46.7e9, active_parameters=12.9e9, layers=32, hidden=4096, heads=32, kv_heads=8)
    parts = parameter_split(bare)
    assert parts.routed_share == pytest.approx(0.25, abs=0.03)
    assert "routed_share" in {assumption.name for assumption in parts.assumptions}


def test_an_output_layer_of_its_own_is_told_from_a_shared_one() -> None:
    facts = {"layers": 28, "hidden": 3072, "heads": 24, "kv_heads": 8, "vocabulary": 128256}
    shared = Model(name="Llama 3.2 3B", parameters=3.21e9, active_parameters=3.21e9, **facts)  # type: ignore[arg-type]
    apart = Model(name="the same", parameters=3.61e9, active_parameters=3.61e9, **facts)  # type: ignore[arg-type]
    assert parameter_split(shared).head == 0
    assert parameter_split(apart).head == parameter_split(apart).embedding


def test_a_shape_larger_than_the_model_is_scaled_and_says_so() -> None:
    parts = parameter_split(
        Model(name="m", parameters=1e9, active_parameters=1e9, layers=32, hidden=4096, heads=32, vocabulary=128256)
    )
    assert parts.total == pytest.approx(1e9)
    assert "parts_scaled" in {assumption.name for assumption in parts.assumptions}


def test_a_width_that_does_not_make_the_stated_total_is_said() -> None:
    parts = parameter_split(
        Model(
            name="m",
            parameters=49.9e9,
            active_parameters=49.9e9,
            layers=80,
            hidden=8192,
            heads=64,
            kv_heads=8,
            vocabulary=128256,
            feed_forward=28672,
            gated=True,
        )
    )
    assert parts.total == pytest.approx(49.9e9)
    assert "feed_forward" in {assumption.name for assumption in parts.assumptions}


def test_latent_attention_is_what_experts_and_embeddings_leave() -> None:
    """DeepSeek-V3: 58 layers of 256 experts of 3 matrices of 7168 x 2048, which its widths alone would push out."""
    parts = parameter_split(
        Model(
            name="DeepSeek-V3",
            parameters=671e9,
            active_parameters=37e9,
            layers=61,
            hidden=7168,
            heads=128,
            kv_heads=128,
            head_dim=128,
            vocabulary=129280,
            experts=256,
            experts_per_token=8,
        )
    )
    assert parts.experts == pytest.approx(58 * 256 * 3 * 7168 * 2048, rel=2e-3)
    assert parts.total == pytest.approx(671e9)
    assert [assumption.name for assumption in parts.assumptions] == ["attention_parameters"]
