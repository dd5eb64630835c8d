"""The page of the capacity gap as it is by default, and with every year of one region."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.interfaces.cli.gap import OPTIONS
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.gap_view import GapReport
from orchestrator.sizing.gap import Device, Region, Scenario, capacity_gap, outlook

H100 = Device(name="H100-SXM", year=2022, precision=Precision.BF16, peak_flops=989.4e12, tdp_w=700.0)
L4 = Device(name="L4", year=2023, precision=Precision.BF16, peak_flops=121e12, tdp_w=72.0)


def report(years: Iterable[int], regions: tuple[Region, ...], scenarios: tuple[Scenario, ...]) -> GapReport:
    assumed = outlook()
    rows = capacity_gap(assumed, years, device=H100, edge_device=L4)
    return GapReport(
        outlook=assumed,
        rows=tuple(row for row in rows if row.scenario in scenarios),
        regions=regions,
        device=H100,
        edge_device=L4,
        flags=OPTIONS,
    )


def reports() -> dict[str, GapReport]:
    unknown = capacity_gap(outlook(), (2030,), device=replace(H100, tdp_w=0.0), edge_device=L4)
    return {
        "gap": report((2024, 2030), tuple(Region), tuple(Scenario)),
        "gap-years": report(range(2024, 2036), (Region.EU,), (Scenario.PEAK,)),
        "gap-unknown-power": replace(report((2030,), tuple(Region), tuple(Scenario)), rows=unknown),
    }


@pytest.mark.parametrize("name", sorted(reports()))
def test_a_page_is_as_its_golden_file(name: str, golden: Callable[[str, str], None]) -> None:
    golden(name, plain.render(reports()[name].page()))
