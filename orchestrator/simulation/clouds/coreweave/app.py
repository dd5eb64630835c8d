"""Makes the simulated CoreWeave an ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.simulation.clouds.coreweave.cloud import CoreWeaveCloud
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Wire

TOKEN, ACCOUNT = "coreweave-simulated-token", "coreweave-org"


def create(market: Market, *, tokens: Mapping[str, str] | None = None, specs: Path | None = None) -> Wire:  # noqa: ARG001
    """CoreWeave's cluster API and the Kubernetes APIs of its clusters, for the accounts of the tokens in `tokens`.

    No description of the vendor's has what a NodePool holds, so `specs` changes nothing: requests and answers are
    always checked against a schema written from the documentation.
    """
    return Wire(CoreWeaveCloud(market, tokens=tokens or {TOKEN: ACCOUNT}), market)


def settings(url: str, folder: Path, *, ca_file: str = "") -> Mapping[str, object]:
    """The table `[providers.coreweave]` for this cloud at `url`; the token is written into `folder`."""
    token = folder / "coreweave.token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    table: dict[str, object] = {"endpoint_url": url, "access_token": f"file:{token}"}
    return {**table, "ca_file": ca_file} if ca_file else table
