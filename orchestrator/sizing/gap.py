"""Capacity gap: what frontier training and answers at the edge take each year, against what is expected to exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import ceil, floor, isfinite, log10, pow

from orchestrator.domain.accelerator import Accelerator, Precision
from orchestrator.domain.sizing import Assumption
from orchestrator.sizing.arithmetic import serving_arithmetic, training_arithmetic
from orchestrator.sizing.parameters import bundled

FIRST_YEAR, LAST_YEAR = 2024, 2035
HORIZON = 2030  # the year for which the source documents expect demand and supply
SPAN = HORIZON - FIRST_YEAR
STATED_GROWTH = 4.0  # a year, as the source documents put their x10 000 in six years into words
PREFIX = "gap."
EXA, PETA, TERA = 1e18, 1e15, 1e12
LEAST, LARGEST = 1e-12, 1e30  # nothing meant lies outside, and twelve years of growth still fit a float


class Scenario(StrEnum):
    """How demand goes on."""

    PEAK = "peak"  # training compute grows, and everything else stays
    CONSERVATIVE = "conservative"  # runs get longer and algorithms better


class Region(StrEnum):
    """Where the capacity stands."""

    US = "US"
    EU = "EU"


class Kind(StrEnum):
    """What kind of capacity it is: the largest system of its kind, or one edge node."""

    HPC = "hpc"
    CLOUD = "cloud"
    EDGE = "edge"


SYSTEMS = (Kind.HPC, Kind.CLOUD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the gap rests on; the parameter `gap.<field>` has the unit, the default and the origin of each field.

    Raises: ValueError for a value that means nothing (see `fault`).
    """

    training_flop: float
    growth_per_year: float
    run_s: float
    longer_runs: float
    algorithmic_gain: float
    answer_flop: float
    answer_s: float
    answers_at_once: float
    inference_growth: float
    us_hpc_2024: float
    us_hpc_2030: float
    us_cloud_2024: float
    us_cloud_2030: float
    eu_hpc_2024: float
    eu_hpc_2030: float
    eu_cloud_2024: float
    eu_cloud_2030: float
    supply_share: float
    us_edge_gpus: float
    eu_edge_gpus: float
    edge_utilisation: float
    utilisation: float
    device_growth: float
    efficiency_growth: float
    watts_per_tdp: float
    pue: float

    def __post_init__(self) -> None:
        for name in NAMES:
            found = fault(name, self.value(name))
            if found:
                raise ValueError(f"{name}: {found}")

    def value(self, name: str) -> float:
        """The field `name`."""
        number: float = getattr(self, name)
        return number

    def system_flops(self, year: int, region: Region, kind: Kind) -> float:
        """FLOP/s of the largest HPC or cloud system as it is rated: a constant rate through 2024's and 2030's."""
        first = self.value(f"{region.lower()}_{kind}_{FIRST_YEAR}")
        return EXA * first * pow(self.value(f"{region.lower()}_{kind}_{HORIZON}") / first, elapsed(year))

    def edge_gpus(self, region: Region) -> float:
        """Devices of one edge node."""
        return self.value(f"{region.lower()}_edge_gpus")


