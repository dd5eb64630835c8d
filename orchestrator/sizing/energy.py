"""Energy: what devices and sites draw, and what that costs."""

from __future__ import annotations

from orchestrator.domain.sizing import Assumption

HOURS_PER_YEAR = 8760.0

_NO_TDP = (Assumption("tdp_w", 0.0, "the vendor publishes no TDP: the energy of the device is shown as 0"),)

POWER_SHARE = Assumption(
    "power_share",
    0.8,
    "planning constant: a busy device draws 0.7 to 0.9 of its TDP; without host and cooling",
)


def device_watts(tdp_w: float) -> float:
    """Draw of one busy device in watts, without its host and its cooling."""
    return tdp_w * POWER_SHARE.value


def gaps(tdp_w: float) -> tuple[Assumption, ...]:
    """What to say about the energy of a device whose TDP is not known."""
    return () if tdp_w > 0 else _NO_TDP


def device_energy_kwh(gpu_hours: float, tdp_w: float) -> float:
    """Energy of `gpu_hours` device-hours in kWh, without hosts and cooling."""
    return gpu_hours * device_watts(tdp_w) / 1e3


def site_energy_kwh(it_load_mw: float, pue: float, hours: float = HOURS_PER_YEAR) -> float:
    """Energy of a whole site in kWh: IT load times power usage effectiveness (total over IT energy) times hours."""
    return it_load_mw * 1e3 * pue * hours


def energy_usd(energy_kwh: float, usd_per_kwh: float) -> float:
    """What `energy_kwh` costs in US dollars."""
    return energy_kwh * usd_per_kwh
