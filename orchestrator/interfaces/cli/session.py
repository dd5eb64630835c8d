"""What commands share: the application from the environment, the market to plan over, options as people write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator import config
from orchestrator.app import App
from orchestrator.domain.errors import UserError
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Snapshot
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.cli import files
from orchestrator.interfaces.views.choose import waiting
from orchestrator.spec import documents, job, quantity


def open_app() -> App:
    """The application of this user's settings. Raises: ConfigError."""
    return App(config.load(os.environ))


def load_job(path: Path) -> Workload:
    """The workload of a job file. Raises: SpecError with every problem of the file."""
    with _without_plugins():
        return job.load(path)


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Pydantic looks for plug-ins in every installed package before it builds its first validator; we use none."""
    name = "PYDANTIC_DISABLE_PLUGINS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def look(app: App, *, saved: Path | None, live: bool) -> Snapshot:
    """The saved snapshot, or the market as it is now; with `live`, every provider is asked.

    Raises: UserError where the saved one cannot be read.
    """
    if saved is not None:
        return load_snapshot(saved)
    if not live:
        return app.snapshot(live=False)
    with waiting("asking the providers"):
        return app.snapshot(live=True)


def load_snapshot(path: Path) -> Snapshot:
    """Raises: UserError naming the file."""
    try:
        return documents.load_snapshot(files.read(path))
    except UserError as error:
        raise named(path, error) from error


def load_plan(path: Path) -> tuple[Plan, Snapshot]:
    """The plan in a file and the snapshot it was made from. Raises: UserError naming the file."""
    try:
        return documents.load_plan(files.read(path))
    except UserError as error:
        raise named(path, error) from error


def named(path: Path, error: UserError) -> UserError:
    """The same error with the file's name in front, unless it has it already."""
    text = str(error)
    return error if text.startswith(str(path)) else UserError(f"{path}: {text}")


def read_option(option: str, text: str | None, reader: Callable[[str], float]) -> float | None:
    """The quantity an option gives, by a reader of `spec.quantity`; None where the option was not given.

    Raises: UserError naming the option.
    """
    if text is None:
        return None
    try:
        return reader(text)
    except quantity.QuantityError as error:
        raise UserError(f"{option}: {error}") from error
