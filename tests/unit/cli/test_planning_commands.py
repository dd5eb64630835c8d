"""`plan`, `explain`, `size`: over saved markets, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.domain.offer import Billing
from orchestrator.domain.snapshot import Snapshot
from orchestrator.spec import documents
from orchestrator.testing.builders import network, offer, snapshot
from tests.unit.cli.conftest import Cli

# model, tokens, 6ND and 2N x 1 024 as the published tables print them
ACCEPTANCE = [
    ("BERT-large", "3.3B", 6.73e18, 0.70e12),
    ("GPT-J", "402B", 1.45e22, 12e12),
    ("GPT-2", None, None, 3.07e12),
    ("GPT-3", "300B", 3.15e23, 358e12),
    ("GPT-4", "1T", 1.056e25, 3.6e15),
    ("Llama 2", "2T", 8.28e23, 141e12),
    ("Llama 3.1", "15T", 3.645e25, 829e12),
]
SPELT = {"Llama 2": "llama-2-70b", "Llama 3.1": "llama-3.1-405b"}


def save(path: Path, market: Snapshot) -> Path:
    path.write_text(documents.dump_snapshot(market))
    return path


@pytest.fixture
def market(tmp_path: Path) -> Path:
    offers = (offer(), offer(billing=Billing.SPOT, usd_per_hour=12.5, interruption_rate=0.05), offer(region="eu-1"))
    return save(tmp_path / "market.json", snapshot(*offers))


def test_a_plan_ends_with_the_command_that_submits_the_job(cli: Cli, job_file: Path, market: Path) -> None:
    ran = cli("plan", job_file, "--snapshot", market)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].strip() == f"isoflop submit {job_file}"
    assert ran.err == ""


def test_a_saved_plan_ends_with_the_command_that_applies_it(
    cli: Cli, job_file: Path, market: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "my plan.json"
    ran = cli("plan", job_file, "--snapshot", market, "-o", saved)
    assert ran.out.splitlines()[-1].strip() == f"isoflop apply '{saved}'"
    plan, from_snapshot = documents.load_plan(saved.read_text())
    assert plan.snapshot_id == from_snapshot.id


def test_the_same_snapshot_gives_the_same_plan_byte_for_byte(
    cli: Cli, job_file: Path, market: Path, tmp_path: Path
) -> None:
    first, second, copy = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "copy.json"
    one = cli("plan", job_file, "--snapshot", market, "-o", first, "--save-snapshot", copy)
    two = cli("plan", job_file, "--snapshot", copy, "-o", second)
    assert (one.code, two.code) == (0, 0)
    assert first.read_bytes() == second.read_bytes()
    assert copy.read_bytes() == market.read_bytes()


def test_a_plan_in_json_has_the_command_and_the_placements(cli: Cli, job_file: Path, market: Path) -> None:
    told = json.loads(cli("plan", job_file, "--snapshot", market, "--json").out)
    assert told["command"] == f"isoflop submit {job_file}"
    assert told["ranked"][0]["label"].endswith("spot")
    assert told["feasible"] + sum(refusal["count"] for refusal in told["refusals"]) == told["considered"] == 3


def test_the_best_placement_in_json_has_the_layout_that_its_devices_train_in(
    cli: Cli, job_file: Path, market: Path
) -> None:
    told = json.loads(cli("plan", job_file, "--snapshot", market, "--layout", "--json").out)
    best, *others = told["ranked"]
    shared = best["layout"]["step"]["parallelism"]
    assert shared["tensor"] * shared["pipeline"] * shared["data"] == best["gpus"]
    assert best["layout"]["cluster"]["node_devices"] == 8.0
    assert best["layout"]["found"] is True
    assert all("layout" not in other for other in others)
    out = cli("plan", job_file, "--snapshot", market, "--layout").out
    assert "fastest found: " in out
    assert "storage of" in out


def test_a_stated_layout_is_said_to_be_stated(cli: Cli, job_file: Path, market: Path) -> None:
    job_file.write_text(job_file.read_text() + "parallelism: {tensor: 4, data: 2}\n")
    ran = cli("plan", job_file, "--snapshot", market, "--layout")
    assert ran.code == 0, ran.err
    assert "as stated: TP4 DP2" in ran.out
    told = json.loads(cli("plan", job_file, "--snapshot", market, "--layout", "--json").out)
    assert told["ranked"][0]["layout"]["hours_from"] == "step model"


def test_a_node_of_one_gpu_has_no_tensor_parallelism_and_the_network_is_said_to_be_assumed(
    cli: Cli, job_file: Path, tmp_path: Path
) -> None:
    single = offer(instance_type="h100.1x", gpus=1.0, usd_per_hour=4.0)
    job_file.write_text(job_file.read_text() + "limits: {deadline: 2d}\n")
    path = save(tmp_path / "single.json", snapshot(single))
    best = json.loads(cli("plan", job_file, "--snapshot", path, "--layout", "--json").out)["ranked"][0]
    assert best["gpus"] > 1
    assert best["layout"]["cluster"]["node_devices"] == 1.0
    assert best["layout"]["step"]["parallelism"]["tensor"] == 1
    assert (
        "between nodes 400 Gbit/s a GPU, one way, is assumed"
        in cli("plan", job_file, "--snapshot", path, "--layout").out
    )


def test_an_adapter_has_checkpoints_and_no_layout(cli: Cli, tmp_path: Path, market: Path) -> None:
    path = tmp_path / "lora.yaml"
    path.write_text("kind: FineTune\nname: lora\nmodel: {parameters: 7B}\ntokens: 10M\nmethod: lora\n")
    ran = cli("plan", path, "--snapshot", market, "--layout")
    assert ran.code == 0, ran.err
    assert "storage of" in ran.out
    assert json.loads(cli("plan", path, "--snapshot", market, "--layout", "--json").out)["ranked"][0]["layout"] is None


def test_a_service_shows_its_load_what_most_requests_wait_and_what_narrower_weights_save(
    cli: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "serve.yaml"
    text = "kind: Inference\nname: serve\nmodel: llama-3.1-70b\nusers: [{place: Frankfurt, rate: 8/s}]\n"
    path.write_text(f"{text}peak_over_mean: 3\nquantise: [fp8]\n")
    market = save(tmp_path / "market.json", snapshot(offer(), network=network()))
    ran = cli("plan", path, "--snapshot", market)
    assert ran.code == 0, ran.err
    assert "first token, 95 of 100" in ran.out
    assert "at the peak" in ran.out
    assert "weights in fp8 instead of bf16" in ran.out
    assert json.loads(cli("plan", path, "--snapshot", market, "--json").out)["ranked"][0]["layout"] is None


def test_what_would_help_an_infeasible_service_is_in_formats_that_its_stack_holds(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    text = (
        "kind: Inference\nname: serve\nmodel: llama-3.1-8b\nusers: [{place: Frankfurt, rate: 1/s}]\nstack: llama.cpp\n"
    )
    path.write_text(f"{text}limits: {{latency: {{first_token: 1ms}}}}\n")
    market = save(tmp_path / "market.json", snapshot(offer(), network=network()))
    ran = cli("plan", path, "--snapshot", market)
    assert ran.code == 3, ran.err
    assert ran.err.startswith("error: no feasible placement")


def test_top_limits_what_is_shown_and_not_what_is_saved(cli: Cli, job_file: Path, market: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    ran = cli("plan", job_file, "--snapshot", market, "--top", "1", "-o", saved)
    assert "best first (1 of 3 feasible)" in ran.out
    assert len(documents.load_plan(saved.read_text())[0].ranked) == 3


def test_an_infeasible_plan_shows_its_refusals_and_exits_3(cli: Cli, job_file: Path, market: Path) -> None:
    job_file.write_text(job_file.read_text() + "limits: {budget: $1}\n")
    ran = cli("plan", job_file, "--snapshot", market)
    assert ran.code == 3
    assert "budget" in ran.out
    last, conflict = ran.out.splitlines()[-2:]
    assert last.startswith("No feasible placement.")
    assert conflict.startswith("conflict: a budget of $1.00")
    assert ran.err == "error: no feasible placement among 3 offers\n"
    assert json.loads(cli("plan", job_file, "--snapshot", market, "--json").out)["command"] is None


def test_no_offers_at_all_is_infeasible(cli: Cli, job_file: Path, tmp_path: Path) -> None:
    empty = snapshot()
    empty = Snapshot(taken_at=empty.taken_at, book=empty.book.empty(), accelerators=empty.accelerators)
    ran = cli("plan", job_file, "--snapshot", save(tmp_path / "empty.json", empty))
    assert ran.code == 3
    assert "No offers to choose from." in ran.out


def test_the_age_from_which_prices_are_marked_can_be_set(cli: Cli, job_file: Path, tmp_path: Path) -> None:
    old = offer(observed_at=offer().observed_at.replace(year=2025))
    market = save(tmp_path / "old.json", snapshot(old))
    assert "OLD" in cli("plan", job_file, "--snapshot", market).out
    assert "OLD" not in cli("plan", job_file, "--snapshot", market, "--max-price-age", "500d").out
    ran = cli("plan", job_file, "--snapshot", market, "--max-price-age", "90")
    assert ran.code == 2
    assert "--max-price-age" in ran.err


def test_a_plan_offline_asks_nobody_and_uses_the_bundled_prices(cli: Cli, job_file: Path) -> None:
    ran = cli("plan", job_file, "--offline")
    assert ran.code == 0
    assert "price only" in ran.out


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "not JSON"), ("{}", "no format"), ('{"format": "isoflop-plan/99"}', "isoflop-plan/99")],
)
def test_a_file_that_is_no_snapshot_is_named(text: str, said: str, cli: Cli, job_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "market.json"
    path.write_text(text)
    ran = cli("plan", job_file, "--snapshot", path)
    assert ran.code == 2
    assert str(path) in ran.err
    assert said in ran.err


def test_explain_says_why_an_offer_is_not_the_choice(cli: Cli, job_file: Path, market: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    cli("plan", job_file, "--snapshot", market, "-o", saved)
    assert "least objective of 3" in cli("explain", saved).out
    ran = cli("explain", saved, "eu-1", "on-demand")
    assert ran.code == 0
    assert "more" in ran.out
    assert json.loads(cli("explain", saved, "eu-1", "--json").out)["matched"] == 1
    nothing = cli("explain", saved, "eu-9")
    assert nothing.code == 2
    assert "no offer matches 'eu-9'" in nothing.err


@pytest.mark.parametrize(("name", "tokens", "training", "inference"), ACCEPTANCE, ids=[row[0] for row in ACCEPTANCE])
def test_size_prints_the_published_arithmetic(
    name: str, tokens: str | None, training: float | None, inference: float, cli: Cli
) -> None:
    asked = ["size", "--model", SPELT.get(name, name), "--accelerator", "A100-80GB"]
    ran = cli(*asked, *(["--tokens", tokens] if tokens else []))
    assert ran.code == 0
    lines = {line.split()[0]: line for line in ran.out.splitlines() if line.startswith("  ") and line.strip()}
    if training is not None:
        assert _result(lines["compute"]) == pytest.approx(training, rel=0.03)
    assert _result(lines["inference"]) == pytest.approx(inference, rel=0.03)


def _result(line: str) -> float:
    return float(line.partition(" FLOP")[0].rsplit("= ", 1)[1])


def test_size_prints_gpt_3_as_everybody_does(cli: Cli) -> None:
    out = cli("size", "--model", "GPT-3", "--tokens", "300B", "--accelerator", "A100-80GB").out
    assert "3.15e+23 FLOP" in out
    assert "358e12 FLOP for 1,024 tokens" in out
    assert "700 GB in fp32" in out
    assert "no single device here holds them" in out


def test_size_at_the_full_peak_gives_the_published_hours_and_costs(cli: Cli) -> None:
    asked = ("size", "--model", "GPT-3", "--tokens", "300B", "--mfu", "100%", "--accelerator", "A100-80GB", "--json")
    device = json.loads(cli(*asked, "--usd-per-gpu-hour", "2").out)["accelerators"][0]
    assert device["sizing"]["effort"]["gpu_hours"]["p50"] == pytest.approx(2.8e5, rel=0.01)
    assert device["cost_usd"]["p50"] == pytest.approx(560_000, rel=0.01)
    one = json.loads(cli(*asked, "--usd-per-gpu-hour", "4.1", "--usd-per-gpu-hour", "0.6").out)["accelerators"][0][
        "inference"
    ]
    assert one["seconds_at_peak"] == pytest.approx(1.1, abs=0.06)
    assert one["usd_per_1000_tokens_low"] == pytest.approx(0.0002, abs=0.00005)
    assert one["usd_per_1000_tokens_high"] == pytest.approx(0.0014, abs=0.0002)


def test_size_of_a_job_file_says_where_it_fits_and_where_not(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("kind: Inference\nname: serve\nmodel: GPT-3\nusers: [{place: Frankfurt, rate: 1/s}]\n")
    ran = cli("size", path, "--accelerator", "T4,MI300X", "--json")
    assert ran.code == 0, ran.err
    fits = {device["name"]: device["fits"] for device in json.loads(ran.out)["accelerators"]}
    assert fits["MI300X"] is True
    assert "refusal" in ran.out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), "give a job file"),
        (("--model", "GPT-33"), "gpt-3"),
        (("--model", "GPT-3", "--tokens", "-1"), "--tokens"),
        (("--model", "GPT-3", "--tokens", "nan"), "--tokens"),
        (("--model", "0"), "a model has parameters"),
        (("--model", "7B", "--accelerator", "H1000"), "no accelerator is called 'H1000'"),
        (("--model", "7B", "--mfu", "150%"), "--mfu"),
        (("--model", "7B", "--precision", "bf17"), "bf17"),
    ],
)
def test_size_says_what_is_wrong_with_its_options(asked: tuple[str, ...], said: str, cli: Cli) -> None:
    ran = cli("size", *asked)
    assert ran.code == 2
    assert said in ran.err


def test_size_takes_a_number_of_parameters_for_a_model(cli: Cli) -> None:
    ran = cli("size", "--model", "1B", "--tokens", "20B", "--accelerator", "H100-SXM")
    assert ran.code == 0
    assert "1.2e+20 FLOP" in ran.out
