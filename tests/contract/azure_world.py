"""A simulated Azure on loopback with TLS, and accounts at it through the adapter and Azure's own SDK."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from orchestrator.domain.contracts import Provider
from orchestrator.domain.offer import Billing
from orchestrator.domain.secret import Secret
from orchestrator.simulation.clouds.account import CloudAccount
from orchestrator.simulation.clouds.azure import app
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serving import Server, Tls, make_tls
from orchestrator.simulation.clouds.wire import Request, Wire
from providers.azure.provider import AzureProvider
from providers.azure.settings import AzureSettings

SECRET = "azure-secret-7d20c4b1"
START = datetime(2026, 11, 20, 12, tzinfo=UTC)
H100, A100, A10, T4 = (
    "Standard_ND96isr_H100_v5",
    "Standard_NC24ads_A100_v4",
    "Standard_NV6ads_A10_v5",
    "Standard_NC4as_T4_v3",
)
SHAPES = {
    H100: ("H100-SXM", 8.0, 96.0, 1900.0, 98.32),
    A100: ("A100-PCIe-80GB", 1.0, 24.0, 220.0, 3.673),
    A10: ("A10", 1 / 6, 6.0, 55.0, 0.454),
    T4: ("T4", 1.0, 4.0, 28.0, 0.526),
}


def specs() -> Path | None:
    """The folder with the vendors' descriptions, where it is at hand."""
    folder = Path(os.environ.get("ISOFLOP_SPECS", "") or Path(__file__).parents[3] / "shared" / "data" / "specs")
    return folder if (folder / "azure").is_dir() else None


def pools(*, capacity: int = 4, regions: tuple[str, ...] = ("eastus", "westeurope")) -> tuple[Pool, ...]:
    """Every shape in every region, on demand and spot."""
    found = []
    for region in regions:
        for size, (device, gpus, vcpus, memory, price) in SHAPES.items():
            for billing, share in ((Billing.ON_DEMAND, 1.0), (Billing.SPOT, 0.3)):
                found.append(
                    Pool(
                        key=Key("azure", region, "", size, billing),
                        accelerator=device,
                        gpus=gpus,
                        vcpus=vcpus,
                        host_memory_gib=memory,
                        usd_per_hour=round(share * price, 4),
                        capacity=capacity,
                        boot_s=60.0,
                    )
                )
    return tuple(found)


@dataclass
class World:
    """A served Azure; `provider(owner)` is a new adapter object over it, as another process would have it."""

    wire: Wire
    url: str
    folder: Path
    tls: Tls
    changes: Mapping[str, object] = field(default_factory=dict)
    made: list[AzureProvider] = field(default_factory=list)

    @property
    def market(self) -> Market:
        return self.wire.market

    @property
    def cloud(self) -> app.AzureCloud:
        assert isinstance(self.wire.cloud, app.AzureCloud)
        return self.wire.cloud

    def ask(self, method: str, path: str, query: Mapping[str, str], body: object = None) -> tuple[int, str]:
        """A request by hand, with a token: the status and text of the answer."""
        form = urlencode({"grant_type": "client_credentials", "client_id": app.CLIENT, "client_secret": SECRET})
        login = Request("POST", f"/{app.TENANT}/oauth2/v2.0/token", "", (), {}, form.encode(), self.url)
        token = json.loads(self.wire.answer(login)[0].body)["access_token"]
        text = b"" if body is None else json.dumps(body).encode()
        whole = f"/subscriptions/{app.SUBSCRIPTION}{path}"
        headers = {"authorization": f"Bearer {token}"}
        reply, _ = self.wire.answer(Request(method, whole, whole, tuple(query.items()), headers, text, self.url))
        return reply.status, reply.body.decode()

    def hang_up(self) -> None:
        """Close every connection."""
        for provider in self.made:
            provider.close()
        self.made.clear()

    def settings(self, **changes: object) -> AzureSettings:
        values: dict[str, object] = {
            "subscription_id": app.SUBSCRIPTION,
            "tenant_id": app.TENANT,
            "client_id": app.CLIENT,
            "client_secret": "env:AZURE_CLIENT_SECRET",
            "authority": self.url,
            "endpoint_url": self.url,
            "retail_url": self.url,
            "ca_file": str(self.tls.authority),
            "control_cidr": "198.51.100.7/32",
            **self.changes,
            **changes,
        }
        return AzureSettings(**values)  # type: ignore[arg-type]

    def provider(self, owner: str = "isoflop-test", *, secret: str = SECRET, **changes: object) -> AzureProvider:
        made = AzureProvider(
            owner=owner,
            settings=self.settings(**changes),
            secret=Secret(secret),
            clock=self.market.clock,
            state_dir=self.folder,
        )
        self.made.append(made)
        return made


@cache
def _tls(folder: Path) -> Tls:
    return make_tls(folder)


@contextmanager
def world(folder: Path, *, sold: tuple[Pool, ...] | None = None, seed: int = 7, **options: object) -> Iterator[World]:
    """A fresh market behind a served Azure. Nothing moves but by the clock's hand."""
    market = Market(pools() if sold is None else sold, seed=seed, clock=MarketClock(START), hazards=False)
    wire = app.create(market, secret=SECRET, specs=specs(), **options)  # type: ignore[arg-type]
    tls = _tls(folder.parent / "tls")
    with ExitStack() as stack:
        server = stack.enter_context(Server(wire, tls=tls))
        served = World(wire, server.url, folder, tls)
        stack.callback(served.hang_up)
        yield served
    assert not wire.nonconforming


class AzureAccount(CloudAccount):
    """An account at a served Azure."""

    launches = ("VirtualMachines_CreateOrUpdate",)
    releases = ("VirtualMachines_Delete",)
    listings = ("VirtualMachines_List",)
    catalogues = ("ResourceSkus_List", "RetailPrices", "Usage_List")

    def __init__(self, served: World) -> None:
        make: Callable[[str], Provider] = served.provider
        super().__init__(served.wire, make, secrets=(SECRET,), quotas={"cores": 10_000.0, "lowPriorityCores": 10_000.0})
