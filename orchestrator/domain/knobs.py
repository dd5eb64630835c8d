"""Numeric settings of a plug-in: defaults, the configuration file's values, and the job file's on top."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import Workload


def configured(owner: str, given: Mapping[str, object], defaults: Mapping[str, float]) -> dict[str, float]:
    """`defaults` overlaid with the configuration file's settings of `owner` ("policy cost").

    Raises: ConfigError for a name that `defaults` does not have, and for a value that is no finite number >= 0.
    """
    merged = dict(defaults)
    for name, value in given.items():
        if name not in defaults:
            raise ConfigError(f"{owner} has no setting '{name}'; {hint(name, defaults)}")
        merged[name] = _amount(ConfigError, f"{owner}: setting '{name}'", value)
    return merged


def overridden(workload: Workload, policy: str, base: Mapping[str, float]) -> dict[str, float]:
    """`base` overlaid with what the job file sets for `policy`.

    Raises: UserError as `configured` does, naming the job file's setting.
    """
    merged = dict(base)
    for setting in workload.settings:
        if setting.policy != policy:
            continue
        if setting.name not in base:
            raise UserError(f"policy '{policy}' has no setting '{setting.name}'; {hint(setting.name, base)}")
        merged[setting.name] = _amount(UserError, f"policy '{policy}': setting '{setting.name}'", setting.value)
    return merged


def _amount(error: type[UserError], what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise error(f"{what} is {value!r}; expected a number of at least 0")
    return float(value)
