"""What a machine needs of the network before it can be made: a group, a subnet, and a guard that opens SSH alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from hashlib import sha256

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import CapacityError, Scope, TransientError
from orchestrator.kit.documents import Document
from providers.azure.client import GROUP_VERSION, NETWORK_VERSION, Azure
from providers.azure.machines import Place
from providers.azure.settings import NAME, AzureSettings

RANGE, SUBNET, SUBNET_RANGE = "10.83.0.0/16", "machines", "10.83.0.0/17"
LONGEST_S, STEP_S = 60.0, 2.0
PURPOSE = {"isoflop-made": "network"}


class Network:
    """Makes what is missing, once per region, and changes nothing that is there.

    A network per region is kept when the last machine goes: it costs nothing.
    """

    def __init__(self, azure: Azure, settings: AzureSettings, clock: Clock) -> None:
        self._azure, self._settings, self._clock = azure, settings, clock
        self._known: dict[str, Place] = {}
        self._lock = threading.Lock()

    def of(self, region: str) -> Place:
        """Where machines of `region` are put. Raises: CapacityError, QuotaError, AuthError, TransientError."""
        with self._lock:  # two makers of one network get in each other's way
            known = self._known.get(region)
            if known is None:
                known = self._known[region] = self._made(region)
            return known

    def _made(self, region: str) -> Place:
        if not self._settings.control_cidr:
            raise CapacityError(
                NAME,
                f"providers.{NAME}.control_cidr is missing: the address range of this control plane, to which alone"
                " machines open SSH, such as 198.51.100.7/32",
                Scope.PROVIDER,
            )
        azure = self._azure
        self._ensure(azure.group_path, GROUP_VERSION, {"location": region, "tags": PURPOSE})
        guard = self._ensure(
            self._path("networkSecurityGroups", self._guard_name(region)), NETWORK_VERSION, self._guard(region)
        )
        own = self._settings.subnets.get(region)
        if own:
            return Place(own, guard)
        network = self._ensure(self._path("virtualNetworks", f"isoflop-{region}"), NETWORK_VERSION, _net(region))
        return Place(f"{network}/subnets/{SUBNET}", guard)

    def _path(self, kind: str, name: str) -> str:
        return f"{self._azure.group_path}/providers/Microsoft.Network/{kind}/{name}"

    def _guard_name(self, region: str) -> str:
        """Another range or port is another guard: machines that are held keep theirs."""
        rule = f"{self._settings.control_cidr} {self._settings.ssh_port}"
        return f"isoflop-{region}-{sha256(rule.encode()).hexdigest()[:8]}"

    def _guard(self, region: str) -> dict[str, object]:
        rule = {
            "name": "ssh-from-the-control-plane",
            "properties": {
                "protocol": "Tcp",
                "sourcePortRange": "*",
                "destinationPortRange": str(self._settings.ssh_port),
                "sourceAddressPrefix": self._settings.control_cidr,
                "destinationAddressPrefix": "*",
                "access": "Allow",
                "priority": 100,
                "direction": "Inbound",
            },
        }
        return {"location": region, "tags": PURPOSE, "properties": {"securityRules": [rule]}}

    def _ensure(self, path: str, version: str, body: Mapping[str, object]) -> str:
        """The resource id of what is at `path`, made where there is nothing."""
        found = self._azure.resource(path, version)
        if found is None:
            found = self._azure.put(path, version, body)
        waited_s = 0.0
        while _unfinished(found):
            if waited_s >= LONGEST_S:
                raise TransientError(NAME, f"{path.rpartition('/')[2]} is not ready after {waited_s:g} s", 10.0)
            self._clock.sleep(STEP_S)
            waited_s += STEP_S
            found = self._azure.resource(path, version) or found
        return f"{self._azure.subscription_path}{path}"


def _unfinished(found: Document) -> bool:
    return found.within("properties").text("provisioningState", "Succeeded") in {"Creating", "Updating"}


def _net(region: str) -> dict[str, object]:
    return {
        "location": region,
        "tags": PURPOSE,
        "properties": {
            "addressSpace": {"addressPrefixes": [RANGE]},
            "subnets": [{"name": SUBNET, "properties": {"addressPrefix": SUBNET_RANGE}}],
        },
    }
