"""Figures: what one accelerator means for one workload, worked out once for every table that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Assumption, Band, FiniteWork, Service, Sizing
from orchestrator.domain.workload import BatchInference, FineTune, Inference, Training, Workload
from orchestrator.interfaces.views.effort_words import NO_LAYOUT, Basis, basis, layout
from orchestrator.sizing.energy import co2_kg


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one device costs per hour, and who says so."""

    usd_per_gpu_hour: float
    offer: str
    source: str
    observed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The market's ends for one accelerator."""

    low: Quote
    high: Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where the devices stand: what turns their energy into a site's and into CO2."""

    place: str = ""  # "" where only the PUE was given
    pue: Assumption
    g_co2_per_kwh: Assumption | None = None

    def site(self, kwh: float) -> float:
        """Energy at the meter of `kwh` of devices and hosts."""
        return kwh * self.pue.value

    def co2_kg(self, kwh: float) -> float | None:
        """CO2 of the energy at the meter in kg, or None where no grid is known."""
        return None if self.g_co2_per_kwh is None else co2_kg(self.site(kwh), self.g_co2_per_kwh.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One accelerator's row. What does not apply, or is not known, is None.

    Of finite work `usd` and `kwh` are in all; of a service they are per hour.
    """

    device: Accelerator
    sizing: Sizing | None = None
    refusal: Reason | None = None
    prices: Prices | None = None
    gpus: int | None = None  # of the whole job, or of all replicas
    layout: str = NO_LAYOUT
    basis: Basis = Basis.PLANNING
    gpu_hours: Band | None = None
    hours: Band | None = None
    usd: Band | None = None
    usd_per_1m: Band | None = None  # of all tokens: trained on, or of prompts and answers
    usd_per_1m_output: Band | None = None
    mean_usd: float | None = None  # per hour of a service that scales with its load
    kwh: Band | None = None
    site_kwh: float | None = None
    co2_kg: float | None = None
    tokens_per_s: float | None = None  # trained on, or of answers
    usd_per_hour: float | None = None

    @property
    def effort(self) -> FiniteWork | Service | None:
        """The sizing's, if it fits."""
        return None if self.sizing is None else self.sizing.effort


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What all rows of a report share."""

    workload: Workload | None
    sizings: Mapping[str, Sizing | Reason]
    prices: Mapping[str, Prices]
    gpus: int | None = None  # devices of finite work; None: what the sizing was made for
    location: Location | None = None


def figures(asked: Asked, device: Accelerator) -> Figures:
    """The row of `device`."""
    answer = asked.sizings.get(device.name)
    prices = asked.prices.get(device.name)
    if isinstance(answer, Reason):
        return Figures(device=device, refusal=answer, prices=prices)
    if answer is None or asked.workload is None:
        return Figures(device=device, prices=prices)
    if isinstance(answer.effort, Service):
        return _service(asked, device, answer, answer.effort)
    return _finite(asked, device, answer, answer.effort)


def tokens_of(workload: Workload) -> float | None:
    """All tokens of finite work: trained on, or of prompts and answers; None for a service."""
    if isinstance(workload, Training | FineTune):
        return workload.tokens
    if isinstance(workload, BatchInference):
        return workload.requests * (workload.prompt_tokens + workload.output_tokens)
    return None


def _output_share(workload: Inference | BatchInference) -> float:
    return workload.output_tokens / (workload.prompt_tokens + workload.output_tokens)


def _finite(asked: Asked, device: Accelerator, sizing: Sizing, effort: FiniteWork) -> Figures:
    workload, prices = asked.workload, asked.prices.get(device.name)
    gpus = asked.gpus or max(sizing.min_gpus, effort.gpus)
    work = effort.gpu_hours_on(gpus)
    kwh = effort.energy_kwh.scaled(work.p50 / effort.gpu_hours.p50) if effort.gpu_hours.p50 else effort.energy_kwh
    price = prices.low.usd_per_gpu_hour if prices else None
    usd = work.scaled(price) if price is not None else None
    tokens = tokens_of(workload) if workload is not None else None
    per_1m = usd.scaled(1e6 / tokens) if usd is not None and tokens else None
    share = _output_share(workload) if isinstance(workload, BatchInference) else None
    seconds = work.p50 / gpus * 3600.0
    return Figures(
        device=device,
        sizing=sizing,
        prices=prices,
        gpus=gpus,
        layout=layout(effort.step.parallelism) if effort.step else NO_LAYOUT,
        basis=basis(workload),
        gpu_hours=work,
        hours=work.scaled(1.0 / gpus),
        usd=usd,
        usd_per_1m=per_1m,
        usd_per_1m_output=per_1m.scaled(1.0 / share) if per_1m is not None and share else None,
        kwh=kwh if kwh.p50 else None,
        site_kwh=asked.location.site(kwh.p50) if asked.location and kwh.p50 else None,
        co2_kg=asked.location.co2_kg(kwh.p50) if asked.location and kwh.p50 else None,
        tokens_per_s=tokens * (1.0 if share is None else share) / seconds if tokens and seconds else None,
        usd_per_hour=price * gpus if price is not None else None,
    )


def _service(asked: Asked, device: Accelerator, sizing: Sizing, effort: Service) -> Figures:
    workload, prices = asked.workload, asked.prices.get(device.name)
    if not isinstance(workload, Inference):
        raise TypeError(f"{device.name}: a service answers requests, not {type(workload).__name__}")
    price = prices.low.usd_per_gpu_hour * sizing.min_gpus if prices else None
    usd = price * effort.replicas if price is not None else None
    rate = workload.requests_per_s
    tokens_per_h = rate * (workload.prompt_tokens + workload.output_tokens) * 3600.0
    per_1m = usd / tokens_per_h * 1e6 if usd is not None and tokens_per_h else None
    kwh = effort.watts_per_replica * effort.replicas / 1e3
    share = _output_share(workload)
    return Figures(
        device=device,
        sizing=sizing,
        prices=prices,
        gpus=effort.replicas * sizing.min_gpus,
        usd=_certain(usd),
        usd_per_1m=_certain(per_1m),
        usd_per_1m_output=_certain(per_1m / share) if per_1m is not None and share else None,
        mean_usd=price * effort.mean_replicas if price is not None and effort.mean_replicas else None,
        kwh=_certain(kwh or None),
        site_kwh=asked.location.site(kwh) if asked.location and kwh else None,
        co2_kg=asked.location.co2_kg(kwh) if asked.location and kwh else None,
        tokens_per_s=rate * workload.output_tokens,
        usd_per_hour=usd,
    )


def _certain(value: float | None) -> Band | None:
    return None if value is None else Band(value, value, value)
