"""Five simulated clouds read through the vendors' SDKs: time, requests, launches a second, memory, imports.

    python benchmarks/bench_clouds.py [--cloud NAME ...] [--json]

The clouds are served by another process (`isoflop simulate serve`), seeded from `../shared/data/offers.csv.gz` where it
lies beside the repository, else from the bundled book; adapters, SDKs and HTTP are what a user has. Ratios: a look at
all clouds over the slowest cloud alone (goal: 1.3; both processes share this machine's cores, so what is computed adds
up, and what is waited for does not); the requests of a look over what one request per page, region and table would be
(goal: none per offer); the imports of a plan, which loads no SDK. Launches are of one node, one after another, each
confirmed and given back. Memory is what a fresh process holds more after loading the adapter and reading its offers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT / ".." / "shared" / "data" / "offers.csv.gz"
SPECS = ROOT / ".." / "shared" / "data" / "specs"
CLOUDS = ("aws", "azure", "coreweave", "gcp", "lambda")
AT_ONCE, LAUNCHES = 1.3, 5
READY_S = 90.0
SDKS = ("boto3", "azure", "google.cloud", "kubernetes", "asyncssh", "moto")

ALONE = """
import json, resource, sys, time
from pathlib import Path
from orchestrator.app import App
from orchestrator import config
import os
app = App(config.load(os.environ))
name = sys.argv[1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
provider = app.provider(name)
made = time.perf_counter()
book = provider.offers()
read = time.perf_counter()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"load_s": made - began, "read_s": read - made, "offers": len(book), "mib": (after - before) / 1024}))
"""
TOGETHER = """
import json, os, time
from orchestrator.app import App
from orchestrator import config
app = App(config.load(os.environ))
providers, _ = app.providers()
began = time.perf_counter()
snapshot = app.snapshot()
gaps = [f"{gap.provider}: {gap.detail}" for gap in snapshot.gaps if "no answer" in gap.detail]
print(json.dumps({"s": time.perf_counter() - began, "offers": len(snapshot.book), "gaps": gaps}))
"""
BUYING = """
import json, os, sys, time
from orchestrator.app import App
from orchestrator import config
from orchestrator.domain.errors import CapacityError, LeaseNotFound, QuotaError
from orchestrator.domain.lease import Boot
app = App(config.load(os.environ))
provider = app.provider(sys.argv[1])
offers = sorted((o for o in provider.offers() if o.available != 0), key=lambda o: o.usd_per_hour)
sold, spent, tried = [], 0.0, 0
for number, offer in enumerate(offers[:60]):
    began = time.perf_counter()
    try:
        sold.append(provider.acquire(offer, 1, token=f"bench-{number}", boot=Boot(run_id="bench")))
    except (CapacityError, QuotaError):
        continue
    spent += time.perf_counter() - began
    if len(sold) == int(sys.argv[2]):
        break
for lease in sold:
    try:
        provider.release(lease.id)
    except LeaseNotFound:
        pass
