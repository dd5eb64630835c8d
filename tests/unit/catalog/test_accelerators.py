"""The accelerator table and the names that vendors give its devices."""

from __future__ import annotations

import csv
import gzip
from itertools import pairwise
from math import isfinite
from pathlib import Path

import pytest

from orchestrator.catalog.accelerators import canonical, family, load
from orchestrator.domain.accelerator import Accelerator, Precision

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"

TABLE = {device.name: device for device in load()}

# fmt: off
# The seed tables' devices and today's; every one must be known.
NAMED = (
    "A100-40GB", "A100-80GB", "H100-SXM", "H100-PCIe", "H100-NVL", "V100-16GB", "V100-32GB", "P100", "P4", "P40",
    "K80", "M60", "T4", "A10", "A40", "A6000", "A5000", "A4000", "RTX-2080-Ti", "RTX-3080", "RTX-3090",
    "Quadro-RTX-4000", "Quadro-RTX-5000", "Quadro-RTX-6000", "Quadro-RTX-8000", "MI25", "V520", "Trainium",
    "Inferentia", "Gaudi", "Gaudi2", "Gaudi3", "TPU-v4", "H200", "B200", "GB200", "L4", "L40S", "MI300X", "TPU-v5e",
    "TPU-v5p", "TPU-v6e", "Trainium2", "Jetson-AGX-Orin-64GB", "Jetson-Orin-Nano-8GB", "T4g", "A10G", "B300",
    "GB300", "GH200", "RTX-PRO-6000", "RTX-PRO-4500", "V710", "RTX-3070",
)
# fmt: on

SPELLINGS = [
    # AWS: a short name and MiB
    ("A100", 40960 / 1024, "A100-40GB"),
    ("A100", 81920 / 1024, "A100-80GB"),
    ("A10G", 22888 / 1024, "A10G"),
    ("L4", 22888 / 1024, "L4"),
    ("L4", 11444 / 1024, "L4"),
    ("L4", 5722 / 1024, "L4"),
    ("L4", 2861 / 1024, "L4"),
    ("L40S", 45776 / 1024, "L40S"),
    ("H100", 81920 / 1024, "H100-SXM"),
    ("H200", 144384 / 1024, "H200"),
    ("B200", 183359 / 1024, "B200"),
    ("B300", 275040 / 1024, "B300"),
    ("V100", 32768 / 1024, "V100-32GB"),
    ("T4g", 16.0, "T4g"),
    ("RTX PRO Server 6000", 96.0, "RTX-PRO-6000"),
    ("Radeon Pro V520", 8.0, "V520"),
    ("Gaudi HL-205", 32.0, "Gaudi"),
    ("Inferentia", 8.0, "Inferentia"),
    ("Trainium", 32.0, "Trainium"),
    # Google
    ("nvidia-tesla-a100", None, "A100-40GB"),
    ("nvidia-a100-80gb", None, "A100-80GB"),
    ("nvidia-h100-80gb", None, "H100-SXM"),
    ("nvidia-h100-mega-80gb", None, "H100-SXM"),
    ("nvidia-h200-141gb", None, "H200"),
    ("nvidia-rtx-pro-6000", None, "RTX-PRO-6000"),
    ("nvidia-tesla-v100", None, "V100-16GB"),
    ("nvidia-tesla-p100", None, "P100"),
    ("nvidia-tesla-k80", 12.0, "K80"),
    ("v5litepod", 0.0, "TPU-v5e"),
    # Lambda, Nebius, FluidStack, CoreWeave, Crusoe
    ("gpu_8x_a100_80gb_sxm4", None, "A100-80GB"),
    ("gpu_8x_a100", 40.0, "A100-40GB"),
    ("8x H100 (80 GB SXM5)", None, "H100-SXM"),
    ("gpu-h100-sxm", None, "H100-SXM"),
    ("H100_SXM5_80GB", None, "H100-SXM"),
    ("H100_NVLINK_80GB", None, "H100-SXM"),
    ("RTX_A6000_48GB", None, "A6000"),
    ("MI300X-192GB", None, "MI300X"),
    # what a driver says
    ("NVIDIA H100 80GB HBM3", 79.6, "H100-SXM"),
    ("NVIDIA H100 PCIe", 79.6, "H100-PCIe"),
    ("NVIDIA H100 NVL", 93.6, "H100-NVL"),
    ("NVIDIA GH200 480GB", 95.6, "GH200"),
    ("NVIDIA A100-SXM4-40GB", 39.4, "A100-40GB"),
    ("NVIDIA A100 80GB PCIe", 79.3, "A100-PCIe-80GB"),
    ("Tesla V100-SXM2-32GB", 31.7, "V100-32GB"),
    ("Tesla P100-PCIE-16GB", 15.9, "P100"),
    ("NVIDIA GeForce RTX 2080 Ti", 10.8, "RTX-2080-Ti"),
    ("NVIDIA RTX 6000 Ada Generation", 47.5, "RTX-6000-Ada"),
    # catalogues and articles
    ("H100NVL", 94.0, "H100-NVL"),
    ("H100", 94.0, "H100-NVL"),
    ("H100-MEGA", 80.0, "H100-SXM"),
    ("A100 80 GB", None, "A100-80GB"),
    ("A100 40GB", None, "A100-40GB"),
    ("A10", 4.0, "A10"),
    ("RTX6000", 24.0, "Quadro-RTX-6000"),
    ("RTX6000", 48.0, "RTX-6000-Ada"),
    ("Quadro RTX 8000", 48.0, "Quadro-RTX-8000"),
    ("RTX3070", 8.0, "RTX-3070"),
    ("Radeon V710", None, "V710"),
    ("MI25", None, "MI25"),
]


