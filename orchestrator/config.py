"""Settings: the state folder, the configuration file and the environment, read once."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from orchestrator.domain.approval import ApprovalRule
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.spelling import hint
from orchestrator.domain.standing import ProviderScore, Spend

Table = Mapping[str, object]

DEFAULT_PROVIDERS: Mapping[str, Table] = {"local": {}}  # on without a line of configuration; others want their table
KEYS = (
    "market",
    "sizing",
    "providers",
    "policies",
    "control",
    "budget",
    "budgets",
    "reliability",
    "prices",
    "commitments",
    "quotas",
)
MARKET_KEYS = ("edition", "deadline_s", "max_price_age_days")
SIZING_KEYS = ("calibration",)
BUDGET_KEYS = ("approval_above_usd", "approver")
PURSE_KEYS = ("team", "cap_usd", "period", "starts_at", "ends_at")
PERIODS = r"(?P<year>\d{4})(?:-(?:Q(?P<quarter>[1-4])|(?P<month>0[1-9]|1[0-2])))?"
RELIABILITY_KEYS = ("failures_per_node_hour", "refused")
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
    approval: ApprovalRule | None = None  # what costs more waits for somebody's approval
    budgets: tuple[Spend, ...] = ()  # purses that several jobs pay from, with nothing spent
    reliability: tuple[ProviderScore, ...] = ()  # how the user says that providers behave, by name
    prices: tuple[Table, ...] = ()  # negotiated ones, as written: `catalog.agreements` reads them
    commitments: tuple[Table, ...] = ()  # capacity that is paid for, as written: likewise
    quotas: tuple[Table, ...] = ()  # what an account may hold, as written: `catalog.quotas` reads them
    file: str = ""  # where the settings were read from
    tick_s: float = 0.5
    leader_ttl_s: float = 10.0
    call_timeout_s: float = 60.0  # for one call to one provider
    port: int = 0  # of the HTTP API; 0 takes a free one

    @property
    def catalog_dir(self) -> Path:
        """Imported and cached offers."""
        return self.home / "catalog"

    @property
    def network_dir(self) -> Path:
        """Imported round trips and bandwidths."""
        return self.home / "network"

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
        approval=_approval(_table(document, "budget", file), file),
        budgets=_purses(document.get("budgets", []), file),
        reliability=_scores(_tables(document, "reliability", file), file),
        prices=_list(document, "prices", file),
        commitments=_list(document, "commitments", file),
        quotas=_list(document, "quotas", file),
        file=file,
        tick_s=_positive(control, "tick_s", 0.5, f"{file}: control"),
        leader_ttl_s=_positive(control, "leader_ttl_s", 10.0, f"{file}: control"),
        call_timeout_s=_positive(control, "call_timeout_s", 60.0, f"{file}: control"),
        port=_port(control, f"{file}: control"),
    )


def _scores(tables: Mapping[str, Table], file: str) -> tuple[ProviderScore, ...]:
    """`[reliability.lambda] failures_per_node_hour = 0.001, refused = 0.3`: either or both, of any provider."""
    return tuple(
        ProviderScore(
            provider=name,
            failures_per_node_hour=_upto(table, "failures_per_node_hour", 1e6, f"{file}: reliability.{name}"),
            refused=_upto(table, "refused", 1.0, f"{file}: reliability.{name}"),
            origin="configuration file",
        )
        for name, table in sorted(tables.items())
    )


def _upto(table: Table, key: str, most: float, where: str) -> float | None:
    """A number from 0 to `most`, None where there is none."""
    _known(table, RELIABILITY_KEYS, where, "")
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConfigError(f"{where}.{key} is a number from 0 to {most:,.0f}, not {value!r}")
    return float(value)


def _approval(table: Table, file: str) -> ApprovalRule | None:
    """`[budget] approval_above_usd = 10000, approver = "cfo@acme"`: both or neither."""
    _known(table, BUDGET_KEYS, file, "budget.")
    if not table:
        return None
    by = _text(table, "approver", "", f"{file}: budget").strip()
    if not by or "approval_above_usd" not in table:
        raise ConfigError(f"{file}: [budget] needs approval_above_usd, an amount, and approver, who is asked above it")
    above = 0.0
    if table["approval_above_usd"] != 0:  # 0 asks for everything that costs anything
        above = _positive(table, "approval_above_usd", 0.0, f"{file}: budget")
    return ApprovalRule(by, above)


def _purses(given: object, file: str) -> tuple[Spend, ...]:
    """`[[budgets]] team = "research", cap_usd = 50000, period = "2026-Q4"`; without a team it is everybody's."""
    if not isinstance(given, list) or not all(isinstance(purse, Mapping) for purse in given):
        raise ConfigError(f"{file}: budgets are a list of tables: [[budgets]]")
    purses = tuple(_purse(purse, f"{file}: budgets[{index}]") for index, purse in enumerate(given))
    for index, purse in enumerate(purses):
        for other in purses[:index]:
            if other.name == purse.name and other.starts_at < purse.ends_at and purse.starts_at < other.ends_at:
                whose = f"of team {purse.name}" if purse.name else "of everybody"
                raise ConfigError(f"{file}: two budgets {whose} overlap in time; give each its own period")
    return purses


