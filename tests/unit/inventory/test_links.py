"""Imported links: what files become, and what comes back from disk."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.catalog import places
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.network import Link
from orchestrator.inventory import links
from orchestrator.inventory.link_files import Reading, read
from orchestrator.inventory.links import LinkTable
from orchestrator.testing.clock import EPOCH

PLACES = places.load()
TOLD = "imported from t.csv on 2026-01-01"
SKYPLANE = "src_region,src_tier,dst_region,dst_tier"


def reading(folder: Path, text: str) -> Reading:
    path = folder / "t.csv"
    path.write_text(text)
    return read(path, PLACES, TOLD)


def link(a: str, b: str, rtt_ms: float, gbit_s: float = 0.0, told: str = TOLD) -> Link:
    return Link(a=a, b=b, rtt_ms=rtt_ms, gbit_s=gbit_s, origin=told)


def test_both_ways_of_a_pair_become_one_link_of_the_mean_and_the_lesser(tmp_path: Path) -> None:
    rows = "aws:us-east-1,gcp:us-east4-b,5,4\ngcp:us-east4,aws:us-east-1,3,6\naws:us-east-1,aws:us-east-1,9,1\n"
    found = reading(tmp_path, f"src_region,dst_region,throughput_gbps,rtt_ms\n{rows}")
    assert found.links == (link("aws/us-east-1", "gcp/us-east4", 5.0, 3.0),)
    assert (found.layout, found.rows, found.left_out, found.strangers) == ("links", 3, 1, ())


def test_a_pair_may_have_a_bandwidth_and_no_round_trip(tmp_path: Path) -> None:
    found = reading(tmp_path, "a,b,rtt_ms,gbit_s\nParis,aws/eu-west-3,,2.5\nParis,Rome,25,\n")
    assert found.links == (link("Paris", "Rome", 25.0), link("Paris", "aws/eu-west-3", 0.0, 2.5))


def test_names_of_azure_are_regions(tmp_path: Path) -> None:
    found = reading(tmp_path, "Source,East US 2,West Europe,\nEast US 2,,88,\nWest Europe,90,,\n")
    assert found.links == (link("azure/eastus2", "azure/westeurope", 89.0),)


def test_the_standard_tier_and_failed_measurements_of_skyplane_are_left_out(tmp_path: Path) -> None:
    ends = "aws:us-east-1,PREMIUM,gcp:us-east4-a"
    rows = f"{ends},PREMIUM,5e9,True\n{ends},STANDARD,1e9,True\n{ends},PREMIUM,1,False\n"
    found = reading(tmp_path, f"{SKYPLANE},throughput_sent,success\n{rows}")
    assert found.links == (link("aws/us-east-1", "gcp/us-east4", 0.0, 5.0),)
    assert found.left_out == 2
    trips = reading(tmp_path, f"{SKYPLANE},avg_rtt\naws:us-east-1,PREMIUM,gcp:us-east4-a,PREMIUM,4.25\n")
    assert trips.links == (link("aws/us-east-1", "gcp/us-east4", 4.25),)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("Paris,Tokyo,50,", "50 ms between Paris and Tokyo is faster than light"),
        ("Paris,Rome,nan,", "the round trip nan cannot be"),
        ("Paris,Rome,-3,", "the round trip -3 cannot be"),
        ("Paris,Rome,0,", "the round trip 0 cannot be"),
        ("Paris,Rome,1e9,", "the round trip 1e9 cannot be"),
        ("Paris,Rome,fast,", "the round trip 'fast' is no number"),
        ("Paris,Rome,20,inf", "the bandwidth inf cannot be"),
        (",Rome,20,", "it does not say between which places"),
    ],
)
def test_what_cannot_be_is_left_out_with_its_line(row: str, fault: str, tmp_path: Path) -> None:
    found = reading(tmp_path, f"a,b,rtt_ms,gbit_s\nParis,Berlin,20,1\n\n{row}\n")
    assert [(each.line, each.message) for each in found.faults] == [(4, fault)]
    assert link("Berlin", "Paris", 20.0, 1.0) in found.links


def test_places_that_nobody_knows_are_kept_and_named(tmp_path: Path) -> None:
    found = reading(tmp_path, "a,b,rtt_ms\nssh/oslo,Paris,30\n")
    assert found.links == (link("Paris", "ssh/oslo", 30.0),)
    assert found.strangers == ("ssh/oslo",)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no layout that is known; its first line says nothing"),
        (b"from,to,price\n", "no layout that is known; its first line says from, to, price"),
        (b"a,b,rtt_ms\n", "holds no usable measurement \\(0 rows read as isoflop\\)"),
        (b"a,b,rtt_ms\nParis,Rome,x\n", "line 2: the round trip 'x' is no number"),
        (b"a,b,rtt_ms\nParis,R\xff\xfe,1\n", "it is not UTF-8 text"),
        (b'a,b,rtt_ms\n"Paris,Rome,1\n', "line 2: it is no CSV"),
        (gzip.compress(b"a,b,rtt_ms\nParis,Rome,20\n" * 99)[:-9], "cannot be read"),
    ],
)
def test_a_file_of_no_use_is_refused_in_words(data: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=complaint):
        read(path, PLACES, TOLD)


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read(path, PLACES, TOLD)


@pytest.mark.parametrize(
    ("file", "pairs", "wide"),
    [
        ("links.csv.gz", 2529, 1953),
        ("azure_latency_matrix_2026-05.csv", 1226, 0),
        ("skyplane_latency.csv.gz", 2346, 0),
        ("skyplane_throughput.csv.gz", 1953, 1953),
    ],
)
def test_real_tables_are_read_whole(file: str, pairs: int, wide: int, shared_data: Path) -> None:
    found = read(shared_data / "network" / file, PLACES, TOLD)
    assert (len(found.links), sum(each.gbit_s > 0 for each in found.links)) == (pairs, wide)
    assert (found.faults, found.strangers) == ((), ())


def table(name: str, *some: Link, days: int = 0, dated: bool = False) -> LinkTable:
    return LinkTable(name=name, source="t.csv", at=EPOCH + timedelta(days=days), links=some, dated=dated)


def test_imports_come_back_the_newest_first_with_their_origin(tmp_path: Path) -> None:
    old = table("old", link("Paris", "Rome", 20.0), link("Berlin", "Rome", 0.0, 2.5))
    told = "imported from t.csv, measured 2026-01-03"
    new = table("new", link("Paris", "Rome", 21.125, 1.5, told), days=2, dated=True)
    for each in (old, new):
        links.store(tmp_path / "network", each)
    assert links.load(tmp_path / "network") == (new, old)
    assert links.links(tmp_path / "network") == (*new.links, *old.links)
    assert links.remove(tmp_path / "network", "new")
    assert not links.remove(tmp_path / "network", "new")
    assert links.load(tmp_path / "network") == (old,)
    assert links.load(tmp_path / "none") == ()


def test_a_name_that_makes_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name an import"):
        links.store(tmp_path, table("../up"))
    assert not links.remove(tmp_path, "../up")


@pytest.mark.parametrize("cut", [0, 3, 20, 60, -1])
def test_a_damaged_import_says_what_to_do(cut: int, tmp_path: Path) -> None:
    path = links.store(tmp_path, table("t", link("Paris", "Rome", 20.0)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConfigError, match=r"t\.links cannot be read .*isoflop network import"):
        links.load(tmp_path)
