"""Others' catalogues under arbitrary input: no line is lost, no order matters, prices are those of the file."""

from __future__ import annotations

import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog import intake
from orchestrator.catalog.importer import BadRows, ImportReport
from orchestrator.catalog.intake import Wishes

OF = datetime(2026, 11, 20, tzinfo=UTC)
GPUHUNT = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,flags"
SKYPILOT = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"
)
NUMBERS = st.sampled_from(["", "0", "1", "8", "2.5", "-1", "nan", "x", "1e400", " 4 "])
ODD = st.text(st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)), max_size=6)
NAMES = st.sampled_from(["", "a2-highgpu-1g", "n1-standard-4", "p5.48xlarge"]) | ODD
GPUS = st.sampled_from(["", "H100", "A100", "T4", "tpu-v6e-8", "A10"])
PLACES = st.sampled_from(["", "us-east-1", "us-central1-a"])
FIELDS = {
    GPUHUNT: (
        *(NAMES, PLACES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, GPUS, NUMBERS),
        *(st.sampled_from(["True", "False", "?"]), NUMBERS, st.sampled_from(["", "gcp-dws-calendar-mode"])),
    ),
    SKYPILOT: (NAMES, GPUS, NUMBERS, NUMBERS, NUMBERS, ODD, NUMBERS, NUMBERS, PLACES, PLACES),
}
GOOD = {  # rows that mostly are what they should be, so that they meet
    GPUHUNT: st.builds(
        "{},us-central1-a,{},8,64,{},{},,{},,".format,
        st.sampled_from(["p5.48xlarge", "n1-standard-4"]),
        st.sampled_from(["1", "2.5", "8"]),
        st.sampled_from(["1", "8"]),
        st.sampled_from(["H100", "T4"]),
        st.sampled_from(["True", "False"]),
    ),
    SKYPILOT: st.builds(
        "{},8,64,,{},{},us-central1,us-central1-a".format,
        st.sampled_from(["a2-highgpu-1g,,", "a2-highgpu-1g,,", ",A100,1.0", "p4d,A100,1.0", "p4d,A100,8.0", "m5,,"]),
        st.sampled_from(["1", "2.5", "8", ""]),
        st.sampled_from(["1", "2.5", "8", ""]),
    ),
}
PROVIDERS = st.sampled_from(["aws", "gcp", "runpod"])


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A header and lines that fit it, mostly."""
    header = draw(st.sampled_from(sorted(FIELDS)))
    good = GOOD[header]
    rows = draw(st.lists(good | good | good | st.tuples(*FIELDS[header]).map(",".join) | ODD, max_size=12))
    return header, rows


def read(header: str, rows: list[str], provider: str) -> ImportReport:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prices.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return intake.read(path, Wishes(on_bad=BadRows.SKIP, provider=provider, as_of=OF))


@given(catalogues(), PROVIDERS)
@settings(deadline=None)
def test_every_line_is_an_offer_or_has_its_reason(catalogue: tuple[str, list[str]], provider: str) -> None:
    header, rows = catalogue
    report = read(header, rows, provider)
    assert report.rows == sum(bool(row.strip()) for row in rows)
    assert report.rows == report.good + report.priceless + report.bad_rows + sum(count for _, count in report.left_out)
    assert report.good <= report.offers <= 2 * report.good
    assert all(2 <= bad.line <= len(rows) + 1 for bad in report.bad)


@given(catalogues(), PROVIDERS)
@settings(deadline=None)
def test_every_price_is_above_nothing_and_stands_in_the_file(catalogue: tuple[str, list[str]], provider: str) -> None:
    header, rows = catalogue
    for offer in read(header, rows, provider).book:
        assert offer.provider == provider
        assert offer.usd_per_hour > 0
        assert 0 < offer.gpus <= 4096
        assert offer.usd_per_hour in {1.0, 2.0, 2.5, 3.5, 4.0, 5.0, 6.5, 8.0, 9.0, 10.5, 12.0, 16.0}, "one price or two"


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0.5, 1.0, 3.0]), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([2.0, 7.0, 11.0]), min_size=1),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_a_machine_of_google_costs_what_it_and_its_gpus_cost_in_its_zone(
    machines: dict[str, float], gpus: dict[str, float], chance: random.Random
) -> None:
    rows = [f"a2-highgpu-2g,,,24,170,,{price},,us-1,us-1-{zone}" for zone, price in machines.items()]
    rows += [f",A100,2.0,,,,{price},,us-1,us-1-{zone}" for zone, price in gpus.items()]
    rows += [f",A100,4.0,,,,900,,us-1,us-1-{zone}" for zone in gpus]  # of another machine
    chance.shuffle(rows)
    found = {offer.zone: offer.usd_per_hour for offer in read(SKYPILOT, rows, "gcp").book}
    assert found == {f"us-1-{zone}": machines[zone] + gpus[zone] for zone in machines.keys() & gpus.keys()}


@given(catalogues(), PROVIDERS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_lines_that_do_not_contradict_is_no_matter(
    catalogue: tuple[str, list[str]], provider: str, chance: random.Random
) -> None:
    header, rows = catalogue
    report = read(header, rows, provider)
    clashing = {bad.line for bad in report.bad if "the same " in bad.message}
    kept = [row for line, row in enumerate(rows, start=2) if line not in clashing]
    shuffled = list(kept)
    chance.shuffle(shuffled)
    assert list(read(header, shuffled, provider).book) == list(read(header, kept, provider).book)
