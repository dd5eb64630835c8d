"""The continuum of the tests, shown as it happens: a table that lives on a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

import httpx
import pytest

from orchestrator.domain.errors import IsoflopError
from orchestrator.interfaces.api.messages import AttemptView, RunView
from tests.e2e import char_service, continuum
from tests.e2e.continuum import HERE, PARTITION, SITE, SITES, Continuum

FRAME_S, LINES_S = 0.5, 30.0  # between two tables on a terminal, and in a pipe where nothing changes
UP, ERASE, BOLD, PLAIN = "\x1b[{}F", "\x1b[J", "\x1b[1m", "\x1b[0m"
HEADER = ("place", "what it is", "round trip", "leased to", "answered", "first token")
LATENCIES = 50  # of the last requests, by host


class Row(NamedTuple):
    """A line of the table: cells under HEADER; `state` is what is worth a line of its own where it changes."""

    cells: tuple[str, ...]
    state: tuple[str, ...]


class Screen:
    """Text that stays, and below it a table that is drawn anew again and again."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live, self._lock = stream, stream.isatty(), threading.Lock()
        self._height, self._begun = 0, time.monotonic()
        self._told: dict[str, tuple[str, ...]] = {}
        self._all_told = 0.0

    def say(self, text: str, *, strong: bool = False) -> None:
        """Print what stays."""
        with self._lock:
            self._wipe()
            shown = f"{BOLD}{text}{PLAIN}" if strong and self._live else text
            print(shown, file=self._stream, flush=True)

    def draw(self, rows: Sequence[Row], foot: str) -> None:
        """Show the table as it is now."""
        with self._lock:
            if self._live:
                self._redraw(rows, foot)
            else:
                self._tell(rows, foot)

    def close(self) -> None:
        """Remove the table."""
        with self._lock:
            self._wipe()

    def _redraw(self, rows: Sequence[Row], foot: str) -> None:
        table = [HEADER, *(row.cells for row in rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
        columns = shutil.get_terminal_size().columns
        shown = [line[: columns - 1].rstrip() for line in ["", *lines, self._clock(foot)]]
        shown[1] = f"{BOLD}{shown[1]}{PLAIN}"
        self._wipe()
        self._stream.write("\n".join(shown) + "\n")
        self._stream.flush()
        self._height = len(shown)

    def _tell(self, rows: Sequence[Row], foot: str) -> None:
        """What has changed; everything where nothing has for a while."""
        due = time.monotonic() > self._all_told + LINES_S
        for row in rows:
            if due or self._told.get(row.cells[0]) != row.state:
                self._told[row.cells[0]] = row.state
                print(self._clock(" | ".join(cell for cell in row.cells if cell)), file=self._stream)
        if due:
            self._all_told = time.monotonic()
            print(self._clock(foot), file=self._stream)
        self._stream.flush()

    def _clock(self, text: str) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        return f"[{minutes}:{seconds:02}] {text}"

    def _wipe(self) -> None:
        if self._height:
            self._stream.write(UP.format(self._height) + ERASE)
            self._height = 0


class Traffic:
    """Users: a request to every address of the service, again and again; what they saw, by the host that answered."""

    def __init__(self) -> None:
        self._over = char_service.client(timeout_s=2.0)
        self.answered: defaultdict[str, int] = defaultdict(int)
        self.first_ms: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LATENCIES))

    def ask(self, url: str) -> None:
        """One request; an address that does not answer is no news."""
        with suppress(httpx.HTTPError):
            answer = char_service.ask(self._over, url)
            self.answered[answer.host] += 1
            self.first_ms[answer.host].append(answer.first_ms)

    def seen(self, host: str) -> tuple[str, str]:
        """How many answers came from a host, and the median of their first tokens."""
        if not self.answered[host]:
            return "", ""
        return str(self.answered[host]), f"{statistics.median(self.first_ms[host]):.0f} ms"


