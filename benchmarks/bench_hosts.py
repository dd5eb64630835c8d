"""Hosts probed over SSH: 32 at once against the slowest alone, and against one after another.

    python benchmarks/bench_hosts.py [--hosts 32] [--json]

Every host is a real OpenSSH server on loopback behind a relay in another process, which holds each direction back by
2 to 120 ms, as hosts of one country to those of another continent are. "first" is with connecting, "kept" on the
connections that are there. Ratios: all hosts over the slowest alone, and one after another over all at once. The goal,
2, is for the first look, connecting included. A look on kept connections is over in two round trips: what is left is
the work that the 32 hosts do, here all of them on this machine's cores, so its ratio is shown and judged by nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestrator.kit.shell.ssh import Hub
from orchestrator.runtime.clock import SystemClock
from providers.ssh.provider import SshProvider
from tests.e2e.yard import Yard

ONE_WAY_MS = (2, 8, 15, 25, 40, 60, 90, 120)  # cycled over the hosts
GOAL, ROUNDS = 2.0, 3
CHUNK = 1 << 16


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Bytes in their order, each `delay_s` after it came."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            writer.write(data)
        writer.close()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            waiting.put_nowait((time.monotonic() + delay_s, data))
    waiting.put_nowait((time.monotonic() + delay_s, b""))
    await delivery


def _relay(targets: list[tuple[int, float]], answer: Connection) -> None:
    """Serve a port for every (port, one-way delay in seconds), and tell which, until killed."""

    async def serve() -> None:
        ports = []
        for port, delay_s in targets:

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port, delay_s: float = delay_s
            ) -> None:
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(
                    _pump(reader, there_writer, delay_s), _pump(there_reader, writer, delay_s), return_exceptions=True
                )

            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            ports.append(server.sockets[0].getsockname()[1])
        answer.send(ports)
        await asyncio.Event().wait()

    asyncio.run(serve())


@contextlib.contextmanager
def far_away(yard: Yard) -> Iterator[None]:
    """Every host of the yard at its distance."""
    targets = [(host.port, ONE_WAY_MS[number % len(ONE_WAY_MS)] / 1000.0) for number, host in enumerate(yard.hosts)]
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_relay, args=(targets, there), daemon=True)
    process.start()
    try:
        for host, port in zip(yard.hosts, here.recv(), strict=True):
            yard.fields[host.name] = {"port": port}
        yield
    finally:
        process.kill()
        process.join()


def timed(work: Callable[[], object]) -> float:
    """Seconds of the wall clock."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def probe(provider: SshProvider, names: tuple[str, ...]) -> None:
    """Look at hardware and locks anew; every host must answer."""
    view = provider._watch.look(names, again=True)  # what `offers` and `hosts` do, without what they make of it
    assert not view.silent, view.silent


def measure(yard: Yard, clock: SystemClock) -> dict[str, float]:
    """Seconds, each the median of some rounds."""
    everyone = tuple(host.name for host in yard.hosts)
    slowest = everyone[len(ONE_WAY_MS) - 1]
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for word, names in (("slowest alone", (slowest,)), ("all at once", everyone)):
            with contextlib.closing(Hub("ssh")) as hub:
                provider = yard.provider("bench", hub, clock)
                found.setdefault(f"first, {word}", []).append(timed(lambda: probe(provider, names)))  # noqa: B023
                found.setdefault(f"kept, {word}", []).append(timed(lambda: probe(provider, names)))  # noqa: B023
                if names == everyone and "kept, one after another" not in found:
                    one_by_one = timed(lambda: [probe(provider, (name,)) for name in everyone])  # noqa: B023
                    found.setdefault("kept, one after another", []).append(one_by_one)
    return {name: median(values) for name, values in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Yard(Path(folder) / "yard", hosts=max(len(ONE_WAY_MS), options.hosts)) as yard,
        far_away(yard),
    ):
        seconds = measure(yard, SystemClock())
    ratios = {
        f"{word}: all at once / slowest alone": seconds[f"{word}, all at once"] / seconds[f"{word}, slowest alone"]
        for word in ("first", "kept")
    }
    spared = seconds["kept, one after another"] / seconds["kept, all at once"]
    if options.json:
        print(json.dumps({"hosts": options.hosts, "seconds": seconds, "ratios": ratios, "goal": GOAL}))
    else:
        for name, value in seconds.items():
            print(f"{name:42} {value:8.3f} s")
        for name, value in ratios.items():
            judged = f"    goal {GOAL:g}: {'met' if value <= GOAL else 'MISSED'}" if name.startswith("first") else ""
            print(f"{name:42} {value:8.2f}{judged}")
        print(f"{'kept: one after another / all at once':42} {spared:8.2f}")
    return int(any(value > GOAL for name, value in ratios.items() if name.startswith("first")))


if __name__ == "__main__":
    sys.exit(main())
