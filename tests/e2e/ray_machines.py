"""Machines with the Ray that runs these tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.lease import Lease

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
PATIENCE_S = 120.0  # Ray takes four seconds of a core to start, and two nodes on a busy machine a minute
NEEDED = ("aiohttp_cors", "opencensus", "opentelemetry.exporter.prometheus", "prometheus_client")


def lacking() -> str:
    """Why no cluster can be formed of this Python's Ray; "" where it can."""
    try:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError as error:
        missing = [str(error.name)]
    there = (Path(sys.executable).parent / "ray").exists()
    return "" if there and not missing else f"Ray has no Jobs API ({', '.join(missing)}): pip install 'ray[default]'"


def needed() -> None:
    """Skip the test where Ray has no Jobs API; fail it in CI, which installs it."""
    reason = lacking()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def small(lease: Lease) -> Lease:
    """The lease with nodes of one core, of which Ray starts as many workers as it is told of cores."""
    return replace(lease, offer=replace(lease.offer, vcpus=1.0, gpus=0.0))