print(json.dumps({"sold": len(sold), "s": spent}))
"""
PLANNING = """
import sys
from orchestrator.interfaces.cli.application import invoke
code = invoke(["plan", sys.argv[1], "--offline", "--json"])
print(*sorted(sys.modules), file=sys.stderr)
raise SystemExit(code)
"""


class Served(NamedTuple):
    """Running clouds: the environment that points a process at them, and their levers."""

    env: dict[str, str]
    control: str


class Row(NamedTuple):
    """One cloud."""

    cloud: str
    offers: int
    read_s: float
    requests: int
    operations: int
    launches_per_s: float
    load_s: float
    mib: float


@contextmanager
def served(names: tuple[str, ...]) -> Iterator[Served]:
    """The clouds in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.toml")
        env = {**os.environ, "ISOFLOP_HOME": folder, "ISOFLOP_CONFIG": ""}
        command = [sys.executable, "-m", "orchestrator.interfaces.cli.main"]
        entry = Path(sys.executable).with_name("isoflop")
        command = [str(entry)] if entry.exists() else command
        command += ["simulate", "serve", "--write", str(config), "--speed", "60"]
        command += [word for name in names for word in ("--cloud", name)]
        command += ["--prices", str(REAL)] if REAL.exists() else []
        command += ["--specs", str(SPECS)] if SPECS.exists() else []
        env.pop("ISOFLOP_CONFIG")
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + READY_S
        while not config.exists() or not config.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SystemExit(f"the clouds do not come up: {process.communicate()[1]}")
            time.sleep(0.05)
        text = config.read_text()
        control = re.search(r"levers: (\S+)", text)
        assert control is not None
        try:
            yield Served({**env, "ISOFLOP_CONFIG": str(config)}, control.group(1))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def main() -> None:
    """Measure, print the table, and exit 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cloud", action="append", choices=CLOUDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = tuple(options.cloud or CLOUDS)
    with served(names) as clouds:
        rows = [_row(name, clouds) for name in names]
        together = _run(TOGETHER, clouds.env)
    slowest = max(rows, key=lambda row: row.read_s)
    ratio = together["s"] / slowest.read_s
    loaded = _sdks_of_a_plan()
    if options.json:
        report = {"clouds": [row._asdict() for row in rows], "together": together, "ratio": ratio, "sdks": loaded}
        print(json.dumps(report, indent=2))
    else:
        _print(rows, together, ratio, slowest.cloud, loaded)
    raise SystemExit(0 if ratio <= AT_ONCE and not loaded and not together["gaps"] else 1)


def _row(name: str, clouds: Served) -> Row:
    before = _calls(clouds, name)
    alone = _run(ALONE, clouds.env, name)
    asked = _calls(clouds, name) - before
    bought = _run(BUYING, clouds.env, name, str(LAUNCHES))
    return Row(
        name,
        alone["offers"],
        alone["read_s"],
        asked.total(),
        len(asked),
        bought["sold"] / bought["s"] if bought["s"] else 0.0,
        alone["load_s"],
        alone["mib"],
    )


def _calls(clouds: Served, name: str) -> Counter[str]:
    with urllib.request.urlopen(f"{clouds.control}/log") as answer:  # noqa: S310 - loopback
        return Counter(call["operation"] for call in json.load(answer)["calls"][name])


def _run(code: str, env: dict[str, str], *words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _sdks_of_a_plan() -> list[str]:
    """SDKs that planning loads: none."""
    with tempfile.TemporaryDirectory() as folder:
        job = ROOT / "examples" / "llama-7b.yaml"
        env = {**os.environ, "ISOFLOP_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", PLANNING, str(job)], env=env, capture_output=True, text=True, check=False
        )
        modules = done.stderr.split()
        return [sdk for sdk in SDKS if sdk in modules]


def _print(rows: list[Row], together: dict[str, Any], ratio: float, slowest: str, loaded: list[str]) -> None:
    print(
        f"{'cloud':10} {'offers':>7} {'read':>8} {'requests':>9} {'kinds':>6} "
        f"{'launches/s':>11} {'load':>8} {'memory':>9}"
    )
    for row in rows:
        print(
            f"{row.cloud:10} {row.offers:7,} {row.read_s:6.2f} s {row.requests:9} {row.operations:6} "
            f"{row.launches_per_s:11.2f} {row.load_s:6.2f} s {row.mib:5.0f} MiB"
        )
    met = "met" if ratio <= AT_ONCE else "MISSED"
    print(f"\nall at once: {together['s']:.2f} s, {ratio:.2f}x of {slowest} alone (goal {AT_ONCE}x: {met})")
    for gap in together["gaps"]:
        print(f"  not seen: {gap}")
    print(f"SDKs that a plan loads: {', '.join(loaded) or 'none'}")


if __name__ == "__main__":
    main()
