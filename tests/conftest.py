"""Rules for every test: no sockets outside the tests that are about the wire, and no settings of the machine's user."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket

ROOT = Path(__file__).parents[1]
MAY_CONNECT = ("wire", "e2e", "contract")


def pytest_configure() -> None:
    """A shell starts its background jobs with Ctrl-C ignored, and their children inherit that; some tests press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    folder = request.path.relative_to(ROOT / "tests").parts[0]
    if folder in MAY_CONNECT:
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("ISOFLOP_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("ISOFLOP_CONFIG", raising=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real offers, device tables and traces beside the checkout; tests that read them skip where they are absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: lay the project's shared data beside the checkout")
    return folder
