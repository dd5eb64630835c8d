"""How long a command takes as a whole process, each against a baseline that a user knows, measured in turns.

    python benchmarks/bench_cli.py [--rounds 10] [--json]

`isoflop --help` is compared with the help of a two-command typer application, once as typer draws it by default and
once with typer's plain help, and `isoflop plan` over real offers with the import of numpy, pydantic and typer alone.
Rounds alternate between command and baseline, so that a busy machine slows both, and the medians are compared; both
find their bytecode compiled, as an installation leaves it. Real
offers are read where a folder `../shared/data` lies beside the repository; without it that row is left out and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "offers.csv.gz"
ISOFLOP = str(Path(sys.executable).with_name("isoflop"))
JOB = ROOT / "examples" / "llama-7b.yaml"
TWO_COMMANDS = """
import typer
app = typer.Typer({options})

@app.command()
def one(name: str) -> None:
    "Do one thing."

@app.command()
def two(name: str) -> None:
    "Do another."

app()
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A command against its baseline; times are medians of whole processes in seconds."""

    what: str
    baseline: str
    seconds: float
    baseline_s: float
    ratio: float
    target: float

    @property
    def met(self) -> bool:
        """Whether the ratio is below its target."""
        return self.ratio <= self.target


def main() -> None:
    """Measure, print the table, and exit 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        rows = measure(Path(home), options.rounds)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show(rows)
    sys.exit(0 if all(row.met for row in rows) else 1)


def measure(home: Path, rounds: int) -> list[Row]:
    """Every row, in a state folder of its own."""
    environment = {**os.environ, "ISOFLOP_HOME": str(home / "state"), "NO_COLOR": "1"}
    for name in ("ISOFLOP_CONFIG", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    environment["PYTHONPYCACHEPREFIX"] = str(home / "bytecode")  # warm for both sides, as it is after an installation
    rich, plain = home / "two_rich.py", home / "two_plain.py"
    rich.write_text(TWO_COMMANDS.format(options=""))
    plain.write_text(TWO_COMMANDS.format(options="rich_markup_mode=None"))
    python, help_ = sys.executable, [ISOFLOP, "--help"]
    imports = [python, "-c", "import numpy, pydantic, typer"]
    pairs = [
        Pair("isoflop --help", help_, "typer, 2 commands", [python, str(rich), "--help"], 1.2),
        Pair("isoflop --help", help_, "typer, 2 commands, plain", [python, str(plain), "--help"], 1.2),
    ]
    plan = [ISOFLOP, "plan", str(JOB)]
    offers = "bundled offers"
    if REAL.exists():
        offers = "real offers"
        subprocess.run([ISOFLOP, "catalog", "import", str(REAL)], env=environment, check=True, capture_output=True)
    else:
        print(f"no real offers at {REAL}: the plan is measured over the bundled ones", file=sys.stderr)
    for what, flags in ((f"isoflop plan, {offers}, offline", ["--offline"]), (f"isoflop plan, {offers}", [])):
        pairs.append(Pair(what, [*plan, *flags], "import numpy, pydantic, typer", imports, 2.0))
    return [compare(pair, environment, rounds) for pair in pairs]


@dataclass(frozen=True, slots=True)
class Pair:
    """What to compare with what, and the ratio wanted at most."""

    what: str
    command: list[str]
    baseline: str
    other: list[str]
    target: float


def compare(pair: Pair, environment: dict[str, str], rounds: int) -> Row:
    """Medians of `rounds` runs of each, in turns, after one of each to warm the disk."""
    seconds, baseline_s = [], []
    for turn in range(rounds + 1):
        one, two = timed(pair.command, environment), timed(pair.other, environment)
        if turn:
            seconds.append(one)
            baseline_s.append(two)
    mine, theirs = statistics.median(seconds), statistics.median(baseline_s)
    return Row(pair.what, pair.baseline, mine, theirs, mine / theirs, pair.target)


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of one whole process."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def show(rows: list[Row]) -> None:
    """The table."""
    print(f"{'command':34} {'median':>8} {'baseline':32} {'median':>8} {'ratio':>6} {'target':>7}")
    for row in rows:
        verdict = "met" if row.met else "MISSED"
        times = f"{row.seconds * 1e3:6.0f}ms {row.baseline:32} {row.baseline_s * 1e3:6.0f}ms"
        print(f"{row.what:34} {times} {row.ratio:5.2f}x {row.target:6.1f}x {verdict}")


if __name__ == "__main__":
    main()
