"""Training over more than one site: the verdict, what the exchange takes, and the ways to do without it."""

from __future__ import annotations

from math import isfinite

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


def blocks(result: MultiSite) -> list[Block]:
    """The verdict first, then its arithmetic and the comparison it rests on."""
    return [
        Title(f"On {fmt.plural(len(result.sites), 'site')}: {result.exchange.name}"),
        line(good(result.why) if result.worth_it else warn(result.why)),
        Line(),
        Facts(_facts(result)),
        Line(),
        Table((left("way"), right("devices"), right("time"), right("slower than in one place")), _ways(result)),
        Line(),
        Facts(tuple((each.name, f"{each.value:.4g} ({each.origin})") for each in result.assumptions)),
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
    slowest = max(result.sites, key=lambda site: site.step_s)
    egress = "unknown: a site's price is not known" if result.egress_usd is None else fmt.usd_short(result.egress_usd)
    least = (
        f"{result.least_gbit_s:.3g} Gbit/s" if isfinite(result.least_gbit_s) else "none: the round trips take longer"
    )
    return (
        ("sites", ", ".join(f"{site.name} ({fmt.count(site.devices)})" for site in result.sites)),
        ("link", f"{link.gbit_s:,.3g} Gbit/s, {fmt.duration(link.rtt_s)} round trip, the slowest pair"),
        (
            "exchange",
            f"every {fmt.plural(exchange.inner_steps, 'step')} of {fmt.duration(slowest.step_s)},"
            f" {exchange.bytes_per_parameter:g} bytes a parameter: each site sends"
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
