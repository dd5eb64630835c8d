"""The network as hosts see it, over real SSH servers: paths measured, kept, and in the snapshot of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import TransientError
from orchestrator.domain.network import Link, Network, Place
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.sites import Atlas
from orchestrator.inventory.snapshot import take
from orchestrator.kit.shell import ssh
from orchestrator.kit.shell.command import remote
from orchestrator.kit.shell.ssh import Address, Hub
from orchestrator.testing.clock import FakeClock
from tests.e2e.yard import Yard

ME = "me"
FRANKFURT = Place(key="Frankfurt", latitude=50.11, longitude=8.68, country="DE", jurisdictions=("DE", "EU"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(ssh, "CONNECT_S", 1.0)
    with closing(Hub("ssh")) as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with Yard(tmp_path / "yard") as made:
        yield made


def test_links_are_measured_and_kept(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    provider = yard.provider(ME, hub, clock, bandwidth_mib=0.25)
    (link,) = provider.links()
    assert (link.a, link.b) == ("ssh/site-0", "control-plane")
    assert 0 < link.rtt_ms < 500
    assert link.gbit_s > 0
    assert "measured over SSH to host-" in link.origin
    for host in yard.hosts[1:]:
        host.down()
    clock.advance(60)
    fresh = yard.provider(ME, hub, clock, here="Frankfurt", link_age_s=1e6)
    (again,) = fresh.links()
    assert (again.b, again.rtt_ms, again.gbit_s) == ("Frankfurt", link.rtt_ms, link.gbit_s)
    (place,) = provider.places()
    assert (place.key, place.latitude) == ("ssh/site-0", 50.1)


def test_hosts_measure_round_trips_to_reference_points(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    yard.reference = {"Frank furt": f"127.0.0.1:{yard.hosts[0].port}", "Nowhere": "127.0.0.1:1"}
    links = yard.provider(ME, hub, clock).links()
    found = {link.b: link for link in links}
    assert set(found) == {"control-plane", "Frank furt"}
    assert "measured by TCP from host-" in found["Frank furt"].origin
    assert found["Frank furt"].gbit_s == 0


def test_the_way_to_a_machine_is_measured(yard: Yard, hub: Hub) -> None:
    host = yard.hosts[0]
    address = Address(
        host="127.0.0.1",
        port=host.port,
        user=str(yard.fleet().hosts["host-0"].user),
        host_key=host.keys.host_public,
        identity=str(host.identity),
    )
    path = hub.path(address, each_way=1 << 18, timeout_s=10)
    assert 0 < path.rtt_s < 1
    assert (path.up_bytes_s or 0) > 1e5
    assert (path.down_bytes_s or 0) > 1e5
    host.install("cat", "#!/bin/sh\nexit 1\n")
    with pytest.raises(TransientError):
        hub.path(address, each_way=0, timeout_s=10)
    assert hub.run(address, remote(["printf", "on"]), b"", 10).text == "on"


def test_a_plan_counts_with_the_round_trip_that_a_host_measured(yard: Yard, hub: Hub, clock: FakeClock) -> None:
    yard.reference = {"Frankfurt": f"127.0.0.1:{yard.hosts[0].port}"}
    imported = Link(a="ssh/site-0", b="Frankfurt", rtt_ms=777.0, gbit_s=0.0, origin="imported from t.csv on 2025-12-01")
    seen = take(
        {"ssh": yard.provider(ME, hub, clock)},
        base=OfferBook.empty(),
        accelerators=(),
        network=Network(places=(FRANKFURT,), links=(imported,)),
        clock=clock,
        deadline_s=60.0,
    )
    atlas = Atlas(seen.network)
    site, users = atlas.site("ssh", "site-0"), atlas.place("Frankfurt")
    assert site is not None
    assert users is not None
    trip = atlas.round_trip(users, site)
    assert trip.origin.startswith("measured by TCP from host-")
    assert 0 < trip.ms < 500
