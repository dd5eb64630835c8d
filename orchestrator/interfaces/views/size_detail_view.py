"""Details of sizings: memory as bars, where the time goes, checkpoints, latencies, and what the arithmetic rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.domain.sizing import Assumption, FiniteWork, MemoryTerm, Service, Sizing
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.effort_words import checkpoints, load, pace, quantised, seconds, title, words
from orchestrator.interfaces.views.page import Block, Facts, Line, Part, Stack, Stacks, Text, Title, dim, line
from orchestrator.interfaces.views.size_figures import Figures, Location

BARS = 12  # accelerators whose memory is drawn


def memory_bars(rows: Sequence[Figures]) -> list[Block]:
    """The memory of one device of each of the first accelerators, by term, against what it can hold."""
    drawn = [stack for row in rows[:BARS] if (stack := _stack(row)) is not None]
    if not drawn:
        return []
    more = f", the {len(drawn)} cheapest" if len(rows) > BARS else ""
    where = "" if isinstance(rows[0].effort, Service) else " at the least count"
    if any(_laid_out(row) for row in rows):
        where = " in its layout" if all(_laid_out(row) for row in rows) else " in its layout, or at the least count"
    return [Title(f"Memory of one GPU{where}, against what a job can use of it{more}"), Stacks(tuple(drawn)), Line()]


def _laid_out(row: Figures) -> tuple[MemoryTerm, ...]:
    """What the layout holds on the fullest device; empty where there is none."""
    step = row.effort.step if isinstance(row.effort, FiniteWork) else None
    return step.memory if step is not None else ()


def _stack(row: Figures) -> Stack | None:
    sizing = row.sizing
    if sizing is None:
        return None
    held = _laid_out(row)
    if held:
        room, whole = sizing.capacity_per_gpu_gib, sum(term.gib for term in held)
        parts = tuple(Part(term.name, term.gib) for term in held if term.gib > 0)
        detail = f"{fmt.gib(whole)} of {fmt.gib(room)} ({fmt.percent(whole / room)})"
        return Stack(row.device.name, parts, room, detail)
    parts = tuple(Part(term.name, term.gib / sizing.min_gpus) for term in sizing.memory if term.gib > 0)
    share = sizing.memory_per_gpu_gib / sizing.capacity_per_gpu_gib
    return Stack(row.device.name, parts, sizing.capacity_per_gpu_gib, f"{memory(sizing)} ({fmt.percent(share)})")


def memory(sizing: Sizing) -> str:
    """`55 GiB of 76 GiB`."""
    return f"{fmt.gib(sizing.memory_per_gpu_gib)} of {fmt.gib(sizing.capacity_per_gpu_gib)}"


def bands() -> list[Block]:
    """What the numbers in parentheses are."""
    said = (
        "Medians; in parentheses the 10th to 90th percentile of what published runs took against their estimates: of"
        " ten such jobs eight lie inside."
    )
    return [line(dim(said), indent=2)]


def details(rows: Sequence[Figures]) -> list[Block]:
    """Everything that stands behind the rows; what is the same for all of them once."""
    known = [row.sizing for row in rows if row.sizing is not None]
    shared = (
        [each for each in known[0].assumptions if all(each in other.assumptions for other in known)] if known else []
    )
    blocks: list[Block] = []
    for row in rows:
        blocks += _one(row, shared if len(known) > 1 else [])
    if shared and len(known) > 1:
        facts = tuple(_assumption(each) for each in shared)
        blocks += [Title("What the arithmetic of all of them rests on"), Facts(facts), Line()]
    return blocks


def _assumption(each: Assumption) -> tuple[str, Text]:
    return each.name, f"{each.value:.4g} ({each.origin})"


def _one(row: Figures, shared: Sequence[Assumption]) -> list[Block]:
    sizing = row.sizing
    if sizing is None:
        return []
    terms = " + ".join(f"{term.name} {fmt.gib(term.gib)}" for term in sizing.memory)
    over = f" over {fmt.plural(sizing.min_gpus, 'GPU')}" if sizing.min_gpus > 1 else ""
    least = "memory, at the least" if isinstance(sizing.effort, FiniteWork) and _laid_out(row) else "memory"
    facts: list[tuple[str, Text]] = [(least, f"{terms} = {fmt.gib(sizing.memory_gib)}{over}")]
    if isinstance(sizing.effort, FiniteWork):
        facts += _finite(row, sizing.effort)
    else:
        facts += _service(row, sizing.effort)
    facts += _price(row)
    if sizing.quantised is not None:
        facts.append(("quantised", quantised(sizing.quantised, sizing.effort)))
    facts += [_assumption(each) for each in sizing.assumptions if each not in shared]
    return [Title(f"{sizing.accelerator}: what the arithmetic rests on"), Facts(tuple(facts)), Line()]


def _finite(row: Figures, effort: FiniteWork) -> list[tuple[str, Text]]:
    facts: list[tuple[str, Text]] = []
    if row.gpu_hours is not None:
        facts.append(("work", fmt.band(row.gpu_hours, fmt.gpu_hours)))
    if effort.step is not None:
        facts.append((title(row.basis), f"{words(effort.step.parallelism)}: {pace(effort.step)}"))
        parts = " + ".join(f"{name} {seconds(took)}" for name, took in effort.step.parts if took > 0)
        facts += [("step", f"{parts} = {seconds(effort.step.seconds)}")] if parts else []
    if effort.checkpoints is not None:
        facts += checkpoints(effort.checkpoints)
    return facts


def _service(row: Figures, effort: Service) -> list[tuple[str, Text]]:
    facts: list[tuple[str, Text]] = []
    if effort.stack:
        facts.append(("stack", effort.stack))
    facts += load(effort, row.mean_usd)
    if effort.most_tokens_per_s:
        facts.append(("at most", f"{effort.most_tokens_per_s:,.4g} output tokens/s of one replica, latency aside"))
    return facts


def _price(row: Figures) -> list[tuple[str, Text]]:
    said: list[tuple[str, Text]] = []
    if row.usd is not None and row.usd.p10 != row.usd.p90:
        said.append(("cost", fmt.band(row.usd, fmt.usd_short)))
    if row.usd_per_1m_output is not None:
        said.append(("per 1M output tokens", fmt.band(row.usd_per_1m_output, fmt.usd)))
    return said


def location_facts(location: Location) -> Iterable[tuple[str, Text]]:
    """What turns the devices' energy into the site's and into CO2."""
    each = [location.pue]
    if location.g_co2_per_kwh is not None:
        each.append(location.g_co2_per_kwh)
    return tuple((fact.name, f"{fact.value:.4g} ({fact.origin})") for fact in each if fact.origin)
