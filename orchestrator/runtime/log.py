"""Where the control plane's processes write their log."""

from __future__ import annotations

import logging
from pathlib import Path


def log_to(path: Path, *, terminal: bool = False) -> None:
    """Send this process's log to `path`, and with `terminal` to standard error too."""
    handlers: list[logging.Handler] = [logging.FileHandler(path)]
    if terminal:
        handlers.append(logging.StreamHandler())
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    root.setLevel(logging.INFO)
