"""The figures that the seed arithmetic must reproduce, to the digits in which they are known."""

from __future__ import annotations

import pytest

from orchestrator.catalog.accelerators import load
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.parallelism import Sharding
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.sizing import Sizing
from orchestrator.domain.workload import Inference, Model, Population, Training
from orchestrator.sizing.arithmetic import BYTES
from orchestrator.sizing.energy import energy_usd, site_energy_kwh
from orchestrator.sizing.flops import device_hours, inference_flops, training_flops, usd_per_1000_tokens
from orchestrator.sizing.memory import GIB
from orchestrator.sizing.recipes import Framework, recipe
from orchestrator.sizing.size import size

GPT3 = Model(name="GPT-3", parameters=175e9, active_parameters=175e9, layers=96, hidden=12288, heads=96, kv_heads=96)
A100_TFLOPS = 312.0


def digits(value: float, count: int) -> str:
    """`value` to `count` significant digits, without the zeros that carry nothing."""
    mantissa, exponent = f"{value:.{count - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


@pytest.mark.parametrize(
    ("model", "billions", "tokens_billions", "published"),
    [
        ("BERT-large", 0.34, 3.3, "6.73e18"),
        ("GPT-J", 6, 402, "1.45e22"),
        ("GPT-3", 175, 300, "3.15e23"),
        ("GPT-4 as reported", 1760, 1000, "1.056e25"),
        ("Llama 2", 69, 2000, "8.28e23"),
        ("Llama 3.1", 405, 15000, "3.645e25"),
    ],
)
def test_training_flops_are_6nd_to_the_digits_published(
    model: str, billions: float, tokens_billions: float, published: str
) -> None:
    count = len(published.split("e", maxsplit=1)[0].replace(".", ""))
    assert digits(training_flops(billions * 1e9, tokens_billions * 1e9), count) == published, model


@pytest.mark.parametrize(
    ("model", "billions", "published"),
    [
        ("BERT-large", 0.34, "7e11"),  # 0.70e12; the sources round to 680e9
        ("GPT-J", 6, "1.2e13"),
        ("GPT-2", 1.5, "3.07e12"),
        ("GPT-3", 175, "3.58e14"),
        ("GPT-4 as reported", 1760, "3.6e15"),
        ("Llama 2", 69, "1.41e14"),
        ("Llama 3.1", 405, "8.29e14"),
    ],
)
def test_inference_of_1024_tokens_is_2n_per_token(model: str, billions: float, published: str) -> None:
    count = max(2, len(published.split("e", maxsplit=1)[0].replace(".", "")))
    assert digits(inference_flops(billions * 1e9, 1024), count) == published, model


def test_published_tables_that_break_their_own_rule_are_not_followed() -> None:
    assert digits(training_flops(0.34e9, 3.3e6), 2) == "6.7e15"  # the table's figure: 3.3 million tokens, not billion
    assert digits(inference_flops(69e9, 1024), 3) != "1.14e14"


def test_gpt3_at_the_full_peak_of_an_a100_takes_280_000_gpu_hours_and_560_000_usd() -> None:
    hours = device_hours(training_flops(175e9, 300e9), A100_TFLOPS, 1.0)
    assert digits(hours, 2) == "2.8e5"
    assert hours * 2.0 == pytest.approx(560_000, rel=0.005)


def test_a_gpt3_inference_takes_a_second_of_an_a100_and_a_fraction_of_a_cent() -> None:
    seconds = device_hours(inference_flops(175e9, 1024), A100_TFLOPS, 1.0) * 3600
    assert f"{seconds:.1f}" == "1.1"
    low, high = usd_per_1000_tokens(seconds, 1024, 0.6), usd_per_1000_tokens(seconds, 1024, 4.1)
    assert f"{low:.4f}" == "0.0002"
    # Published as 0.0014, of a second rounded up to 1.2; the arithmetic gives 0.0013.
    assert f"{high:.4f}" == "0.0013"
    assert 0.00018 < low < high <= 0.0014


def test_gpt3_in_fp32_is_700_gb_and_never_fits_one_gpu() -> None:
    assert GPT3.parameters * BYTES[Precision.FP32] == 700e9
    job = Inference(name="gpt-3", model=GPT3, users=(Population("Frankfurt", 1.0),), precision=Precision.FP32)
    for answer in size(job, load()).values():
        if isinstance(answer, Sizing):
            weights = next(term for term in answer.memory if term.name == "weights")
            assert weights.gib == pytest.approx(700e9 / GIB)
            assert answer.min_gpus > 1
        else:
            assert answer.code in {ReasonCode.NO_FIT, ReasonCode.NO_PRECISION}


def test_twelve_gigabytes_train_a_billion_parameters_by_the_rule_of_thumb() -> None:
    weights_fp32, extra = 4.0, 8.0  # the rule counts Adam's two moments and forgets the gradients
    assert 12e9 / (weights_fp32 + extra) == 1e9
    # The popular "4 B on 12 GB" leaves 3 bytes per parameter: less than 16-bit weights and gradients.
    assert 12e9 / 4e9 == 3.0
    assert 2 * BYTES[Precision.BF16] > 3.0
    # With gradients and FP32 master weights, as the ZeRO paper counts them.
    assert 12e9 / sum(recipe(Framework.ZERO, Precision.BF16).states[Sharding.NONE]) == 0.75e9


def test_a_12_gb_gpu_trains_half_a_billion_but_not_a_billion_alone() -> None:
    k80 = [device for device in load() if device.name == "K80"]

    def least(parameters: float) -> int:
        model = Model(name="small", parameters=parameters, active_parameters=parameters)
        answer = size(Training(name="t", model=model, tokens=1e9, sequence_length=512), k80)["K80"]
        assert isinstance(answer, Sizing)
        return answer.min_gpus

    assert least(0.5e9) == 1
    assert least(1e9) > 1


def test_a_100_000_gpu_site_uses_1_59_twh_a_year_for_124_million_usd() -> None:
    year_kwh = site_energy_kwh(150.0, 1.21)
    assert f"{year_kwh / 1e9:.2f}" == "1.59"
    # Published as 123.9 M; 150 MW x 1.21 x 8 760 h x 0.078 USD is 124.0 M.
    assert energy_usd(year_kwh, 0.078) == pytest.approx(123.9e6, rel=0.002)


def test_llama_70b_in_fp8_fits_one_80_gib_gpu() -> None:
    llama = Model(
        name="Llama 3 70B", parameters=70.55e9, active_parameters=70.55e9, layers=80, hidden=8192, heads=64, kv_heads=8
    )
    job = Inference(name="chat", model=llama, users=(Population("Paris", 0.1),), precision=Precision.FP8)
    answer = size(job, load())["H100-SXM"]
    assert not isinstance(answer, Reason)
    assert answer.min_gpus == 1  # 80e9 bytes would say no: "80 GB" means GiB
