"""Removes a stored file, or says that there was none."""

from __future__ import annotations

from pathlib import Path

from orchestrator.domain.errors import ConfigError


def removed(path: Path) -> bool:
    """Remove `path`; whether it was there. Raises: ConfigError where it is there and cannot be removed."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be removed: {error.strerror or error}") from error
    return True