def _purse(table: Table, where: str) -> Spend:
    _known(table, PURSE_KEYS, where, "")
    if "cap_usd" not in table:
        raise ConfigError(f"{where} needs cap_usd, an amount")
    if ("period" in table) == ("starts_at" in table or "ends_at" in table):
        raise ConfigError(f"{where} needs either period, such as 2026-Q4, or both starts_at and ends_at")
    if "period" in table:
        starts_at, ends_at = _period(table["period"], where)
    else:
        starts_at, ends_at = (_moment(table.get(key), f"{where}.{key}") for key in ("starts_at", "ends_at"))
    if ends_at <= starts_at:
        raise ConfigError(f"{where} ends at {ends_at:%Y-%m-%d}, not after it starts")
    name, cap = _text(table, "team", "", where), _positive(table, "cap_usd", 0.0, where)
    return Spend(name=name, cap_usd=cap, starts_at=starts_at, ends_at=ends_at)


def _period(given: object, where: str) -> tuple[datetime, datetime]:
    """The first moment of a year, a quarter or a month (`2026`, `2026-Q4`, `2026-11`) and that of the next, in UTC."""
    found = re.fullmatch(PERIODS, str(given))
    if found is None or not 0 < int(found["year"]) < 9999:
        raise ConfigError(
            f"{where}.period is a year, quarter or month, such as 2026, 2026-Q4 or 2026-11, not {given!r}"
        )
    year, quarter, month = int(found["year"]), found["quarter"], found["month"]
    first, months = (3 * int(quarter) - 2, 3) if quarter else (int(month), 1) if month else (1, 12)
    over, last = divmod(first - 1 + months, 12)
    return datetime(year, first, 1, tzinfo=UTC), datetime(year + over, last + 1, 1, tzinfo=UTC)


def _moment(given: object, where: str) -> datetime:
    """A TOML date, its first moment, or a date with a time; UTC where no time zone is given."""
    if isinstance(given, datetime):
        return given.astimezone(UTC) if given.tzinfo is not None else given.replace(tzinfo=UTC)
    if isinstance(given, date):
        return datetime(given.year, given.month, given.day, tzinfo=UTC)
    raise ConfigError(f"{where} is a date such as 2026-10-01, without quotes, not {given!r}")


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


def _list(document: Table, key: str, file: str) -> tuple[Table, ...]:
    given = document.get(key, [])
    if not isinstance(given, list) or not all(isinstance(table, Mapping) for table in given):
        raise ConfigError(f"{file}: {key} are a list of tables: [[{key}]]")
    return tuple(given)


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
