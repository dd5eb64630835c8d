"""Makes the simulated Lambda cloud an ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from orchestrator.simulation.clouds.lambda_cloud.cloud import LambdaCloud
from orchestrator.simulation.clouds.lambda_cloud.spec import FILE, Spec
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Wire

KEY, ACCOUNT = "lambda-simulated-key", "lambda-account"  # what a newcomer is told to use


def create(
    market: Market, *, keys: Mapping[str, str] | None = None, specs: Path | None = None, rates: bool = True
) -> Wire:
    """Lambda's API in front of `market`, for the accounts of the API keys in `keys`.

    `specs` is a folder of specifications: with Lambda's in it every request and answer is checked against it, else they
    are not. `rates` False leaves out the limits of one request a second and one launch every twelve.
    """
    spec = _read(specs) if specs is not None and (specs / FILE).is_file() else None
    return Wire(LambdaCloud(market, keys=keys or {KEY: ACCOUNT}, spec=spec, rates=rates), market)


@cache
def _read(folder: Path) -> Spec:
    """The description, read once: that takes a second or two."""
    return Spec(folder)


def settings(url: str, folder: Path, *, ca_file: str = "") -> Mapping[str, object]:
    """The table `[providers.lambda]` for this cloud at `url`; the key is written into `folder`."""
    key = folder / "lambda.key"
    key.write_text(KEY)
    key.chmod(0o600)
    table: dict[str, object] = {"endpoint_url": url, "api_key": f"file:{key}"}
    return {**table, "ca_file": ca_file} if ca_file else table
