"""The network and the hosts that other tests are made of are what they are said to be, and nothing of them stays."""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import edge
from tests.e2e.edge import Edge, Site
from tests.e2e.wan import QUEUE_S, Line, Wan

CLOSED = 9  # a port that nobody listens on: the refusal is one round trip away
PLACE = {"usd_per_hour": 0.01, "latitude": 50.1, "longitude": 8.7}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Edge]:
    edge.needed()
    sites = [Site(name="near", rtt_ms=3, hosts=1, **PLACE), Site(name="far", rtt_ms=40, hosts=1, **PLACE)]
    with Edge(tmp_path / "edge", sites) as running:
        yield running


def knock(address: str, timeout_s: float = 5.0) -> tuple[int, float]:
    """What comes of connecting, and after how many ms: the quickest of five."""
    found = []
    for _ in range(5):
        with socket.socket() as probe:
            probe.settimeout(timeout_s)
            begun = time.perf_counter()
            code = probe.connect_ex((address, CLOSED))
            found.append((code, 1000 * (time.perf_counter() - begun)))
        if code != errno.ECONNREFUSED:
            break
    return min(found, key=lambda each: each[1])


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_round_trips_are_no_shorter_than_they_shall_be_also_between_hosts(two: Edge) -> None:
    near, far = two.hosts["near-1"], two.hosts["far-1"]
    assert knock(near.address)[0] == errno.ECONNREFUSED
    assert knock(near.address)[1] >= 0.8 * 3
    assert knock(far.address)[1] >= 0.8 * 40
    two.wan.shape("near-1", rtt_ms=25)
    assert knock(near.address)[1] >= 25
    code = "import socket, sys, time; t = time.time(); s = socket.create_connection((sys.argv[1], 22)); "
    inside = ["nsenter", "--target", str(near.process.pid), "--net", sys.executable, "-c"]
    shown = "print(1000 * (time.time() - t))"
    said = subprocess.run([*inside, code + shown, far.address], capture_output=True, text=True, timeout=30, check=True)
    assert float(said.stdout) >= 25 + 0.8 * 40


def test_a_line_that_is_cut_is_silent_and_is_there_again_when_it_is_mended(two: Edge) -> None:
    near, far = two.hosts["near-1"], two.hosts["far-1"]
    two.wan.cut("near-1")
    assert knock(near.address, 0.5)[0] == errno.EAGAIN
    assert knock(far.address)[0] == errno.ECONNREFUSED
    two.wan.mend("near-1")
    assert knock(near.address)[0] == errno.ECONNREFUSED


def test_a_host_that_is_powered_off_is_gone_with_all_that_ran_on_it(two: Edge) -> None:
    host = two.hosts["near-1"]
    spaces = {os.readlink(f"/proc/{host.process.pid}/ns/{kind}") for kind in ("net", "mnt", "uts")}
    assert len(spaces & {os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "uts")}) == 0
    two.power_off("near-1")
    assert knock(host.address, 0.5)[0] != errno.ECONNREFUSED
    assert "near-1" not in two.hosts
    assert two.host_of(host.address) == "near-1"
    with pytest.raises(RuntimeError, match="near-1"):
        two.wan.cut("near-1")


def test_two_networks_at_once_do_not_meet_and_nothing_of_them_stays(tmp_path: Path) -> None:
    edge.needed()
    sites = [Site(name="near", rtt_ms=1, hosts=1, **PLACE)]
    with Edge(tmp_path / "a", sites) as first, Edge(tmp_path / "b", sites) as second:
        assert first.hosts["near-1"].address != second.hosts["near-1"].address
        assert {knock(each.hosts["near-1"].address)[0] for each in (first, second)} == {errno.ECONNREFUSED}
        names = {first.wan.device, second.wan.device}
        assert names < devices()
        processes = [first.hosts["near-1"].process, second.hosts["near-1"].process]
        with pytest.raises(RuntimeError, match="nobody"):
            first.wan.attach("nobody", 1 << 30)
    assert all(process.poll() is not None for process in processes)
    until(lambda: not names & devices())


def test_the_network_ends_with_whoever_made_it(tmp_path: Path) -> None:
    edge.needed()
    code = (
        "import time; from tests.e2e.wan import Wan; "
        "wan = Wan().__enter__(); print(wan.device, flush=True); time.sleep(60)"
    )
    maker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert maker.stdout is not None
    device = maker.stdout.readline().decode().strip()
    assert device in devices()
    maker.send_signal(signal.SIGKILL)
    maker.wait(10)
    maker.stdout.close()
    until(lambda: device not in devices())


def test_what_a_network_refuses_is_an_error_and_it_goes_on() -> None:
    edge.needed()
    with Wan() as wan:
        with pytest.raises(RuntimeError, match="KeyError"):
            wan.shape("nobody", rtt_ms=5)
        with pytest.raises(RuntimeError, match="attach"):
            wan.attach("itself", 0x7FFFFFFF)


def test_a_line_loses_its_share_both_ways_and_delivers_what_it_does_not_lose_in_order() -> None:
    line = Line(0)
    line.delay_s, line.loss = 0.01, 0.25
    random.seed(4)
    arrivals = [line.arrival(0.001 * number, 100, inward=bool(number % 2)) for number in range(4000)]
    kept = [at for at in arrivals if at is not None]
    assert 0.70 < len(kept) / len(arrivals) < 0.80
    assert kept == sorted(kept)
    assert arrivals[0] in {None, 0.01}
    line.loss = 1.0
    assert line.arrival(9.0, 100, inward=True) is None


def test_a_slow_line_makes_packets_wait_and_drops_those_that_would_wait_too_long() -> None:
    line = Line(0)
    line.bit_s = 8e6  # a byte in a microsecond
    arrivals = [line.arrival(0.0, 1000, inward=True) for _ in range(1000)]
    kept = [at for at in arrivals if at is not None]
    assert kept[:2] == pytest.approx([0.001, 0.002])
    assert len(kept) == pytest.approx(QUEUE_S / 0.001, abs=1)
    assert line.arrival(0.0, 1000, inward=False) == pytest.approx(0.001)  # the other way is free
    assert line.arrival(10.0, 1000, inward=True) == pytest.approx(10.001)
