"""Energy: what devices, hosts and sites draw, what that costs, and the carbon dioxide behind it."""

from __future__ import annotations

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.offer import Tier
from orchestrator.domain.sizing import Assumption
from orchestrator.sizing.parameters import Parameters, bundled

HOURS_PER_YEAR = 8760.0

_NO_TDP = (Assumption("tdp_w", 0.0, "the vendor publishes no TDP: the energy of the device is shown as 0"),)


def it_watts(tdp_w: float, busy_share: float | None = None, table: Parameters | None = None) -> float:
    """Draw of one device with its share of the host in watts, before cooling and losses (PUE).

    TDP · share + a fixed share of the host. The default share is that of training; `decode_share()` is for a device
    that decodes. 0 where the vendor publishes no TDP: see `gaps`.
    """
    if tdp_w <= 0:
        return 0.0
    known = bundled() if table is None else table
    share = known["energy.busy_share"] if busy_share is None else busy_share
    return tdp_w * share + known["energy.host_w"]


def device_it_watts(device: Accelerator, busy_share: float | None = None, table: Parameters | None = None) -> float:
    """`it_watts` of `device`. One that shares its host's memory (a CPU, a Jetson) is its host; and no host is counted
    at more than its device, since small devices sit in small hosts.
    """
    if device.tdp_w <= 0:
        return 0.0
    known = bundled() if table is None else table
    share = known["energy.busy_share"] if busy_share is None else busy_share
    host = min(known["energy.host_w"], device.tdp_w) if device.link else 0.0
    return device.tdp_w * share + host


def decode_share(prefill: float = 0.0, table: Parameters | None = None) -> float:
    """Draw over TDP of a device that serves: `prefill` of its time reads prompts at full draw, the rest decodes."""
    known = bundled() if table is None else table
    return known["energy.decode_share"] + prefill * (known["energy.busy_share"] - known["energy.decode_share"])


def pue(tier: Tier, table: Parameters | None = None) -> Assumption:
    """Total over IT energy of a usual site of this kind; a provider's own figure is better where it publishes one."""
    known = bundled() if table is None else table
    return known.assumption(f"energy.pue.{tier.value}")


def assumptions(table: Parameters | None = None) -> tuple[Assumption, ...]:
    """The numbers that `it_watts` rests on, with their origins."""
    known = bundled() if table is None else table
    return (known.assumption("energy.busy_share"), known.assumption("energy.host_w"))


def gaps(tdp_w: float) -> tuple[Assumption, ...]:
    """What to say about the energy of a device whose TDP is not known."""
    return () if tdp_w > 0 else _NO_TDP


def site_energy_kwh(it_load_mw: float, pue: float, hours: float = HOURS_PER_YEAR) -> float:
    """Energy of a whole site in kWh: IT load times power usage effectiveness (total over IT energy) times hours."""
    return it_load_mw * 1e3 * pue * hours


def energy_usd(energy_kwh: float, usd_per_kwh: float) -> float:
    """What `energy_kwh` costs in US dollars."""
    return energy_kwh * usd_per_kwh


def co2_kg(energy_kwh: float, g_per_kwh: float) -> float:
    """Kilograms of CO2-equivalent behind `energy_kwh` from the meter (PUE counted in) on a grid of so many g/kWh."""
    return energy_kwh * g_per_kwh / 1e3
