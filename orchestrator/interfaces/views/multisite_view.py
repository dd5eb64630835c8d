"""Training over more than one site: the verdict, what the exchange takes, and the ways to do without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from orchestrator.domain.reason import Reason
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Table,
    Text,
    Title,
    dim,
    good,
    left,
    line,
    right,
    strong,
    warn,
)
from orchestrator.sizing.multisite import TOLERATED, MultiSite
from orchestrator.spec.documents import to_jsonable


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSites:
    """One accelerator's job shared out over sites, or why it cannot be."""

    accelerator: str
    result: MultiSite | Reason


def several(answers: Sequence[OnSites]) -> list[Block]:
    """Every accelerator's verdict, and what all of them rest on once."""
    found: list[Block] = []
    assumed: list[Block] = []
    for each in answers:
        if isinstance(each.result, Reason):
            found += [Title(f"{each.accelerator}: not on so many sites"), line(warn(each.result.detail)), Line()]
            continue
        found += blocks(each.result, each.accelerator)
        assumed = [Title("What training on several sites rests on"), _assumptions(each.result), Line()]
    return [*found, *assumed]


def answer(each: OnSites) -> dict[str, object]:
    """An accelerator's verdict in numbers."""
    if isinstance(each.result, Reason):
        return {"accelerator": each.accelerator, "refusal": to_jsonable(each.result)}
    return {"accelerator": each.accelerator, **document(each.result)}


def _assumptions(result: MultiSite) -> Facts:
    return Facts(tuple((each.name, f"{each.value:.4g} ({each.origin})") for each in result.assumptions))


def blocks(result: MultiSite, accelerator: str) -> list[Block]:
    """The verdict first, then its arithmetic and the comparison it rests on."""
    where = f"on {fmt.plural(len(result.sites), 'site')}: {result.exchange.name}"
    return [
        Title(f"{fmt.count(result.devices)} x {accelerator} {where}"),
        line(good(result.why) if result.worth_it else warn(result.why)),
        Line(),
        Facts(_facts(result)),
        Line(),
        Table((left("way"), right("devices"), right("time"), right("against one place")), _ways(result)),
        Line(),
    ]


def document(result: MultiSite) -> dict[str, object]:
    """The same numbers, unrounded; None where there is no finite one."""
    return {
        "sites": [to_jsonable(site) for site in result.sites],
        "link": to_jsonable(result.link),
        "exchange": to_jsonable(result.exchange),
        "steps": result.steps,
        "slowdown": result.slowdown,
        "outer_traffic_gb": result.outer_traffic_gb,
        "traffic_gb": result.traffic_gb,
        "sync_s": result.sync_s,
        "exposed_s": result.exposed_s,
        "sync_share": result.sync_share,
        "straggler": result.straggler,
        "extra_tokens": result.extra_tokens,
        "hours": result.hours,
        "hours_alone": result.hours_alone,
        "hours_together": result.hours_together,
        "hours_data_parallel": result.hours_data_parallel,
        "least_gbit_s": result.least_gbit_s if isfinite(result.least_gbit_s) else None,
        "egress_usd": result.egress_usd,
        "worth_it": result.worth_it,
        "why": result.why,
        "assumptions": [to_jsonable(each) for each in result.assumptions],
    }


def _facts(result: MultiSite) -> tuple[tuple[str, Text], ...]:
    exchange, link = result.exchange, result.link
    hidden = f", behind {fmt.plural(exchange.overlap_steps, 'step')}" if exchange.overlap_steps else ", devices waiting"
    unit = "byte" if exchange.bytes_per_parameter == 1 else "bytes"
    slowest = max(result.sites, key=lambda site: site.step_s)
    egress = "unknown: a site's price is not known" if result.egress_usd is None else fmt.usd_short(result.egress_usd)
    least = (
        f"{result.least_gbit_s:.3g} Gbit/s" if isfinite(result.least_gbit_s) else "none: the round trips take longer"
    )
    return (
        ("sites", ", ".join(f"{site.name} ({fmt.count(site.devices)})" for site in result.sites)),
        ("steps", f"{fmt.count(result.steps)} in one place, each {fmt.duration(slowest.step_s)} of the run's time"),
        ("link", f"{link.gbit_s:,.3g} Gbit/s, {fmt.duration(link.rtt_s)} round trip, the slowest pair"),
        (
            "exchange",
            f"every {fmt.plural(exchange.inner_steps, 'step')} of {fmt.duration(slowest.step_s)},"
            f" {exchange.bytes_per_parameter:g} {unit} a parameter: each site sends"
            f" {_gigabytes(result.outer_traffic_gb)} in {fmt.duration(result.sync_s)}{hidden}",
        ),
        ("waiting for the link", f"{fmt.percent(result.sync_share)} of the computing"),
        ("waiting for the slowest site", f"{fmt.percent(result.straggler - 1.0)} ({slowest.name})"),
        ("more tokens for the same loss", fmt.percent(result.extra_tokens)),
        (f"link for {TOLERATED * 100:.0f} % of waiting", least),
        ("traffic in all", _gigabytes(result.traffic_gb)),
        ("egress", egress),
    )


def _ways(result: MultiSite) -> tuple[tuple[Text, ...], ...]:
    best = min(result.sites, key=lambda site: site.step_s)
    every = fmt.count(result.devices)
    rows: tuple[tuple[Text, str, float], ...] = (
        (dim("all devices in one place, if there were one"), every, result.hours_together),
        (strong(f"{len(result.sites)} sites, {result.exchange.name}"), every, result.hours),
        (f"{best.name} alone", fmt.count(best.devices), result.hours_alone),
        (f"{len(result.sites)} sites, plain data parallelism", every, result.hours_data_parallel),
    )
    return tuple(
        (way, devices, fmt.hours(hours), f"{hours / result.hours_together:,.3g} x") for way, devices, hours in rows
    )


def _gigabytes(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:,.3g} PB"
    return f"{number / 1e3:,.3g} TB" if number >= 1e3 else f"{number:,.3g} GB"