@pytest.mark.parametrize(("spelling", "memory_gib", "name"), SPELLINGS)
def test_vendor_spellings_stand_for_one_device(spelling: str, memory_gib: float | None, name: str) -> None:
    assert canonical(spelling, memory_gib) == name


@pytest.mark.parametrize(
    ("spelling", "memory_gib"),
    [
        ("A100", None),  # 40 or 80
        ("V100", None),  # 16 or 32
        ("A100", 64.0),  # Leonardo's own: not one of ours
        ("H100", 40.0),  # half of one is sold by nobody
        ("L4", 7.0),  # no share of an L4
        ("K80", 24.0),  # a board of two
        ("RTX6000", None),  # Turing or Ada
        ("T4", 32.0),
        ("nvidia-tesla-a100", 80.0),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 96.0),  # half the power
        ("Radeon", None),
        ("cpu", None),
        ("", None),
    ],
)
def test_what_is_not_one_known_device_is_not_guessed(spelling: str, memory_gib: float | None) -> None:
    assert canonical(spelling, memory_gib) is None


def test_every_name_of_the_table_stands_for_itself() -> None:
    for name, device in TABLE.items():
        assert canonical(name, device.memory_gib) == name
        assert canonical(name, None) == name, f"{name} alone must be enough"
        assert name in family(name)


def test_a_family_is_every_device_the_word_may_mean() -> None:
    assert family("A100") == ("A100-40GB", "A100-80GB", "A100-PCIe-40GB", "A100-PCIe-80GB")
    assert family("h100") == ("H100-SXM", "H100-PCIe", "H100-NVL")
    assert family("A100-80GB") == ("A100-80GB",)
    assert family("rtx6000") == ("Quadro-RTX-6000", "RTX-6000-Ada")
    assert family("abacus") == ()


def test_every_device_asked_for_is_in_the_table() -> None:
    assert [name for name in NAMED if name not in TABLE] == []
    assert len(TABLE) == len(load()), "names are unique"


