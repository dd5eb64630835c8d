"""`isoflop size` of training: the fastest layout, how it is wired, and training on several sites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.interfaces.cli.size_asked import SEARCHED
from orchestrator.interfaces.cli.size_options import ExchangeName
from orchestrator.sizing.multisite import EXCHANGES
from tests.unit.cli.conftest import JOB, Cli

TRAIN = ("size", "--model", "llama-3.1-70b", "--tokens", "1T")
ON_512 = (*TRAIN, "--gpus", "512", "--accelerator", "H100")
LAID_OUT = "parallelism: {tensor: 2, pipeline: 2, data: 4}\n"


def first(cli: Cli, *asked: str | Path) -> dict[str, Any]:
    ran = cli(*asked, "--json")
    assert ran.code == 0, ran.err
    device: dict[str, Any] = json.loads(ran.out)["accelerators"][0]
    return device


def step(cli: Cli, *asked: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = first(cli, *asked)["sizing"]["effort"]["step"]
    return found


def test_the_fastest_layout_is_of_the_gpus_asked_for_with_the_time_of_its_parts(cli: Cli) -> None:
    found = step(cli, *ON_512)
    shared = found["parallelism"]
    assert shared["tensor"] * shared["pipeline"] * shared["context"] * shared["data"] == 512
    assert sum(seconds for _, seconds in found["parts"]) == pytest.approx(found["seconds"])
    assert first(cli, *ON_512)["parallelism"].endswith(f"DP{shared['data']}")


def test_the_page_says_which_of_the_two_utilisations_real_runs_get(cli: Cli) -> None:
    out = cli(*ON_512).out
    assert "fastest layout found TP" in " ".join(out.split())
    assert "time and MFU above are what real runs get (planning model), downtime included" in out
    assert "Wired as nodes of 8 GPUs with 400 Gbit/s of fabric for each GPU, one way" in out
    assert "m matrix products" in out
    assert "time above follows from the MFU that is stated" in cli(*ON_512, "--mfu", "40%").out


def test_a_slower_fabric_makes_a_slower_step_and_other_nodes_another_layout(cli: Cli) -> None:
    usual = step(cli, *ON_512)
    assert step(cli, *ON_512, "--fabric", "400Gbps") == usual
    assert step(cli, *ON_512, "--fabric", "50 GB/s") == usual
    assert step(cli, *ON_512, "--fabric", "25Gbps")["seconds"] > usual["seconds"]
    assert step(cli, *ON_512, "--node-gpus", "1")["parallelism"]["tensor"] == 1
    assert json.loads(cli(*ON_512, "--node-gpus", "4", "--json").out)["cluster"]["node_devices"] == 4.0


def test_racks_are_wired_as_they_are_sold(cli: Cli) -> None:
    assert "GB200 as sold, in racks of 72" in cli(*TRAIN, "--gpus", "512", "--compare", "H100,GB200").out


def test_without_a_count_layouts_are_searched_for_a_few_accelerators_and_not_for_all(cli: Cli) -> None:
    assert step(cli, *TRAIN, "--accelerator", "H100,A100")["seconds"] > 0
    everything = json.loads(cli(*TRAIN, "--json").out)
    assert everything["cluster"] is None
    assert len(everything["accelerators"]) > SEARCHED
    ran = cli(*TRAIN, "--fabric", "100Gbps")
    assert ran.code == 2
    assert "give --gpus N, or name up to 8" in ran.err
    many = json.loads(cli(*TRAIN, "--gpus", "512", "--json").out)["accelerators"]
    assert sum(each["fits"] and each["parallelism"] != "-" for each in many) > SEARCHED


def test_a_count_that_no_layout_fits_is_said_and_not_left_blank(cli: Cli) -> None:
    out = cli(*TRAIN, "--gpus", "17", "--accelerator", "H100").out
    assert "No layout that is searched fits 17 x H100-SXM." in out


def test_the_batch_and_the_sequence_are_those_asked_for(cli: Cli) -> None:
    asked = (*ON_512, "--global-batch", "4M", "--sequence-length", "8192")
    told = json.loads(cli(*asked, "--json").out)["workload"]
    assert (told["global_batch_tokens"], told["sequence_length"]) == (4e6, 8192)
    shared = step(cli, *asked)["parallelism"]
    assert shared["data"] * shared["micro_batch"] * shared["micro_batches"] * 8192 == pytest.approx(4e6, rel=0.3)


def test_8k_is_8192_tokens_and_the_answer_says_so(cli: Cli) -> None:
    ran = cli(*ON_512, "--sequence-length", "8k")
    assert "note: --sequence-length 8k is taken as 8,192 tokens" in ran.out
    assert json.loads(cli(*ON_512, "--sequence-length", "8k", "--json").out)["workload"]["sequence_length"] == 8192


def test_without_a_length_sequences_are_no_longer_than_the_context_of_the_model(cli: Cli) -> None:
    asked = ("size", "--model", "GPT-3", "--tokens", "300B", "--accelerator", "A100", "--json")
    assert json.loads(cli(*asked).out)["workload"]["sequence_length"] == 2048


def test_the_hours_of_a_stated_layout_follow_from_its_step(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB + LAID_OUT)
    out = " ".join(cli("size", path, "--accelerator", "H100").out.split())
    assert "stated layout TP2 PP2 DP4" in out
    assert "the time above follows from it, downtime included" in out
    slow = first(cli, "size", path, "--accelerator", "H100", "--fabric", "10Gbps", "--node-gpus", "2")
    assert slow["hours"]["p50"] > first(cli, "size", path, "--accelerator", "H100")["hours"]["p50"]


def test_sites_share_the_gpus_out_and_get_a_verdict(cli: Cli) -> None:
    asked = (*ON_512, "--sites", "2", "--global-batch", "4M")
    told = json.loads(cli(*asked, "--json").out)
    verdict, device = told["sites"][0], told["accelerators"][0]
    assert verdict["accelerator"] == "H100-SXM"
    assert [site["devices"] for site in verdict["sites"]] == [256, 256]
    assert verdict["hours_together"] == pytest.approx(device["hours"]["p50"])
    assert verdict["steps"] == pytest.approx(1e12 / 4e6)
    assert verdict["link"] == {"gbit_s": 10.0, "rtt_s": 0.06}
    assert verdict["egress_usd"] is None
    out = cli(*asked).out
    assert "512 x H100-SXM on 2 sites: DiLoCo" in out
    assert "note: between the sites 10Gbps (--site-bandwidth), 60ms (--site-rtt), diloco (--exchange) is assumed" in out


def test_every_term_of_the_sites_is_an_option_that_counts(cli: Cli) -> None:
    terms = ("--site-bandwidth", "1Gbps", "--site-rtt", "100ms", "--exchange", "streaming")
    asked = (*ON_512, "--sites", "4", *terms, "--site-egress-usd-per-gb", "0.05", "--json")
    told = json.loads(cli(*asked).out)
    verdict = told["sites"][0]
    assert verdict["link"] == {"gbit_s": 1.0, "rtt_s": 0.1}
    assert verdict["exchange"]["name"] == "Streaming DiLoCo"
    assert verdict["egress_usd"] == pytest.approx(verdict["traffic_gb"] * 0.05)
    assert not any("is assumed" in note for note in told["notes"])
    assert any("global batch is not stated" in note for note in told["notes"])


def test_the_ways_to_exchange_are_those_that_the_arithmetic_knows() -> None:
    assert [each.value for each in ExchangeName] == list(EXCHANGES)


def test_a_comparison_has_a_verdict_for_each_and_a_long_table_for_the_cheapest(cli: Cli) -> None:
    compared = cli(*TRAIN, "--gpus", "512", "--compare", "H100,MI300X", "--sites", "2").out
    assert "512 x H100-SXM on 2 sites" in compared
    assert "512 x MI300X on 2 sites" in compared
    told = json.loads(cli(*TRAIN, "--gpus", "512", "--sites", "2", "--json").out)
    assert len(told["sites"]) == 1


def test_a_site_that_does_not_hold_the_model_is_a_refusal_with_its_arithmetic(cli: Cli) -> None:
    asked = (*TRAIN, "--gpus", "32", "--accelerator", "H100", "--sites", "4")
    assert "every site holds the whole model, and 8 x H100-SXM do not" in cli(*asked).out
    assert json.loads(cli(*asked, "--json").out)["sites"][0]["refusal"]["code"] == "no-fit"


def test_the_sites_of_a_stated_layout_share_its_data_parallel_ranks(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(JOB + LAID_OUT)
    told = json.loads(cli("size", path, "--accelerator", "H100", "--sites", "2", "--json").out)
    assert [site["devices"] for site in told["sites"][0]["sites"]] == [8, 8]
    shared = told["accelerators"][0]["sizing"]["effort"]["step"]["parallelism"]
    batch = shared["data"] * shared["micro_batch"] * shared["micro_batches"] * 4096
    assert told["sites"][0]["steps"] == pytest.approx(2e9 / batch)
    path.write_text(JOB + "parallelism: {tensor: 2, data: 3, pipeline: 2}\n")
    ran = cli("size", path, "--accelerator", "H100", "--sites", "2")
    assert ran.code == 2
    assert "3 data-parallel ranks are not shared out evenly over 2 sites" in ran.err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--tokens", "1T", "--sites", "2"), "give --gpus N"),
        (("--tokens", "1T", "--gpus", "512", "--sites", "3"), "512 devices are not shared out evenly over 3 sites"),
        (("--tokens", "1T", "--gpus", "512", "--sites", "1"), "--sites"),
        (("--serve", "1/s", "--sites", "2"), "--sites is for training"),
        (("--sites", "2"), "--sites is for training"),
        (("--tokens", "1T", "--fine-tune", "lora", "--gpus", "8", "--sites", "2"), "training all weights"),
        (("--tokens", "1T", "--site-rtt", "60ms", "--exchange", "int8"), "--site-rtt, --exchange: only with --sites"),
        (("--tokens", "1T", "--gpus", "8", "--sites", "2", "--site-bandwidth", "0Gbps"), "--site-bandwidth 0"),
        (("--tokens", "1T", "--gpus", "8", "--sites", "2", "--site-bandwidth", "10"), "does not say per second"),
        (("--tokens", "1T", "--gpus", "8", "--sites", "2", "--site-rtt", "60"), "--site-rtt"),
        (("--tokens", "1T", "--gpus", "8", "--sites", "2", "--exchange", "gossip"), "gossip"),
        (("--tokens", "1T", "--gpus", "8", "--sites", "2", "--site-egress-usd-per-gb", "-1"), "egress"),
        (("--tokens", "1T", "--gpus", "512", "--fabric", "0Gbps"), "--fabric 0"),
        (("--tokens", "1T", "--gpus", "512", "--fabric", "400"), "--fabric: '400' does not say per second"),
        (("--tokens", "1T", "--gpus", "512", "--node-gpus", "0"), "--node-gpus"),
        (("--serve", "1/s", "--node-gpus", "8"), "--node-gpus is of the layout"),
        (("--tokens", "1T", "--fine-tune", "lora", "--fabric", "1Tbps"), "--fabric is of the layout"),
        (("--global-batch", "4M"), "--global-batch needs --tokens"),
        (("--serve", "1/s", "--sequence-length", "8k"), "--sequence-length needs --tokens"),
        (("--tokens", "1T", "--global-batch", "0"), "--global-batch 0"),
        (("--tokens", "1T", "--sequence-length", "0"), "--sequence-length 0"),
        (("--tokens", "1T", "--sequence-length", "long"), "--sequence-length"),
        (("--tokens", "1T", "--global-batch", "100"), "less than one pass"),
        (("--tokens", "1T", "--fine-tune", "lora", "--global-batch", "1M"), "--global-batch is for training all"),
        (("--tokens", "1T", "--break-even", "--sites", "2", "--fabric", "1Tbps"), "--fabric, --sites: not with"),
    ],
)
def test_what_cannot_go_together_is_refused(asked: tuple[str, ...], said: str, cli: Cli) -> None:
    ran = cli("size", "--model", "llama-3.1-70b", *asked)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())
