"""`isoflop gap`: the report, its JSON, its chart, and every way to ask for it wrongly."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from orchestrator.interfaces.cli.gap import FLAGS
from orchestrator.sizing.gap import NAMES
from tests.unit.cli.conftest import Cli

NUMBER = {"type": "number", "exclusiveMinimum": 0}
MAYBE = {"anyOf": [NUMBER, {"type": "null"}]}
TEXT = {"type": "string", "minLength": 1}


def record(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def rows_of(items: object) -> dict[str, object]:
    return {"type": "array", "minItems": 1, "items": items}


DEVICE = record(
    name=TEXT,
    year={"type": "integer"},
    precision=TEXT,
    peak_flops=NUMBER,
    tdp_w={"type": "number"},
    assumptions={"type": "array"},
)
DOCUMENT = record(
    years=rows_of(
        record(
            year={"type": "integer", "minimum": 2024, "maximum": 2035},
            scenario={"enum": ["peak", "conservative"]},
            training=record(
                flop=NUMBER,
                run_s=NUMBER,
                flop_per_s=NUMBER,
                gpus={"type": "integer", "minimum": 1},
                gpus_today={"type": "integer", "minimum": 1},
                power_w=MAYBE,
                energy_kwh=MAYBE,
            ),
            answer=record(flop=NUMBER, flop_per_s=NUMBER, gpus={"type": "integer", "minimum": 1}, power_w=MAYBE),
            gaps=rows_of(
                record(
                    region={"enum": ["US", "EU"]},
                    kind={"enum": ["hpc", "cloud", "edge"]},
                    supply_flop_per_s=NUMBER,
                    gap=NUMBER,
                    gap_nearest_power_of_ten=NUMBER,
                    answers_per_s=NUMBER,
                )
            ),
        )
    ),
    device=DEVICE,
    edge_device=DEVICE,
    assumptions=rows_of(
        record(
            name={"type": "string", "pattern": r"^gap\."},
            flag={"type": "string", "pattern": "^--"},
            value=NUMBER,
            unit=TEXT,
            default=NUMBER,
            low=NUMBER,
            high=NUMBER,
            origin=TEXT,
        )
    ),
    notes=rows_of(TEXT),
)


def document(cli: Cli, *args: str | Path) -> dict[str, object]:
    ran = cli("gap", "--json", *args)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found


def test_the_page_says_the_figures_of_2024_and_2030(cli: Cli) -> None:
    out = " ".join(cli("gap").out.split())
    assert "peak training 10 ZFLOP/s: 1e29 FLOP in 116 d" in out
    assert "peak x50 (x100 to the nearest power of ten)" in out
    assert "peak x500 (x1,000 to the nearest power of ten)" in out
    assert "100 PFLOP/s (peak) and 3.03 PFLOP/s (conservative)" in out
    assert "x4 a year, as it is often put, is x4,096, or 4.1 ZFLOP/s" in out


def test_every_assumption_is_a_flag_and_is_listed_with_its_origin(cli: Cli) -> None:
    assert tuple(FLAGS) == NAMES
    listed = document(cli)["assumptions"]
    assert isinstance(listed, list)
    assert [each["flag"] for each in listed] == [flag.option for flag in FLAGS.values()]
    page = cli("gap").out
    for each in listed:
        assert each["flag"] in page
        assert each["origin"] in page


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_changes_its_assumption_and_is_named_as_its_origin(name: str, cli: Cli) -> None:
    flag = FLAGS[name]
    given = "2s" if name.endswith("_s") else ("0.5" if flag.option.endswith(("utilisation", "share")) else "2")
    listed = document(cli, flag.option, given)["assumptions"]
    assert isinstance(listed, list)
    changed = [each for each in listed if each["value"] != each["default"]]
    assert [(each["name"], each["value"], each["origin"]) for each in changed] == [
        (f"gap.{name}", float(given.removesuffix("s")), flag.option)
    ]
    shown = next(line for line in cli("gap", flag.option, given).out.splitlines() if f"  {flag.option} " in line)
    assert "given; the default is" in shown


def test_the_json_has_its_schema(cli: Cli) -> None:
    for args in ((), ("--year", "2024-2035"), ("--region", "EU", "--scenario", "peak", "--device", "TPU-v5p")):
        jsonschema.validate(document(cli, *args), DOCUMENT)


def test_years_regions_and_scenarios_are_those_asked_for(cli: Cli) -> None:
    asked = ("--year", "2026", "--year", "2033-2035", "--year", "2034", "--region", "EU", "--scenario", "conservative")
    rows = document(cli, *asked)["years"]
    assert isinstance(rows, list)
    assert [(row["year"], row["scenario"]) for row in rows] == list(
        product((2026, 2033, 2034, 2035), ("conservative",))
    )
    assert {gap["region"] for row in rows for gap in row["gaps"]} == {"EU"}
    out = cli("gap", *asked).out
    assert "US node" not in out
    assert "peak gap" not in out
    assert "after 2030 everything goes on" in out


def test_the_growth_that_is_put_as_4_needs_no_note_on_it(cli: Cli) -> None:
    out = cli("gap", "--growth", "4", "--year", "2030").out
    assert "4.1 ZFLOP/s: 4.1e28 FLOP" in out
    assert "as it is often put" not in out


def test_a_name_that_stands_for_several_boards_is_said_and_a_stand_in_too(cli: Cli) -> None:
    out = cli("gap", "--device", "A100", "--edge-device", "T4").out
    assert "A100 is taken as A100-80GB" in out
    assert "T4 does not compute in bf16: fp16 stands in" in out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--year", "2040"), "--year 2040: the outlook is from 2024 to 2035"),
        (("--year", "2020-2030"), "--year 2020-2030: the outlook is from 2024 to 2035"),
        (("--year", "2030-2024"), "--year 2030-2024: the range ends before it begins"),
        (("--year", "soon"), "--year soon: not a year or a range"),
        (("--growth", "-4"), "--growth: '-4' is negative"),
        (("--growth", "0"), "--growth 0: 0 is not more than 0"),
        (("--growth", "nan"), "--growth: 'nan' is not a finite number"),
        (("--growth", "5000"), "--growth 5000: 5000 is more than 1000"),
        (("--run-length", "0s"), "--run-length 0s: 0 is not more than 0"),
        (("--run-length", "1e7"), "--run-length: '1e7' has no unit"),
        (("--utilisation", "140%"), "--utilisation: '140%' is too large"),
        (("--pue", "0.9"), "--pue 0.9: 0.9 is less than 1"),
        (("--device", "H1000"), "no accelerator is called 'H1000'"),
        (("--device", "H100-SXM,B200"), "--device H100-SXM,B200: one accelerator"),
        (("--device", "A100-80GB", "--precision", "fp8"), "A100-80GB does not compute in fp8"),
        (("--region", "APAC"), "APAC"),
        (("--scenario", "best"), "best"),
        (("--chart", "gap.pdf"), "gap.pdf: a chart is drawn as .svg or .png"),
    ],
)
def test_bad_input_is_named_and_ends_with_2(args: tuple[str, ...], told: str, cli: Cli) -> None:
    ran = cli("gap", *args)
    assert ran.code == 2
    assert told in ran.err
    assert not ran.out


def test_a_chart_is_drawn_beside_the_report_and_replaces_the_old_one(cli: Cli, tmp_path: Path) -> None:
    svg, png = tmp_path / "gap.svg", tmp_path / "gap.png"
    svg.write_text("old")
    ran = cli("gap", "--chart", svg)
    assert ran.code == 0
    assert ran.out == cli("gap").out
    assert str(svg) in ran.err
    assert cli("gap", "--chart", png).code == 0
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    root = ElementTree.fromstring(svg.read_bytes())  # noqa: S314 (we drew it)
    said = {"".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"demand, peak scenario", "demand, conservative scenario", "x50", "x500", "2024", "2035"} <= said
    assert {"US cloud 26.8 ZFLOP/s", "EU HPC 35.4 EFLOP/s", "edge node of 4 L4, US and EU"} <= said
    ids = {each.get("id") for each in root.iter("{http://www.w3.org/2000/svg}g")}
    for region in ("US", "EU"):
        assert f"ribbon: expected in the {region}: largest HPC and cloud system" in ids


def test_a_chart_shows_only_what_was_asked_for(cli: Cli, tmp_path: Path) -> None:
    svg = tmp_path / "gap.svg"
    assert cli("gap", "--chart", svg, "--region", "EU", "--scenario", "conservative").code == 0
    text = svg.read_text()
    assert "peak scenario" not in text
    assert "US cloud" not in text
    assert "EU cloud" in text


def test_edge_nodes_that_differ_have_a_line_each(cli: Cli, tmp_path: Path) -> None:
    svg = tmp_path / "gap.svg"
    assert cli("gap", "--chart", svg, "--us-edge-gpus", "8").code == 0
    text = svg.read_text()
    assert "edge node of 8 L4, US" in text
    assert "edge node of 4 L4, EU" in text


def test_a_chart_that_cannot_be_written_is_an_error_that_names_the_file(cli: Cli, tmp_path: Path) -> None:
    ran = cli("gap", "--chart", tmp_path / "no" / "gap.svg")
    assert ran.code == 2
    assert "gap.svg cannot be written" in ran.err


def test_without_matplotlib_a_chart_says_what_to_install_and_the_report_needs_none(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ran = cli("gap", "--chart", tmp_path / "gap.svg")
    assert ran.code == 2
    assert "pip install 'isoflop[charts]'" in ran.err
    assert cli("gap").code == 0


def test_the_report_without_a_chart_never_loads_matplotlib() -> None:
    script = (
        "import sys\nfrom orchestrator.interfaces.cli.application import invoke\n"
        "invoke(['gap'])\nassert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