class Show:
    """The world and its audience. Two threads look at it: one draws, one asks the service."""

    def __init__(self, world: Continuum, screen: Screen) -> None:
        self.world, self.screen, self.traffic = world, screen, Traffic()
        self.round_trips: dict[str, float] = {}
        self._runs: tuple[RunView, ...] = ()
        self._over = threading.Event()

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Draw and ask until it is over."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._draw, self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(10)
            self.screen.close()

    def command(self, *words: str) -> None:
        """A command as a user would type it, with what it prints."""
        self.screen.say(f"\n$ isoflop {shlex.join(words)}", strong=True)
        self.screen.say(self.world.shell.run(*words).rstrip())

    def _draw(self) -> None:
        while not self._over.wait(FRAME_S):
            with suppress(IsoflopError):  # there is no control plane before the first job, and none at the end
                self._runs = self.world.runs()
            self.world.follow()
            self.screen.draw(self._rows(), self._foot())

    def _ask(self) -> None:
        while not self._over.wait(FRAME_S):
            for _, attempt in self._held():
                for url in attempt.urls:
                    self.traffic.ask(url)

    def _held(self) -> list[tuple[RunView, AttemptView]]:
        return [(run, run.attempts[-1]) for run in self._runs if run.attempts and run.attempts[-1].state == "held"]

    def _rows(self) -> list[Row]:
        held: defaultdict[str, list[tuple[RunView, str]]] = defaultdict(list)  # by host of the edge, or by provider
        for run, attempt in self._held():
            hosts = [self.world.edge.host_of(httpx.URL(url).host) for url in attempt.urls]
            for place in hosts or [attempt.provider]:
                held[place].append((run, run.progress.detail if run.progress is not None else ""))
        rows = []
        for site in SITES:
            rtt = f"{self.round_trips[site.name]:.1f} ms" if site.name in self.round_trips else ""
            for number in range(1, site.hosts + 1):
                name = f"{site.name}-{number}"
                kind = f"edge, ${site.usd_per_hour:.2f}/h" if name in self.world.edge.hosts else "edge, powered off"
                rows.append(_row(name, kind, rtt, held[name], self.traffic.seen(name)))
        others = ((f"{SITE}/{PARTITION}", "Slurm, A100s", "slurm"), ("aws", "simulated cloud", "aws"))
        for name, kind, provider in (*others, ("here", "this machine", "local")):
            rows.append(_row(name, kind, "", held[provider], ("", "")))
        return rows

    def _foot(self) -> str:
        states = ", ".join(f"{run.name} {run.state}" for run in self._runs) or "no runs yet"
        return f"${sum(run.usd for run in self._runs):.4f} so far; {states}"


def _row(name: str, kind: str, rtt: str, held: Sequence[tuple[RunView, str]], seen: tuple[str, str]) -> Row:
    states = ", ".join(f"{run.name} {run.state}" for run, _ in held)
    leased = ", ".join(f"{run.name} {run.state} {detail}".rstrip() for run, detail in held)
    return Row((name, kind, rtt, leased, *seen), (kind, states))


def play(show: Show) -> None:
    """The story."""
    world, say = show.world, show.screen.say
    training, service = world.jobs(*char_service.training(more=300))
    say(f"Three edge sites, a Slurm, a simulated cloud and this machine; users are in {HERE}. Round trips, measured:")
    show.round_trips = world.settle()
    show.command("network", "show", "ssh/munich", HERE)

    say("\n1. A training job goes where it is cheapest with all terms: Slurm, at its owner's price.", strong=True)
    say("Its program has no end on its first machine and 300 steps on the next, so that it is seen to move.")
    saved, pools = str(world.folder / "train.json"), world.folder / "pools"
    show.command("plan", str(training), "-o", saved)
    show.command("apply", saved)
    world.until("it trains in Slurm", lambda: any(run.state == "running" for run in world.runs()), within_s=90)
    world.close_slurm()
    say("Slurm is closed for new jobs meanwhile; the allocation lives for a minute.")

    say(
        "\n2. A service with a first token within 20 ms, that survives the loss of a site: two near sites.", strong=True
    )
    show.command("plan", str(service), "--continuum", "--survive-site-loss", "--buyable", "-o", str(pools))
    show.command("apply", *map(str, sorted(pools.glob("*.json"))))
    _until_answered(show, "mainz-1", "munich-1")
    show.command("endpoints", "chat", "--check")

    say("\n3. The host mainz-1 loses its power and its line: the pool goes on at its neighbour.", strong=True)
    world.edge.power_off("mainz-1")
    _until_answered(show, "mainz-2")

    say(
        "\n4. The allocation lived for a minute: the training goes on in the cloud, from its last checkpoint.",
        strong=True,
    )
    (trained,) = [run.id for run in world.runs() if run.name == "folklore"]
    world.until("it ends", lambda: all(run.state.final for run in world.runs() if run.id == trained), within_s=200)
    show.command("status", trained)

    say("\n5. All is given back, and the bill adds up.", strong=True)
    world.cancel()
    show.command("bill")


def _until_answered(show: Show, *hosts: str) -> None:
    world = show.world
    world.until("it answers", lambda: all(show.traffic.answered[host] for host in hosts), within_s=240)


def main() -> int:
    """Set all up, play, and leave nothing; returns the exit code."""
    for name in ("CI", "ISOFLOP_CONFIG"):
        os.environ.pop(name, None)
    try:
        continuum.needed()
    except pytest.skip.Exception as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    screen = Screen(sys.stdout)
    try:
        with tempfile.TemporaryDirectory(prefix="isoflop-continuum-") as folder, Continuum(Path(folder)) as world:
            show = Show(world, screen)
            with show.playing():
                play(show)
            world.shell.run("down")
    except KeyboardInterrupt:
        screen.say("\ninterrupted: everything was ended")
        return 130
    screen.say("\nNothing is left of it: no lock, no job, no machine, no process, no network.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