@pytest.mark.parametrize("device", load(), ids=lambda device: device.name)
def test_every_row_is_plausible_and_sourced(device: Accelerator) -> None:
    assert device.source
    assert device.as_of
    assert device.vendor
    assert device.generation == device.generation.lower()
    assert device.memory_gib > 0
    assert device.memory_bandwidth_gb_s > 0
    assert all(isfinite(tflops) and tflops > 0 for _, tflops in device.peak_tflops)
    # Dense, narrower is not slower. INT8 aside: Blackwell Ultra all but dropped it.
    wide_to_narrow = [device.peak(each) for each in (Precision.FP32, Precision.BF16, Precision.FP8, Precision.FP4)]
    known = [tflops for tflops in wide_to_narrow if tflops is not None]
    assert all(wide <= narrow for wide, narrow in pairwise(known))


def test_dense_peaks_of_the_headline_devices() -> None:
    assert TABLE["A100-80GB"].peak(Precision.BF16) == 312
    assert TABLE["H100-SXM"].peak(Precision.FP8) == pytest.approx(1979, rel=1e-3)  # the datasheet prints 3 958, sparse
    assert TABLE["V100-16GB"].peak(Precision.BF16) is None
    assert TABLE["K80"].memory_gib == 12  # one of two


# --- against the reference table --------------------------------------------------------------------------------------

OURS = {
    "K80 (board, 2 GPUs)": "K80",
    "M60 (board, 2 GPUs)": "M60",
    "M40 12GB": "M40",
    "P100 SXM2": "P100-SXM2",
    "P100 PCIe 16GB": "P100",
    "A100 SXM 40GB": "A100-40GB",
    "A800 SXM 80GB": "A800",
    "H800 SXM 80GB": "H800",
    "H200 SXM 141GB": "H200",
    "H20 96GB": "H20",
    "GH200 96GB": "GH200",
    "GB200 (per GPU)": "GB200",
    "GB300 (per GPU)": "GB300",
    "GeForce RTX 3080 10GB": "RTX-3080",
    "Gaudi1 (HL-205)": "Gaudi",
    "Gaudi3 (OAM)": "Gaudi3",
    "TPU v7 Ironwood": "TPU-v7",
    "Jetson Nano (2019)": "Jetson-Nano",
}

COLUMNS = {
    "mem_gb": lambda device: device.memory_gib,
    "mem_bw_gbs": lambda device: device.memory_bandwidth_gb_s,
    "tdp_w": lambda device: device.tdp_w,
    **{
        f"{each}_{'tops' if each is Precision.INT8 else 'tflops'}": (lambda device, each=each: device.peak(each))
        for each in Precision
        if each is not Precision.INT4
    },
}

# Where we differ from the reference on purpose, by device: a board of two is sold as two devices.
HALVED = {"K80 (board, 2 GPUs)", "M60 (board, 2 GPUs)"}


def test_the_table_agrees_with_the_reference_table() -> None:
    path = SHARED / "sizing" / "gpu_specs.csv"
    if not path.exists():
        pytest.skip(f"the reference table is not here: {path}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    differences = []
    for row in rows:
        ours = OURS.get(row["name"]) or canonical(row["name"], float(row["mem_gb"]))
        if ours is None:
            differences.append(f"{row['name']}: not in our table")
            continue
        scale = 0.5 if row["name"] in HALVED else 1.0
        for column, read in COLUMNS.items():
            value = read(TABLE[ours])
            if not row[column]:
                if value and not (column == "tdp_w" and value == 0):
                    differences.append(f"{ours} {column}: {value}, the reference has none")
            elif value is None or abs(value / (float(row[column]) * scale) - 1) > 0.01:
                differences.append(f"{ours} {column}: {value}, the reference has {row[column]}")
    assert differences == []
    assert len(rows) >= 79


def test_every_gpu_of_the_real_offers_is_known_but_one() -> None:
    path = SHARED / "offers.csv.gz"
    if not path.exists():
        pytest.skip(f"the real offers are not here: {path}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        sold = {(row["gpu"], float(row["gpu_mem_gib"] or 0) or None) for row in csv.DictReader(file)}
    unknown = {gpu for gpu, memory_gib in sold if canonical(gpu, memory_gib) is None}
    assert unknown == {"VR"}  # Vera Rubin: the published figures are preliminary and disagree
