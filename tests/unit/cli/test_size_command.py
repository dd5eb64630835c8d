"""`isoflop size` with its options: what is asked of a model, side by side, and break-even."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import JOB, Cli

SERVE = ("size", "--model", "llama-3.1-8b", "--serve", "5/s")
TRAIN = ("size", "--model", "llama-3.1-8b", "--tokens", "1T")


def test_compare_works_as_everybody_types_it_and_says_which_boards_were_taken(cli: Cli) -> None:
    ran = cli(*TRAIN, "--compare", "H100,A100,MI300X")
    assert ran.code == 0, ran.err
    title = next(line for line in ran.out.splitlines() if "MI300X" in line and "A100-80GB" in line)
    assert title.split() == ["H100-SXM", "A100-80GB", "MI300X"]
    assert "note: H100 is taken as H100-SXM" in ran.out
    assert "note: A100 is taken as A100-80GB" in ran.out


def test_a_comparison_in_json_has_ratios_to_the_first(cli: Cli) -> None:
    told = json.loads(cli(*TRAIN, "--compare", "A100-80GB,H100-SXM", "--json").out)
    hours = told["compare"]["rows"]["gpu_hours"]
    assert told["compare"]["first"] == "A100-80GB"
    assert hours["A100-80GB"]["ratio"] == 1.0
    assert hours["H100-SXM"]["ratio"] == pytest.approx(hours["H100-SXM"]["value"] / hours["A100-80GB"]["value"])
    assert [device["name"] for device in told["accelerators"]] == ["A100-80GB", "H100-SXM"]


def test_accelerators_are_named_as_leniently_and_as_openly(cli: Cli) -> None:
    ran = cli(*TRAIN, "--accelerator", "a100", "--json")
    assert [device["name"] for device in json.loads(ran.out)["accelerators"]] == ["A100-80GB"]
    assert "A100-80GB" in json.loads(ran.out)["notes"][0]


def test_a_service_is_sized_without_a_job_file(cli: Cli) -> None:
    asked = ("--prompt-tokens", "2000", "--output-tokens", "100", "--stack", "sglang", "--peak-over-mean", "3")
    told = json.loads(cli(*SERVE, *asked, "--precision", "fp8", "--accelerator", "H100-SXM", "--json").out)
    work = told["workload"]
    assert (work["prompt_tokens"], work["output_tokens"], work["stack"]) == (2000, 100, "sglang")
    assert (work["peak_over_mean"], work["precision"]) == (3.0, "fp8")
    device = told["accelerators"][0]
    assert device["sizing"]["effort"]["replicas"] >= 1
    per_hour = device["cost_usd"]["p50"]
    assert device["usd_per_1m_tokens"]["p50"] == pytest.approx(per_hour / (5 * 2100 * 3600) * 1e6)
    assert device["usd_per_1m_output_tokens"]["p50"] == pytest.approx(per_hour / (5 * 100 * 3600) * 1e6)


def test_a_fine_tuning_is_sized_without_a_job_file(cli: Cli) -> None:
    told = json.loads(cli(*TRAIN, "--fine-tune", "qlora", "--accelerator", "RTX-4090", "--json").out)
    assert told["workload"]["method"] == "qlora"
    assert told["accelerators"][0]["fits"] is True


def test_on_more_gpus_a_job_takes_less_time(cli: Cli) -> None:
    asked = (*TRAIN, "--accelerator", "H100-SXM", "--json")
    few = json.loads(cli(*asked, "--gpus", "64").out)["accelerators"][0]
    many = json.loads(cli(*asked, "--gpus", "512").out)["accelerators"][0]
    assert (few["gpus"], many["gpus"]) == (64, 512)
    assert many["hours"]["p50"] < few["hours"]["p50"] / 4


def test_too_few_gpus_are_a_refusal_with_its_arithmetic(cli: Cli) -> None:
    asked = ("size", "--model", "llama-3.1-70b", "--tokens", "1T", "--accelerator", "H100-SXM", "--gpus", "2")
    device = json.loads(cli(*asked, "--json").out)["accelerators"][0]
    assert device["fits"] is False
    assert device["refusal"]["code"] == "no-fit"
    ran = cli(*asked)
    assert ran.code == 0
    assert "no-fit" in ran.out


def test_a_place_gives_the_energy_of_the_site_and_its_co2(cli: Cli) -> None:
    asked = (*TRAIN, "--accelerator", "H100-SXM", "--json")
    device = json.loads(cli(*asked, "--region", "aws/eu-west-1").out)["accelerators"][0]
    assert device["site_energy_kwh"] > device["energy_kwh"]["p50"]
    assert device["co2_kg"] > 0
    own = json.loads(cli(*asked, "--pue", "1.5").out)["accelerators"][0]
    assert own["site_energy_kwh"] == pytest.approx(own["energy_kwh"]["p50"] * 1.5)
    assert own["co2_kg"] is None
    france = json.loads(cli(*asked, "--region", "FR").out)
    assert france["location"]["g_co2_per_kwh"]["origin"].startswith("FR")


def test_break_even_gives_the_volume_above_which_to_run_it_oneself(cli: Cli) -> None:
    told = json.loads(cli(*SERVE, "--break-even", "--api-price", "$5", "--accelerator", "H100,L4", "--json").out)
    best = told["api_or_rent"][0]
    assert told["api_usd_per_1m_tokens"]["value"] == 5.0
    per_1m = best["usd_per_1m_tokens"]
    assert best["break_even_tokens_per_hour"] == pytest.approx(best["tokens_per_hour_per_replica"] * per_1m / 5.0)
    assert per_1m == pytest.approx(best["usd_per_1m_tokens_full"] / told["utilisation"])
    asked = [point for point in best["curve"] if point["tokens_per_hour"] == pytest.approx(5 * 1280 * 3600)]
    assert asked[0]["api_usd_per_hour"] == pytest.approx(5 * 1280 * 3600 * 5e-6)
    assert any("above" in verdict for verdict in told["verdicts"])


def test_prices_of_prompts_and_answers_are_weighted_by_the_request(cli: Cli) -> None:
    prices = ("--api-price-in", "1", "--api-price-out", "6")
    asked = (*SERVE, "--prompt-tokens", "1000", "--output-tokens", "250", "--accelerator", "H100", "--break-even")
    told = json.loads(cli(*asked, *prices, "--json").out)
    assert told["api_usd_per_1m_tokens"]["value"] == pytest.approx(2.0)


def test_break_even_without_a_model_is_about_owning_and_the_published_figures(cli: Cli) -> None:
    asked = ("size", "--break-even", "--accelerator", "H100-SXM", "--usd-per-gpu-hour", "4")
    ran = cli(*asked)
    assert ran.code == 0, ran.err
    assert "Own H100-SXM above" in ran.out
    assert "3,504 kWh more a year, $1,051.20 more in 3 years" in ran.out
    assert "$50M a year" in ran.out
    told = json.loads(cli(*asked, "--json").out)
    row = told["rent_or_own"][0]
    hours = row["own_above_hours_per_year"]
    assert row["fixed_usd_per_gpu_year"] / hours + row["energy_usd_per_gpu_hour"] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("option", "value", "later"),
    [
        ("--years", "3", True),
        ("--power-price", "0.5", True),
        ("--pue", "2", True),
        ("--server-factor", "2", True),
        ("--opex-share", "30%", True),
        ("--cost-of-capital", "10%", True),
        ("--gpu-price", "$10k", False),
    ],
)
def test_every_assumption_of_owning_is_an_option_that_counts(option: str, value: str, later: bool, cli: Cli) -> None:
    asked = ("size", "--break-even", "--accelerator", "H100-SXM", "--usd-per-gpu-hour", "9", "--json")
    before = json.loads(cli(*asked).out)
    after = json.loads(cli(*asked, option, value).out)
    hours = [told["rent_or_own"][0]["own_above_hours_per_year"] for told in (before, after)]
    assert (hours[1] > hours[0]) is later
    stated = [fact["option"] for fact in after["assumptions"] if fact["fact"]["origin"] == "as given"]
    assert stated == ([option] if option != "--gpu-price" else [])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--tokens", "1T", "--compare", "TPU"), "may mean different accelerators"),
        (("--tokens", "1T", "--compare", "H100", "--accelerator", "A100"), "leave --accelerator out"),
        (("--compare", "H100,A100"), "--compare needs work"),
        (("--tokens", "1T", "--serve", "1/s"), "one at a time"),
        (("--serve", "20"), "--serve"),
        (("--serve", "0/s"), "--serve 0"),
        (("--tokens", "0"), "--tokens 0"),
        (("--fine-tune", "lora"), "--fine-tune needs --tokens"),
        (("--prompt-tokens", "100"), "--prompt-tokens needs --serve"),
        (("--tokens", "1T", "--stack", "vllm"), "--stack needs --serve"),
        (("--serve", "1/s", "--gpus", "8"), "--gpus is for work that ends"),
        (("--gpus", "8"), "--gpus needs work"),
        (("--tokens", "1T", "--region", "Atlantis"), "--region 'Atlantis'"),
        (("--tokens", "1T", "--pue", "0.5"), "--pue"),
        (("--serve", "1/s", "--api-price", "1"), "--api-price: only with --break-even"),
        (("--tokens", "1T", "--break-even", "--api-price", "1"), "an API answers requests"),
        (("--serve", "1/s", "--break-even", "--api-price-in", "1"), "belong together"),
        (
            ("--serve", "1/s", "--break-even", "--api-price", "1", "--api-price-in", "1"),
            "for prompts and answers alike",
        ),
        (("--serve", "1/s", "--break-even", "--api-price", "0"), "--api-price 0"),
        (("--serve", "1/s", "--break-even", "--gpu-price", "1000"), "name it with --accelerator"),
        (("--serve", "1/s", "--break-even", "--utilisation", "0"), "--utilisation 0"),
        (("--serve", "1/s", "--break-even", "--accelerator", "Gaudi"), "runs on none"),
    ],
)
def test_options_that_contradict_each_other_are_refused(asked: tuple[str, ...], said: str, cli: Cli) -> None:
    ran = cli("size", "--model", "llama-3.1-70b", *asked)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())


def test_options_about_a_model_do_not_go_with_a_job_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    ran = cli("size", path, "--serve", "1/s", "--precision", "fp8")
    assert ran.code == 2
    assert "--serve, --precision: only with --model" in ran.err


def test_a_job_file_is_compared_like_a_model(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    assert cli("size", path, "--compare", "H100,A100").code == 0
    assert cli("size", path, "--break-even", "--accelerator", "H100").code == 0
