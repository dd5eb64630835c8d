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


def needed() -> None:
    """Skip the test where Ray has no Jobs API; fail it in CI, which installs it."""
    try:
        lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError as error:
        lacking = [str(error.name)]
    if lacking or not (Path(sys.executable).parent / "ray").exists():
        reason = f"Ray has no Jobs API here ({', '.join(lacking)}): pip install 'ray[default]'"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def small(lease: Lease) -> Lease:
    """The lease with nodes of one core, of which Ray starts as many workers as it is told of cores."""
    return replace(lease, offer=replace(lease.offer, vcpus=1.0, gpus=0.0))
