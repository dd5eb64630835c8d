"""The capacity gap: demand, supply, what the gap takes in devices and power, every assumption, and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Cell,
    Column,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    bad,
    dim,
    good,
    left,
    line,
    right,
    strong,
    text_of,
    warn,
)
from orchestrator.sizing.gap import (
    EXA,
    FIRST_YEAR,
    HORIZON,
    PETA,
    PREFIX,
    SPAN,
    STATED_GROWTH,
    SYSTEMS,
    AnswerNeed,
    Device,
    Gap,
    Kind,
    Outlook,
    Region,
    Scenario,
    Stated,
    TrainingNeed,
    YearGap,
    stated,
)
from orchestrator.spec.documents import to_jsonable

PREFIXES = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
WIDE = 10.0  # from this factor on a gap is shown as bad


@dataclass(frozen=True, slots=True, kw_only=True)
class GapReport:
    """The gap of the years, regions and scenarios asked for, and what it rests on.

    `flags` names the option of every assumption by its field; `rows` hold every region, of which `regions` are shown.
    """

    outlook: Outlook
    rows: tuple[YearGap, ...]
    regions: tuple[Region, ...]
    device: Device
    edge_device: Device
    flags: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def page(self) -> Page:
        """The answer, the tables behind it, the assumptions."""
        blocks: list[Block] = [Title("Capacity gap"), Facts(self._answer()), Line()]
        blocks += [Title("What frontier training takes"), Table(self._need_columns(), self._needs()), Line()]
        blocks += [Title("The largest systems: how far training is from them, and the answers they could give instead")]
        blocks += [Table(self._system_columns(), self._systems()), Line()]
        blocks += [
            Title("Answers at the edge: PFLOP/s that a node needs, and that it gets"),
            Table(self._edge_columns(), self._edges()),
            Line(),
        ]
        blocks += [Title("Assumptions"), Table(ASSUMPTION_COLUMNS, self._assumptions()), Line()]
        return (*blocks, *(line(f"note: {note}") for note in self._notes()))

    def document(self) -> object:
        """The same numbers, unrounded."""
        return {
            "years": [self._row(row) for row in self.rows],
            "device": to_jsonable(self.device),
            "edge_device": to_jsonable(self.edge_device),
            "assumptions": [self._assumption(each) for each in stated(self.outlook)],
            "notes": self._notes(),
        }

    def _row(self, row: YearGap) -> dict[str, object]:
        answer = row.answer
        return {
            "year": row.year,
            "scenario": row.scenario.value,
            "training": {
                "flop": row.training.flop,
                "run_s": row.training.run_s,
                "flop_per_s": row.training.flops,
                "gpus": row.training.gpus,
                "gpus_today": row.training.gpus_today,
                "power_w": row.training.power_w,
                "energy_kwh": row.training.energy_kwh,
            },
            "answer": {
                "flop": answer.flop,
                "flop_per_s": answer.flops,
                "gpus": answer.gpus,
                "power_w": answer.power_w,
            },
            "gaps": [
                {
                    "region": gap.region.value,
                    "kind": gap.kind.value,
                    "supply_flop_per_s": gap.supply_flops,
                    "gap": gap.factor,
                    "gap_nearest_power_of_ten": gap.order,
                    "answers_per_s": gap.answers_per_s,
                }
                for gap in row.gaps
                if gap.region in self.regions
            ],
        }

    def _assumption(self, each: Stated) -> dict[str, object]:
        changed = each.value != each.default
        return {
            "name": each.name,
            "flag": self._flag(each),
            "value": each.value,
            "unit": each.unit,
            "default": each.default,
            "low": each.low,
            "high": each.high,
            "origin": self._flag(each) if changed else each.origin,
        }

    def _flag(self, each: Stated) -> str:
        return self.flags[each.name.removeprefix(PREFIX)]

    def _answer(self) -> tuple[tuple[str, Text], ...]:
        """The last year in words: what is asked for, and how far the largest system of each region is from it."""
        last = [row for row in self.rows if row.year == self.rows[-1].year]
        unit = max(row.training.flops for row in last)
        rows: list[tuple[str, Text]] = [("year", str(last[0].year))]
        for row in last:
            need = row.training
            words = f"{_digits(need.flop)} FLOP in {fmt.duration(need.run_s)}"
            rows.append((f"{row.scenario} training", strong(f"{prefixed(need.flops, 'FLOP/s', like=unit)}: {words}")))
            rows.append(("", f"takes {self._takes(row.year, need)}"))
        for region in self.regions:
            rows.append((f"gap in the {region}", _said(tuple((row.scenario, row.largest(region)) for row in last))))
        needs = " and ".join(f"{prefixed(row.answer.flops, 'FLOP/s')} ({row.scenario})" for row in last)
        rows.append(("edge node", needs))
        return tuple(rows)

    def _takes(self, year: int, need: TrainingNeed) -> str:
        """`28.9M H100-SXM or 6.27M GPUs of 2030, 8.49 GW`."""
        today = f"{devices(need.gpus_today)} {self.device.name}"
        then = "" if need.gpus == need.gpus_today else f" or {devices(need.gpus)} GPUs of {year}"
        return f"{today}{then}, {'power unknown' if need.power_w is None else text_of(power(need.power_w))}"

    def _need_columns(self) -> tuple[Column, ...]:
        return (
            right("year"),
            left("scenario"),
            right("compute"),
            right("run"),
            right("EFLOP/s needed"),
            right(f"in {self.device.name}"),
            right("in GPUs of the year"),
            right("power"),
            right("energy of the run"),
        )

    def _needs(self) -> tuple[tuple[Text, ...], ...]:
        return tuple((str(row.year), str(row.scenario), *_need_cells(row.training)) for row in self.rows)

    def _system_columns(self) -> tuple[Column, ...]:
        scenarios = [row.scenario for row in self.rows if row.year == self.rows[0].year]
        gaps = [right(f"{scenario} gap") for scenario in scenarios]
        answers = [right(f"{scenario} answers") for scenario in scenarios]
        return (right("year"), left("region"), left("kind"), right("EFLOP/s"), *gaps, *answers)

    def _systems(self) -> tuple[tuple[Text, ...], ...]:
        found: list[tuple[Text, ...]] = []
        for year in dict.fromkeys(row.year for row in self.rows):
            # What a system supplies is the same in every scenario: they stand side by side.
            for gaps in zip(*(row.gaps for row in self.rows if row.year == year), strict=True):
                one = gaps[0]
                if one.kind in SYSTEMS and one.region in self.regions:
                    head = (str(year), str(one.region), KINDS[one.kind], _digits(one.supply_flops / EXA))
                    answers = (f"{_digits(gap.answers_per_s)}/s" for gap in gaps)
                    found.append((*head, *(times(gap.factor) for gap in gaps), *answers))
        return tuple(found)

    def _edge_columns(self) -> tuple[Column, ...]:
        nodes = [right(f"{region} node") for region in self.regions]
        gaps = [right(f"{region} gap") for region in self.regions]
        head = (right("year"), left("scenario"), right("one answer"), right("PFLOP/s needed"))
        return (*head, *nodes, *gaps, right("GPUs of the year"), right("power"))

    def _edges(self) -> tuple[tuple[Text, ...], ...]:
        found: list[tuple[Text, ...]] = []
        for row in self.rows:
            edges = [gap for gap in row.gaps if gap.kind is Kind.EDGE and gap.region in self.regions]
            nodes, gaps = (_digits(gap.supply_flops / PETA) for gap in edges), (times(gap.factor) for gap in edges)
            head = (str(row.year), str(row.scenario), *_answer_cells(row.answer))
            found.append((*head, *nodes, *gaps, devices(row.answer.gpus), power(row.answer.power_w)))
        return tuple(found)

    def _assumptions(self) -> tuple[tuple[Text, ...], ...]:
        devices = (
            ("--device", self.device, f"for training: {flops_of(self.device)}"),
            ("--edge-device", self.edge_device, f"in edge nodes: {flops_of(self.edge_device)}"),
        )
        rows: list[tuple[Text, ...]] = [(flag, strong(device.name), "", origin) for flag, device, origin in devices]
        for each in stated(self.outlook):
            changed = each.value != each.default
            origin: Text = strong(f"given; the default is {number(each.default)}") if changed else each.origin
            rows.append((self._flag(each), number(each.value), each.unit, origin))
        return tuple(rows)

    def _notes(self) -> list[str]:
        notes = list(self.notes)
        notes += [each.origin for device in (self.device, self.edge_device) for each in device.assumptions]
        notes += self._growth_note()
        notes.append(
            f"systems count at {fmt.percent(self.outlook.supply_share)} of the speed they are rated at; the GPUs, the "
            f"power and the energy of training are at a utilisation of {fmt.percent(self.outlook.utilisation)}"
        )
        notes.append(RATED)
        if any(row.year > HORIZON for row in self.rows):
            notes.append(f"after {HORIZON} everything goes on at the rate of the years before, but runs get no longer")
        if None in (row.training.power_w for row in self.rows) or None in (row.answer.power_w for row in self.rows):
            notes.append("power and energy are unknown where the vendor publishes no TDP")
        return notes

    def _growth_note(self) -> list[str]:
        """How the growth used and the x4 a year of the source documents differ at their horizon."""
        assumed = self.outlook
        if abs(assumed.growth_per_year / STATED_GROWTH - 1) < 1e-9:
            return []
        used, words = (growth**SPAN for growth in (assumed.growth_per_year, STATED_GROWTH))
        rate = prefixed(assumed.training_flop * words / assumed.run_s, "FLOP/s")
        return [
            f"x{assumed.growth_per_year:.3g} a year is x{used:,.0f} from {FIRST_YEAR} to {HORIZON}; "
            f"x{STATED_GROWTH:g} a year, as it is often put, is x{words:,.0f}, or {rate} in {HORIZON} (--growth 4)"
        ]


RATED = (
    "2024's systems are rated in FP64 (HPL), those of 2030 in an arithmetic that is not stated; in dense 16-bit "
    "arithmetic, in which models are trained, the same machines of 2024 have 12 to 25 times as much"
)
KINDS: Mapping[Kind, str] = {Kind.HPC: "HPC", Kind.CLOUD: "cloud", Kind.EDGE: "edge"}
ASSUMPTION_COLUMNS = (left("flag"), right("value"), left("unit"), left("origin"))


def prefixed(value: float, unit: str, *, like: float | None = None) -> str:
    """`10 ZFLOP/s`, `8.49 GW`: three digits and a prefix, that of `like` where it is given."""
    scale, prefix = next(((s, p) for s, p in PREFIXES if (like or value) >= 0.9995 * s), (1.0, ""))
    return f"{_digits(value / scale)} {prefix}{unit}"


def exa(flops: float) -> str:
    """Always in EFLOP/s, so that systems can be compared."""
    return f"{_digits(flops / EXA)} EFLOP/s"


def devices(count: int) -> str:
    """`2,888`, `28.9M`."""
    return fmt.count(count) if count < 1e6 else fmt.quantity(float(f"{count:.3g}"))


def power(watts: float | None) -> Text:
    """`8.49 GW`."""
    return dim(fmt.UNKNOWN) if watts is None else prefixed(watts, "W")


def times(factor: float) -> Cell:
    """`x500`; at most 1 is capacity enough."""
    text = f"x{_digits(factor)}"
    if factor <= 1:
        return good(text)
    return bad(text) if factor >= WIDE else warn(text)


def number(value: float) -> str:
    """`1e25`, `4.6416`, `0.35`, `100`: an exponent as people write it."""
    return _plain_exponent(f"{value:.5g}")


def flops_of(device: Device) -> str:
    """`989 TFLOP/s dense in bf16, 700 W TDP`."""
    tdp = f"{device.tdp_w:,.0f} W TDP" if device.tdp_w > 0 else "no TDP published"
    return f"{prefixed(device.peak_flops, 'FLOP/s')} dense in {device.precision}, {tdp}, of {device.year}"


def _digits(value: float) -> str:
    """Three digits, thousands grouped, an exponent where neither would help."""
    if value >= 1e7 or 0 < value < 1e-3:
        return _plain_exponent(f"{value:.3g}")
    return f"{float(f'{value:.3g}'):,.10g}"


def _plain_exponent(text: str) -> str:
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def _need_cells(need: TrainingNeed) -> tuple[Text, ...]:
    return (
        f"{_digits(need.flop)} FLOP",
        fmt.duration(need.run_s),
        strong(_digits(need.flops / EXA)),
        devices(need.gpus_today),
        devices(need.gpus),
        power(need.power_w),
        dim(fmt.UNKNOWN) if need.energy_kwh is None else fmt.energy(need.energy_kwh),
    )


def _answer_cells(need: AnswerNeed) -> tuple[Text, Text]:
    return f"{_digits(need.flop)} FLOP", strong(_digits(need.flops / PETA))


def _said(gaps: Sequence[tuple[Scenario, Gap]]) -> str:
    """`peak x50 (x100 to the nearest power of ten), conservative x0.505 (covered), to the largest system: ...`."""
    words = ", ".join(f"{scenario} x{_digits(gap.factor)} ({_verdict(gap)})" for scenario, gap in gaps)
    system = gaps[0][1]
    return f"{words}, to the largest system: {KINDS[system.kind]}, {exa(system.supply_flops)}"


def _verdict(gap: Gap) -> str:
    return "covered" if gap.factor <= 1 else f"x{gap.order:,.0f} to the nearest power of ten"
