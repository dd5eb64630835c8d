"""Settings: the state folder, the configuration file and the environment, read once."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.spelling import hint

Table = Mapping[str, object]

DEFAULT_PROVIDERS: Mapping[str, Table] = {"local": {}}  # on without a line of configuration; others want their table
KEYS = ("market", "sizing", "providers", "policies", "control")
MARKET_KEYS = ("edition", "deadline_s", "max_price_age_days")
SIZING_KEYS = ("calibration",)
CONTROL_KEYS = ("store", "tick_s", "leader_ttl_s", "call_timeout_s", "port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything configurable, checked.

    `providers` has one table per provider that is on; its keys are the provider's own.
    """

    home: Path  # the state folder; exists
    providers: Mapping[str, Table] = field(default_factory=lambda: dict(DEFAULT_PROVIDERS))
    policies: Mapping[str, Table] = field(default_factory=dict)
    edition: str = "current"  # of the bundled price book
    deadline_s: float = 5.0  # for one look at all providers
    max_price_age_s: float = 90 * 86400.0  # older prices are marked
    calibration: str = ""  # name of the one that predictions use; "" is "default" where there is one
    store_url: str = ""  # "" is SQLite in the state folder
    tick_s: float = 0.5
    leader_ttl_s: float = 10.0
    call_timeout_s: float = 60.0  # for one call to one provider
    port: int = 0  # of the HTTP API; 0 takes a free one

    @property
    def catalog_dir(self) -> Path:
        """Imported and cached offers."""
        return self.home / "catalog"

    @property
    def calibrations_dir(self) -> Path:
        """What was learned from the user's own history."""
        return self.home / "calibrations"

    @property
    def control_dir(self) -> Path:
        """Connection file, token, lock and log of the control plane."""
        return self.home / "control"

    @property
    def owner(self) -> str:
        """Id of this control plane: the isoflop-owner tag on everything it buys. Made on first use and kept.

        Raises: ConfigError where the state folder cannot be written.
        """
        path = self.home / "owner"
        try:
            if not path.exists():
                _write_once(path, f"isoflop-{os.urandom(6).hex()}\n")
            owner = path.read_text().strip()
        except OSError as error:
            raise ConfigError(f"the state folder {self.home} cannot be used: {error.strerror or error}") from error
        if not owner:
            raise ConfigError(f"{path} is empty: it names the owner of every lease; restore it or remove it")
        return owner


def load(environ: Mapping[str, str]) -> Settings:
    """Read `$ISOFLOP_HOME` (default `~/.isoflop`) and `$ISOFLOP_CONFIG` (default `config.toml` in it).

    Raises: ConfigError with the file and the key at fault.
    """
    home = Path(environ.get("ISOFLOP_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".isoflop").absolute()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"the state folder {home} cannot be made: {error.strerror or error}") from error
    named = environ.get("ISOFLOP_CONFIG")
    path = Path(named) if named else home / "config.toml"
    if not path.exists():
        if named:
            raise ConfigError(f"ISOFLOP_CONFIG names {path}, which does not exist")
        return Settings(home=home)
    return parse(_read(path), home=home, file=str(path))


def parse(document: Table, *, home: Path, file: str) -> Settings:
    """Settings from a parsed configuration file.

    Raises: ConfigError with the file and the key at fault.
    """
    _known(document, KEYS, file, "")
    market = _table(document, "market", file)
    sizing = _table(document, "sizing", file)
    control = _table(document, "control", file)
    _known(market, MARKET_KEYS, file, "market.")
    _known(sizing, SIZING_KEYS, file, "sizing.")
    _known(control, CONTROL_KEYS, file, "control.")
    asked = _tables(document, "providers", file)
    providers = {**DEFAULT_PROVIDERS, **asked}
    on = {
        name: {key: value for key, value in table.items() if key != "enabled"}
        for name, table in providers.items()
        if table.get("enabled", True)
    }
    return Settings(
        home=home,
        providers=on,
        policies=_tables(document, "policies", file),
        edition=_text(market, "edition", "current", f"{file}: market"),
        deadline_s=_positive(market, "deadline_s", 5.0, f"{file}: market"),
        max_price_age_s=_positive(market, "max_price_age_days", 90.0, f"{file}: market") * 86400,
        calibration=_text(sizing, "calibration", "", f"{file}: sizing"),
        store_url=_text(control, "store", "", f"{file}: control"),
        tick_s=_positive(control, "tick_s", 0.5, f"{file}: control"),
        leader_ttl_s=_positive(control, "leader_ttl_s", 10.0, f"{file}: control"),
        call_timeout_s=_positive(control, "call_timeout_s", 60.0, f"{file}: control"),
        port=_port(control, f"{file}: control"),
    )


def _read(path: Path) -> Table:
    tomllib = importlib.import_module("tomllib")  # most have no configuration file, and it takes its time to load
    try:
        with path.open("rb") as stream:
            document: Table = tomllib.load(stream)
        return document
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _known(table: Table, keys: tuple[str, ...], file: str, prefix: str) -> None:
    for key in table:
        if key not in keys:
            raise ConfigError(f"{file}: unknown setting {prefix}{key} ({hint(key, keys)})")


def _table(document: Table, key: str, file: str) -> Table:
    value = document.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{file}: {key} is a table: [{key}]")
    return value


def _tables(document: Table, key: str, file: str) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for name, value in _table(document, key, file).items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"{file}: {key}.{name} is a table: [{key}.{name}]")
        tables[name] = value
    return tables


def _text(table: Table, key: str, default: str, where: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{key} is a text, not {value!r}")
    return value


def _positive(table: Table, key: str, default: float, where: str) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{where}.{key} is a number above 0, not {value!r}")
    return float(value)


def _port(table: Table, where: str) -> int:
    value = table.get("port", 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 65536:
        raise ConfigError(f"{where}.port is a whole number from 0 to 65535, not {value!r}")
    return value


def _write_once(path: Path, text: str) -> None:
    """Make `path` with `text` unless somebody else makes it first: both then read the same."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    draft.write_text(text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
