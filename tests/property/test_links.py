"""Links under arbitrary tables: the order of rows and which end comes first change nothing, and disk keeps all."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import places
from orchestrator.domain.errors import UserError
from orchestrator.domain.network import Network
from orchestrator.domain.sites import Atlas
from orchestrator.inventory import links
from orchestrator.inventory.link_files import Reading, read
from orchestrator.inventory.links import LinkTable
from orchestrator.testing.clock import EPOCH

PLACES = places.load()
NAMED = ["Paris", "Berlin", "Tokyo", "aws/us-east-1"]
ENDS = st.sampled_from([*NAMED, "ssh/Oslo"])
FIGURES = st.sampled_from(["", "0.25", "1.5", "240", "0", "-1", "nan", "1e99", "x"])
ROWS = st.lists(st.tuples(ENDS, ENDS, FIGURES, FIGURES), max_size=12)


def reading(rows: list[tuple[str, ...]]) -> Reading | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("a,b,rtt_ms,gbit_s\n" + "".join(",".join(row) + "\n" for row in rows))
        try:
            return read(path, PLACES, "told")
        except UserError:
            return None


@given(ROWS, st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_of_ends_counts(rows: list[tuple[str, ...]], chance: random.Random) -> None:
    other = [(b, a, *rest) if chance.random() < 0.5 else (a, b, *rest) for a, b, *rest in rows]
    chance.shuffle(other)
    one, two = reading(rows), reading(other)
    assert (one is None) == (two is None)
    if one is not None and two is not None:
        assert one.links == two.links
        assert len(one.faults) == len(two.faults)


@given(ROWS)
def test_what_is_read_can_be_and_comes_back_from_disk(rows: list[tuple[str, ...]]) -> None:
    found = reading(rows)
    if found is None:
        return
    assert len({(link.a, link.b) for link in found.links}) == len(found.links)
    assert all(0 <= link.rtt_ms <= 10_000 and link.a < link.b and link.rtt_ms + link.gbit_s > 0 for link in found.links)
    with tempfile.TemporaryDirectory() as folder:
        links.store(Path(folder), LinkTable(name="t", source="t.csv", at=EPOCH, links=found.links))
        kept = links.links(Path(folder))
    assert [(link.a, link.b, link.rtt_ms, link.gbit_s) for link in kept] == [
        (link.a, link.b, link.rtt_ms, link.gbit_s) for link in found.links
    ]
    network = Network(places=PLACES, links=found.links)
    atlas, ends = Atlas(network), [place for place in PLACES if place.key in NAMED]
    assert all(atlas.round_trip(a, b) == network.round_trip(b, a) for a in ends for b in ends if a is not b)
