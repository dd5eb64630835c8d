"""`isoflop doctor`: looks at everything that has to be in order, and says what is not."""

from __future__ import annotations

import importlib.util
import platform
import sys
from functools import partial
from typing import Annotated

import typer

from orchestrator.app import App
from orchestrator.checkup import Check, check, checks
from orchestrator.domain.errors import ConfigError
from orchestrator.installation import check_names
from orchestrator.interfaces.api import host
from orchestrator.interfaces.api.client import Client
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views.choose import choose, waiting
from orchestrator.interfaces.views.doctor_view import DoctorReport

EXTRAS = {
    "run": ("ray", "starlette", "uvicorn"),
    "charts": ("matplotlib",),
    "gpu": ("pynvml",),
    "measure": ("torch",),
    "aws": ("boto3",),
    "azure": ("azure.mgmt.compute", "azure.identity"),
    "gcp": ("google.cloud.compute", "google.cloud.billing"),
    "operator": ("kopf", "kubernetes"),
    "postgres": ("psycopg",),
}


def run(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check installation, settings, providers and control plane.

    Exit codes: 0 everything works, 2 something needs mending.
    """
    with waiting("looking"):
        found = [check("python", partial(_python)), check("installation", partial(check_names))]
        found += [Check(f"extra {name}", True, _extra(name, modules)) for name, modules in EXTRAS.items()]
        app = session.open_app()
        found += checks(app)
        found.append(check("control plane", partial(_control_plane, app)))
    report = DoctorReport(tuple(found))
    choose(as_json).show(report)
    if report.broken:
        raise ConfigError(f"to mend: {', '.join(each.subject for each in report.broken)}")


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"


def _extra(name: str, modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if not _found(module)]
    return f"not installed: pip install 'isoflop[{name}]' where needed" if missing else "installed"


def _found(module: str) -> bool:
    """`find_spec` imports the parents of a dotted name, and they may not be there."""
    parent = module.partition(".")[0]
    if importlib.util.find_spec(parent) is None:
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _control_plane(app: App) -> str:
    known = host.running(app.settings)
    if known is None:
        return "not running: isoflop up starts it"
    with Client.connect(app.settings.home, timeout_s=5.0) as client:
        health = client.health()
    if not health.controller.running:
        why = f": {health.controller.error}" if health.controller.error else ""
        raise ConfigError(
            f"runs at {known.url}, but its controller does not{why}; see {app.settings.control_dir / 'log'}"
        )
    return (
        f"runs at {known.url}, Ray {health.ray}, controller pid {health.controller.pid}, {health.open_runs} open runs"
    )