NAMES = tuple(field.name for field in fields(Outlook))
_SHARES = frozenset({"supply_share", "edge_utilisation", "utilisation"})
_AT_LEAST_ONE = frozenset({"longer_runs", "algorithmic_gain", "pue"})
_MOST = {"growth_per_year": 1e3, "device_growth": 10.0, "efficiency_growth": 10.0, "pue": 10.0, "watts_per_tdp": 100.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """One assumption as the report lists it."""

    name: str  # the parameter's: "gap.pue"
    value: float
    default: float
    low: float
    high: float
    unit: str
    origin: str  # of the default


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An accelerator in the arithmetic that it is used with: dense peak FLOP/s and TDP (0 where none is published)."""

    name: str
    year: int
    precision: Precision
    peak_flops: float
    tdp_w: float
    assumptions: tuple[Assumption, ...] = ()

    def years_of_progress(self, year: int) -> int:
        """For how many years devices have got better since this one, or since the first year of the outlook."""
        return max(0, year - max(FIRST_YEAR, self.year))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingNeed:
    """One frontier training run of a year."""

    flop: float
    run_s: float
    flops: float  # FLOP/s that the run has to get
    gpus_today: int  # devices as they are sold now
    gpus: int  # devices of that year
    power_w: float | None  # of the site, cooling included; None where the device's TDP is not known
    energy_kwh: float | None  # of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerNeed:
    """What answers take of one edge node in a year."""

    flop: float  # of one answer
    flops: float  # FLOP/s that the node has to get
    gpus: int  # devices of that year
    power_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Demand over supply of one kind of capacity: training for HPC and cloud systems, answers for edge nodes."""

    region: Region
    kind: Kind
    supply_flops: float  # FLOP/s that the work gets of it
    factor: float  # above 1 the capacity does not suffice
    answers_per_s: float  # how many answers a second it could give, doing nothing else

    @property
    def order(self) -> float:
        """The factor to the nearest power of ten."""
        return nearest_power(self.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class YearGap:
    """One year in one scenario."""

    year: int
    scenario: Scenario
    training: TrainingNeed
    answer: AnswerNeed
    gaps: tuple[Gap, ...]

    def largest(self, region: Region) -> Gap:
        """The gap to the region's largest system, be it HPC or cloud."""
        systems = [gap for gap in self.gaps if gap.region is region and gap.kind in SYSTEMS]
        return max(systems, key=lambda gap: gap.supply_flops)


def outlook(changes: Mapping[str, float] | None = None) -> Outlook:
    """The bundled assumptions with `changes` by field. Raises: ValueError; KeyError for a name that is none."""
    values = {name: bundled()[PREFIX + name] for name in NAMES}
    for name, value in (changes or {}).items():
        if name not in values:
            raise KeyError(name)
        values[name] = value
    return Outlook(**values)


def stated(assumed: Outlook) -> tuple[Stated, ...]:
    """Every assumption with its unit and origin."""
    rows = [(bundled().row(PREFIX + name), assumed.value(name)) for name in NAMES]
    return tuple(
        Stated(
            name=row.name,
            value=value,
            default=row.value,
            low=row.low,
            high=row.high,
            unit=row.unit,
            origin=row.origin,
        )
        for row, value in rows
    )


def fault(name: str, value: float) -> str:
    """Why `value` means nothing for the field `name`, as half a sentence; empty where it does."""
    if not isfinite(value) or value <= 0:
        return f"{value:g} is not more than 0"
    if name in _SHARES and value > 1:
        return f"{value:g} is more than 1, and a share is from 0 to 1"
    if name in _AT_LEAST_ONE and value < 1:
        return f"{value:g} is less than 1"
    most = _MOST.get(name, LARGEST)
    if value > most:
        return f"{value:g} is more than {most:g}"
    return f"{value:g} is less than {LEAST:g}" if value < LEAST else ""


def device_of(accelerator: Accelerator, precision: Precision, *, training: bool) -> Device | None:
    """`accelerator` in `precision` (or in what stands in for it, which is said); None where it cannot."""
    found = (training_arithmetic if training else serving_arithmetic)(accelerator, precision)
    if found is None:
        return None
    return Device(
        name=accelerator.name,
        year=accelerator.year,
        precision=found.precision,
        peak_flops=found.peak_tflops * TERA,
        tdp_w=accelerator.tdp_w,
        assumptions=found.assumptions,
    )


def capacity_gap(assumed: Outlook, years: Iterable[int], *, device: Device, edge_device: Device) -> tuple[YearGap, ...]:
    """Demand, supply and their ratio for every year (2024 to 2035) in both scenarios; pure arithmetic.

    With e = (year - 2024)/6: training takes `training_flop`·g^(year-2024) in `run_s`; the conservative scenario divides
    the FLOPs by gain^e and stretches the run by longer^min(e, 1). An answer takes `answer_flop`·growth^e, divided by
    gain^e in the conservative scenario as well. Supply grows at the rate between its 2024 and its 2030 value.

    Raises: ValueError for a year outside.
    """
    return tuple(_year_gap(assumed, year, scenario, device, edge_device) for year in years for scenario in Scenario)


def elapsed(year: int) -> float:
    """The part of the way from 2024 to 2030; above 1 afterwards. Raises: ValueError for a year outside 2024 to 2035."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"{year} is not in {FIRST_YEAR} to {LAST_YEAR}")
    return (year - FIRST_YEAR) / SPAN


def training_run(assumed: Outlook, year: int, scenario: Scenario) -> tuple[float, float]:
    """FLOPs and seconds of the frontier training run of `year`."""
    way = elapsed(year)
    flop = assumed.training_flop * assumed.growth_per_year ** (year - FIRST_YEAR)
    if scenario is Scenario.PEAK:
        return flop, assumed.run_s
    # A run three times as long takes a year: it does not get longer still.
    return flop / pow(assumed.algorithmic_gain, way), assumed.run_s * pow(assumed.longer_runs, min(way, 1.0))


def answer_flop(assumed: Outlook, year: int, scenario: Scenario) -> float:
    """FLOPs of one answer of `year`."""
    way = elapsed(year)
    flop = assumed.answer_flop * pow(assumed.inference_growth, way)
    return flop if scenario is Scenario.PEAK else flop / pow(assumed.algorithmic_gain, way)


def supply_flops(assumed: Outlook, year: int, region: Region, kind: Kind, edge: Device) -> float:
    """FLOP/s that the work gets of the largest system of its kind in `year`, or of one edge node.

    A node has as many devices `edge` as in 2024, each as fast as devices of that year are.
    """
    if kind is not Kind.EDGE:
        return assumed.system_flops(year, region, kind) * assumed.supply_share
    better = assumed.device_growth ** edge.years_of_progress(year)
    return assumed.edge_gpus(region) * edge.peak_flops * better * assumed.edge_utilisation


def nearest_power(factor: float) -> float:
    """`factor` to the nearest power of ten: 50 gives 100, because it is nearer on a logarithmic scale."""
    return 10.0 ** floor(log10(factor) + 0.5)


def _year_gap(assumed: Outlook, year: int, scenario: Scenario, device: Device, edge: Device) -> YearGap:
    flop, run_s = training_run(assumed, year, scenario)
    training = _training_need(assumed, year, flop, run_s, device)
    answer = _answer_need(assumed, year, answer_flop(assumed, year, scenario), edge)
    gaps = tuple(
        _gap(region, kind, supply_flops(assumed, year, region, kind, edge), training, answer)
        for region in Region
        for kind in Kind
    )
    return YearGap(year=year, scenario=scenario, training=training, answer=answer, gaps=gaps)


def _training_need(assumed: Outlook, year: int, flop: float, run_s: float, device: Device) -> TrainingNeed:
    flops = flop / run_s
    today = flops / (device.peak_flops * assumed.utilisation)
    power = _site_power_w(assumed, year, today, device)
    return TrainingNeed(
        flop=flop,
        run_s=run_s,
        flops=flops,
        gpus_today=ceil(today),
        gpus=ceil(today / assumed.device_growth ** device.years_of_progress(year)),
        power_w=power,
        energy_kwh=None if power is None else power * run_s / 3.6e6,
    )


def _answer_need(assumed: Outlook, year: int, flop: float, device: Device) -> AnswerNeed:
    flops = flop * assumed.answers_at_once / assumed.answer_s
    today = flops / (device.peak_flops * assumed.edge_utilisation)
    return AnswerNeed(
        flop=flop,
        flops=flops,
        gpus=ceil(today / assumed.device_growth ** device.years_of_progress(year)),
        power_w=_site_power_w(assumed, year, today, device),
    )


def _site_power_w(assumed: Outlook, year: int, devices_today: float, device: Device) -> float | None:
    """Watts of what `devices_today` devices do now at that year's FLOP/s per watt; hosts and cooling included."""
    if not device.tdp_w > 0:
        return None
    better = assumed.efficiency_growth ** device.years_of_progress(year)
    return devices_today * device.tdp_w / better * assumed.watts_per_tdp * assumed.pue


def _gap(region: Region, kind: Kind, supply: float, training: TrainingNeed, answer: AnswerNeed) -> Gap:
    demand = answer.flops if kind is Kind.EDGE else training.flops
    return Gap(
        region=region,
        kind=kind,
        supply_flops=supply,
        factor=demand / supply,
        answers_per_s=supply / answer.flop,
    )
