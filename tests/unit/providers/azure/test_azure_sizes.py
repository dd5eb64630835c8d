"""Which GPUs an Azure size has, by its name."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from orchestrator.catalog import accelerators
from orchestrator.kit.devices import is_known
from providers.azure.sizes import Unclear, gpus


@pytest.mark.parametrize(
    ("size", "accelerator", "number"),
    [
        ("Standard_ND96isr_H100_v5", "H100-SXM", 8),
        ("Standard_ND96is_flex_H100_v5", "H100-SXM", 8),
        ("Standard_NC40ads_H100_v5", "H100-NVL", 1),
        ("Standard_NC80adis_H100_v5", "H100-NVL", 2),
        ("Standard_NCC40ads_H100_v5", "H100-NVL", 1),
        ("Standard_ND96isr_H200_v5", "H200", 8),
        ("Standard_ND96isr_MI300X_v5", "MI300X", 8),
        ("Standard_ND128isr_NDR_GB200_v6", "GB200", 4),
        ("Standard_ND96asr_v4", "A100-40GB", 8),
        ("Standard_ND96amsr_A100_v4", "A100-80GB", 8),
        ("Standard_NC96ads_A100_v4", "A100-PCIe-80GB", 4),
        ("Standard_NC6s_v3", "V100-PCIe-16GB", 1),
        ("Standard_NC24rs_v3", "V100-PCIe-16GB", 4),
        ("Standard_ND40rs_v2", "V100-32GB", 8),
        ("Standard_NC4as_T4_v3", "T4", 1),
        ("Standard_NC64as_T4_v3", "T4", 4),
        ("Standard_NV6ads_A10_v5", "A10", 0.1667),
        ("Standard_NV18ads_A10_v5", "A10", 0.5),
        ("Standard_NV36adms_A10_v5", "A10", 1),
        ("Standard_NV72ads_A10_v5", "A10", 2),
        ("Standard_NV8ads_V710_v5", "V710", 0.3333),
        ("Standard_NV28adms_V710_v5", "V710", 1),
        ("Standard_NV4as_v4", "MI25", 0.125),
        ("Standard_NC24ads_A100_v4_Promo", "A100-PCIe-80GB", 1),
    ],
)
def test_a_name_says_which_gpus_and_how_many(size: str, accelerator: str, number: float) -> None:
    found = gpus(size, 1.0)
    assert found is not None
    assert (found.accelerator, found.number) == (accelerator, number)
    assert is_known(accelerator)


def test_a_device_that_nobody_knows_keeps_azures_word_and_count() -> None:
    found = gpus("Standard_ND128isr_VR400_v7", 4.0)
    assert found is not None
    assert (found.accelerator, found.number) == ("VR400", 4.0)
    assert not is_known("VR400")


def test_an_a100_whose_memory_the_name_hides_is_not_taken_for_one_of_40_or_80_gb() -> None:
    found = gpus("Standard_ND96asr_A100_v4", 8.0)
    assert found is not None
    assert not is_known(found.accelerator)


def test_a_machine_without_gpus_is_none() -> None:
    assert gpus("Standard_NP10s", None) is None
    assert gpus("Standard_NP10s", 0.0) is None


def test_a_share_of_unknown_size_is_not_guessed() -> None:
    with pytest.raises(Unclear, match="how large"):
        gpus("Standard_NC24lds_xl_RTXPRO6000BSE_v6", 1.0)


def test_the_names_agree_with_what_others_know_of_azures_sizes(shared_data: Path) -> None:
    memory_gib = {device.name: device.memory_gib for device in accelerators.load()}
    compared = 0
    with gzip.open(shared_data / "offers.csv.gz", "rt", encoding="utf-8") as file:
        rows = {row["instance_type"]: row for row in csv.DictReader(file) if row["provider"] == "azure"}
    for size, row in rows.items():
        if not row["gpu_count"] or "MI25" in row["gpu"]:  # they count a share of an MI25 as one
            continue
        found = gpus(size, float(row["gpu_count"]))
        assert found is not None
        assert found.number == pytest.approx(float(row["gpu_count"]), abs=0.01), size
        if is_known(found.accelerator):
            assert memory_gib[found.accelerator] == pytest.approx(float(row["gpu_mem_gib"]), rel=0.05), size
            compared += 1
    assert compared > 30
