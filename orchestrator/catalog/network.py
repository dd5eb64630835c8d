"""The network the catalogue knows: places and egress prices."""

from __future__ import annotations

from orchestrator.catalog import egress, places
from orchestrator.domain.network import Network


def load() -> Network:
    """Places and egress rates; no measured links are bundled, so round trips are estimated from the distance."""
    return Network(places=places.load(), egress=egress.load())
