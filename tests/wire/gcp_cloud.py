"""A small simulated Google Cloud on loopback, and providers that speak to it through Google's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orchestrator.domain.contracts import ProviderContext
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.gcp.app import PROJECT, create
from orchestrator.simulation.clouds.gcp.parts import priced_by_parts
from orchestrator.simulation.clouds.machines import Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server
from orchestrator.simulation.clouds.wire import Wire
from providers.gcp import provider as gcp
from providers.gcp.provider import GcpProvider

EMAIL = "isoflop@isoflop-simulated.iam.gserviceaccount.com"
START = datetime(2026, 11, 1, tzinfo=UTC)
SOLD = (  # region, zone, type, GPUs, vCPUs, GiB, on-demand USD, spot USD
    ("us-central1", "a", "a2-highgpu-1g", 1.0, 12, 85.0, 3.6734, 1.928),
    ("us-central1", "a", "a2-ultragpu-8g", 8.0, 96, 1360.0, 40.5504, 22.0764),
    ("us-central1", "a", "a3-highgpu-1g", 1.0, 26, 234.0, 11.0613, 6.3262),
    ("us-central1", "a", "a3-highgpu-8g", 8.0, 208, 1872.0, 88.49, 50.6095),
    ("us-central1", "b", "g2-standard-4", 1.0, 4, 16.0, 0.7068, 0.3973),
    ("us-central1", "b", "g4-standard-6", 0.125, 6, 22.5, 0.5596, 0.2238),
    ("us-central1", "b", "n1+nvidia-tesla-t4", 1.0, 0, 0.0, 0.35, 0.11),
    ("us-central1", "b", "a4-highgpu-8g", 8.0, 224, 3968.0, 128.0, 57.6),
    ("europe-west4", "a", "a2-highgpu-1g", 1.0, 12, 85.0, 3.7469, 2.2),
    ("europe-west4", "b", "a3-megagpu-8g", 8.0, 208, 1872.0, 105.0, 48.0),
)


def pools(*, nodes: int = 3, hazard_per_hour: float = 0.0) -> tuple[Pool, ...]:
    """What the small market sells: every kind of machine that is priced in its own way."""
    found = []
    for region, zone, name, gpus, cpus, gib, *prices in SOLD:
        for billing, usd in zip((Billing.ON_DEMAND, Billing.SPOT), prices, strict=True):
            pool = Pool(
                key=Key("gcp", region, f"{region}-{zone}", name, billing),
                accelerator="",
                gpus=gpus,
                vcpus=float(cpus),
                host_memory_gib=gib,
                usd_per_hour=usd,
                capacity=nodes,
                hazard_per_hour=hazard_per_hour if billing is Billing.SPOT else 0.0,
                boot_s=60.0,
            )
            found.append(pool)
    return priced_by_parts(found)


@cache
def _key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def key_file() -> str:
    """A service account's key as Google hands it out; it is made for this run of the tests and opens nothing."""
    private = _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "0123456789abcdef",
            "private_key": private,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": "http://127.0.0.1:9/nobody-asks-for-a-token",
        }
    )


def private_key_body() -> str:
    """A line of the private key: what must show nowhere."""
    return str(json.loads(key_file())["private_key"]).splitlines()[2]


def public_keys() -> dict[str, str]:
    """What the cloud knows of the service account."""
    return {EMAIL: _key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()}


def offer(provider: GcpProvider, instance_type: str, billing: Billing = Billing.SPOT) -> Offer:
    """The first of that type."""
    return next(o for o in provider.offers() if (o.instance_type, o.billing) == (instance_type, billing))


def key(of: Offer) -> Key:
    """The pool that an offer is of."""
    return Key("gcp", of.region, of.zone, of.instance_type, of.billing)


@dataclass
class Cloud:
    """A served cloud."""

    wire: Wire
    url: str
    folder: Path
    secret: str = ""  # a service account's key file; none is sent where it is empty

    @property
    def market(self) -> Market:
        return self.wire.market

    @property
    def held(self) -> int:
        """Machines that are not gone."""
        now = self.market.clock.now()
        return sum(machine.phase(now) is not Phase.GONE for machine in self.market.machines("gcp"))

    def fault(self, kind: Kind, operation: str = "*", *, times: int = 1, seconds: float = 0.0) -> None:
        """Script one."""
        self.market.script(Fault(provider="gcp", kind=kind, operation=operation, times=times, seconds=seconds))

    def bought(self, instance_type: str = "g2-standard-4", nodes: int = 1, boot: Boot | None = None) -> Lease:
        """A lease of spot machines."""
        provider = self.provider()
        return provider.acquire(offer(provider, instance_type), nodes, token="token", boot=boot or Boot())

    def provider(self, owner: str = "isoflop-test", **settings: object) -> GcpProvider:
        """A new provider object over the cloud."""
        context = ProviderContext(
            owner=owner,
            settings={
                "project": PROJECT,
                "credentials": "env:GCP_KEY" if self.secret else "none",
                "compute_endpoint": self.url,
                "billing_endpoint": self.url,
                **settings,
            },
            secret=lambda _: Secret(self.secret),
            clock=self.market.clock,
            state_dir=self.folder,
        )
        made = gcp.create(context)
        assert isinstance(made, GcpProvider)
        return made


@contextmanager
def served(
    folder: Path,
    *,
    sold: tuple[Pool, ...] | None = None,
    accounts: dict[str, str] | None = None,
    secret: str = "",
) -> Iterator[Cloud]:
    """A cloud on a free port; at the end, every answer must have been one that Google's description allows."""
    market = Market(pools() if sold is None else sold, seed=7, clock=MarketClock(START))
    wire = create(market, accounts=accounts)
    with Server(wire) as server:
        yield Cloud(wire, server.url, folder, secret)
    assert wire.nonconforming == []
