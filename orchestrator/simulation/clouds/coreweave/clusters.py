"""The clusters of the simulated CoreWeave: one in every zone that the market sells in."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key

CLOUD = "coreweave"


class Cluster(NamedTuple):
    """One cluster, and which pools of the market its nodes come from."""

    id: str
    name: str
    zone: str  # as CoreWeave writes it
    region: str  # of the market's keys
    market_zone: str

    def key(self, instance_type: str, billing: Billing) -> Key:
        """The market's pool of a type here."""
        return Key(CLOUD, self.region, self.market_zone, instance_type, billing)

    def shown(self, base_url: str, created_at: str) -> dict[str, Any]:
        """As the cluster API has it; its API server is served beside it."""
        return {
            "id": self.id,
            "name": self.name,
            "zone": self.zone,
            "vpcId": sha256(f"vpc {self.id}".encode()).hexdigest()[:32],
            "public": True,
            "version": "v1.35",
            "network": {"podCidrName": "pod", "serviceCidrName": "service", "internalLbCidrNames": ["lb"]},
            "apiServerEndpoint": f"{base_url}/clusters/{self.id}",
            "status": "STATUS_RUNNING",
            "createdAt": created_at,
        }


def of_market(market: Market) -> Mapping[str, Cluster]:
    """A cluster for every place of the market's CoreWeave pools, by id."""
    places = sorted({(pool.key.region, pool.key.zone) for pool in market.sold_by(CLOUD)})
    made: dict[str, Cluster] = {}
    for region, zone in places:
        shown = zone or f"{region}A"  # price lists may name regions alone; clusters are in zones
        identifier = sha256(f"cluster {market.seed} {shown}".encode()).hexdigest()[:12]
        made[identifier] = Cluster(identifier, f"sim-{shown.lower()}", shown, region, zone)
    return made
