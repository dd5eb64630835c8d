"""Groups and networks of the simulated Azure: what must be there before a machine, and what comes with one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.simulation.clouds.azure.arm import Refusal, reply, text
from orchestrator.simulation.clouds.azure.vm import Vm
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.wire import Reply

UPDATING_S = 3.0  # until a new network is ready


class Network:
    """Resources by their ids in lower case."""

    def __init__(self, market: Market, regions: tuple[str, ...]) -> None:
        self._market, self._regions = market, regions
        self._groups: dict[str, dict[str, Any]] = {}
        self._made: dict[str, dict[str, Any]] = {}
        self._ready_at: dict[str, float] = {}

    def require_group(self, path: str) -> None:
        """Raises: Refusal where the resource group in `path` is missing."""
        group = re.search(r"/resourcegroups/([^/]+)", path, re.IGNORECASE)
        if group is None or group[1].lower() not in self._groups:
            name = group[1] if group else ""
            raise Refusal(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")

    def put_group(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Make a resource group, or say that it is there."""
        name = path.rpartition("/")[2]
        if text(body, "location") not in self._regions:
            message = f"The provided location '{text(body, 'location')}' is not available for resource group."
            raise Refusal(400, "LocationNotAvailableForResourceGroup", message)
        known = self._groups.get(name.lower())
        if known is not None and known["location"] != text(body, "location"):
            message = f"The resource group '{name}' already exists in location '{known['location']}'."
            raise Refusal(409, "InvalidResourceGroupLocation", message)
        made = {
            "id": path,
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": text(body, "location"),
            "tags": body.get("tags", {}),
            "properties": {"provisioningState": "Succeeded"},
        }
        self._groups[name.lower()] = made
        return reply(made, 201 if known is None else 200)

    def group(self, path: str) -> Reply:
        """The resource group. Raises: Refusal."""
        self.require_group(path)
        return reply(self._groups[path.rpartition("/")[2].lower()])

    def put(self, path: str, body: Mapping[str, Any], kind: str) -> Reply:
        """Make a network or a network security group, which takes UPDATING_S."""
        self.require_group(path)
        is_new = path.lower() not in self._made
        properties = dict(body.get("properties") or {})
        for name in ("subnets", "securityRules"):
            if name in properties:
                properties[name] = [{**item, "id": f"{path}/{name}/{item['name']}"} for item in properties[name]]
        self._made[path.lower()] = {
            "id": path,
            "name": path.rpartition("/")[2],
            "type": f"Microsoft.Network/{kind}",
            "location": text(body, "location"),
            "tags": body.get("tags", {}),
            "properties": properties,
        }
        self._ready_at[path.lower()] = self._market.clock.now().timestamp() + UPDATING_S
        return reply(self._seen(path), 201 if is_new else 200)

    def get(self, path: str) -> Reply:
        """A network or a network security group. Raises: Refusal."""
        self.require_group(path)
        if path.lower() not in self._made:
            raise Refusal(404, "ResourceNotFound", f"The Resource '{path}' was not found.")
        return reply(self._seen(path))

    def require(self, body: Mapping[str, Any]) -> None:
        """Raises: Refusal where a machine's request names a subnet or guard that is not there."""
        for card in body["properties"].get("networkProfile", {}).get("networkInterfaceConfigurations", ()):
            about = card.get("properties", {})
            wanted = [text(about, "networkSecurityGroup", "id")]
            wanted += [text(one, "properties", "subnet", "id") for one in about.get("ipConfigurations", ())]
            for name in filter(None, wanted):
                owner, _, subnet = name.lower().partition("/subnets/")
                made = self._made.get(owner, {})
                subnets = {item["name"].lower() for item in made.get("properties", {}).get("subnets", ())}
                if not made or (subnet and subnet not in subnets):
                    message = f"Resource {name} referenced by the resource was not found."
                    raise Refusal(400, "InvalidResourceReference", message)

    def rules(self) -> tuple[Mapping[str, Any], ...]:
        """Every rule of every network security group, for tests."""
        found = (made["properties"].get("securityRules", ()) for made in self._made.values())
        return tuple(rule for rules in found for rule in rules)

    def cards(self, path: str, machines: Iterable[Vm]) -> Reply:
        """The network interfaces of machines."""
        self.require_group(path)
        return reply({"value": [_card(each) for each in machines if each.serial]})

    def addresses(self, path: str, machines: Iterable[Vm]) -> Reply:
        """The public addresses of machines."""
        self.require_group(path)
        rows = []
        for each in machines:
            machine = self._market.machine(each.serial)
            if machine is not None:
                rows.append(_address(each, machine.address))
        return reply({"value": rows})

    def _seen(self, path: str) -> dict[str, Any]:
        made = self._made[path.lower()]
        ready = self._market.clock.now().timestamp() >= self._ready_at[path.lower()]
        state = "Succeeded" if ready else "Updating"
        return {**made, "properties": {**made["properties"], "provisioningState": state}}


def _card(vm: Vm) -> dict[str, Any]:
    return {
        "id": vm.card_id,
        "name": vm.card_id.rpartition("/")[2],
        "type": "Microsoft.Network/networkInterfaces",
        "location": vm.location,
        "properties": {
            "provisioningState": "Succeeded",
            "virtualMachine": {"id": vm.id},
            "ipConfigurations": [
                {
                    "id": f"{vm.card_id}/ipConfigurations/main",
                    "name": "main",
                    "properties": {"publicIPAddress": {"id": vm.address_id}, "primary": True},
                }
            ],
        },
    }


def _address(vm: Vm, address: str) -> dict[str, Any]:
    return {
        "id": vm.address_id,
        "name": vm.address_id.rpartition("/")[2],
        "type": "Microsoft.Network/publicIPAddresses",
        "location": vm.location,
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {
            "provisioningState": "Succeeded",
            "ipAddress": address,
            "publicIPAllocationMethod": "Static",
            "ipConfiguration": {"id": f"{vm.card_id.upper()}/ipConfigurations/main"},  # ids differ in case in life too
        },
    }
