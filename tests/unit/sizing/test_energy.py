"""What devices, hosts and sites draw, against meter readings."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from orchestrator.domain.offer import Tier
from orchestrator.sizing import energy
from orchestrator.sizing.parameters import bundled

MEASURED = Path(__file__).resolve().parents[4] / "shared" / "data" / "sizing" / "reliability_energy.csv"
H100_W, A100_W, V100_W = 700.0, 400.0, 300.0


def rows() -> dict[str, float]:
    if not MEASURED.exists():
        pytest.skip(f"{MEASURED} is not here")
    with MEASURED.open(encoding="utf-8", newline="") as stream:
        return {row["item"]: float(row["value"]) for row in csv.DictReader(stream) if row["topic"] == "energy"}


def test_starcoders_meter_reads_as_we_say_of_a_device() -> None:
    reading = rows()["StarCoder average draw"]
    assert energy.it_watts(A100_W) - bundled()["energy.host_w"] == pytest.approx(reading, rel=0.01)


@pytest.mark.parametrize("reading_w", [624.0, 649.0])
def test_olmo_3s_meter_reads_as_we_say_of_a_device_and_its_host(reading_w: float) -> None:
    assert energy.it_watts(H100_W) == pytest.approx(reading_w, rel=0.05)


def test_olmo_3s_energy_is_met_from_its_device_hours() -> None:
    reading_kwh = rows()["Olmo 3 7B"] * 1e3
    assert 234_000 * energy.it_watts(H100_W) / 1e3 == pytest.approx(reading_kwh, rel=0.02)


def test_gpt_3s_servers_drew_as_we_say() -> None:
    assert energy.it_watts(V100_W) == pytest.approx(330.0, rel=0.04)  # Patterson et al. 2021, per device with its host


def test_granites_nodes_drew_more_than_we_say() -> None:
    reading_w = rows()["Granite-13b"] * 1e6 / 270_336
    assert energy.it_watts(A100_W) == pytest.approx(reading_w, rel=0.30)
    assert energy.it_watts(A100_W) < reading_w


def test_no_device_draws_more_with_its_host_than_the_nameplate_of_its_server() -> None:
    assert energy.it_watts(H100_W, 0.9) < rows()["DGX H100 max"]


def test_a_device_that_decodes_draws_less_than_one_that_trains() -> None:
    assert energy.it_watts(H100_W, energy.decode_share()) < energy.it_watts(H100_W)
    assert energy.it_watts(H100_W, energy.decode_share(prefill=1.0)) == pytest.approx(energy.it_watts(H100_W))


def test_an_unknown_tdp_gives_no_power_and_says_so() -> None:
    assert energy.it_watts(0.0) == 0.0
    assert energy.gaps(0.0)
    assert energy.gaps(700.0) == ()


def test_edge_rooms_waste_more_than_data_centres() -> None:
    by_tier = {tier: energy.pue(tier).value for tier in Tier}
    assert all(1.0 < value < 2.0 for value in by_tier.values())
    assert by_tier[Tier.EDGE] > by_tier[Tier.CLOUD] >= by_tier[Tier.HPC]


def test_carbon_dioxide_is_energy_times_the_grids_intensity() -> None:
    assert energy.co2_kg(433_196, 57.0) == pytest.approx(24_690, rel=0.001)  # BLOOM in France
    assert energy.co2_kg(688_128, 423.5) == pytest.approx(291_420, rel=0.001)  # Llama 2 70B, PUE counted in


def test_the_assumptions_say_where_they_come_from() -> None:
    assert [each.name for each in energy.assumptions()] == ["energy.busy_share", "energy.host_w"]
