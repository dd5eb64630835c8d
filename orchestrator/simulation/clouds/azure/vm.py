"""One virtual machine of the simulated Azure, as its API shows it at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.simulation.clouds.azure.arm import stamp, text
from orchestrator.simulation.clouds.machines import Machine, Phase

STATES = {
    Phase.BOOTING: "Creating",
    Phase.RUNNING: "Succeeded",
    Phase.STOPPING: "Deleting",
    Phase.GONE: "Deleting",
}


@dataclass(slots=True, kw_only=True)
class Vm:
    """A machine's resource. One that found no room is a resource too, until it is deleted."""

    id: str
    vm_id: str
    body: Mapping[str, Any]  # of the request, which the API repeats but for its secrets
    created_at: datetime
    serial: int = 0  # of the market's machine; 0 where there was no room
    own_stop_s: float | None = None  # after so much running its operating system stops, and the bill does not
    deleted_at: datetime | None = None  # of one without a machine

    @property
    def name(self) -> str:
        """The last part of its id."""
        return self.id.rpartition("/")[2]

    @property
    def location(self) -> str:
        """Its region."""
        return text(self.body, "location")

    @property
    def card_id(self) -> str:
        """Of its network interface."""
        return f"{self._network}/networkInterfaces/{self.name}-card"

    @property
    def address_id(self) -> str:
        """Of its public address."""
        return f"{self._network}/publicIPAddresses/{self.name}-address"

    @property
    def _network(self) -> str:
        return f"{self.id.partition('/providers/')[0]}/providers/Microsoft.Network"

    def gone(self, machine: Machine | None, now: datetime) -> bool:
        """Whether the API no longer knows it."""
        if machine is None:
            return self.deleted_at is not None and now >= self.deleted_at + timedelta(seconds=5)
        return machine.phase(now) is Phase.GONE

    def state(self, machine: Machine | None, now: datetime) -> str:
        """Its provisioningState."""
        if machine is None:
            return "Failed" if self.deleted_at is None else "Deleting"
        return STATES[machine.phase(now)]

    def power(self, machine: Machine | None, now: datetime) -> str:
        """Its power state."""
        if machine is None:
            return "PowerState/deallocated"
        phase = machine.phase(now)
        if phase is Phase.BOOTING:
            return "PowerState/starting"
        if phase is not Phase.RUNNING:
            return "PowerState/stopping"
        ran_s = (now - machine.ready_at).total_seconds()
        return (
            "PowerState/stopped" if self.own_stop_s is not None and ran_s >= self.own_stop_s else "PowerState/running"
        )

    def shown(self, machine: Machine | None, now: datetime) -> dict[str, Any]:
        """As GET and lists have it."""
        asked = self.body["properties"]
        login = {name: value for name, value in asked.get("osProfile", {}).items() if name != "customData"}
        card = {"id": self.card_id, "properties": {"primary": True, "deleteOption": "Delete"}}
        properties = {
            **{name: asked[name] for name in ("hardwareProfile", "storageProfile") if name in asked},
            **{name: asked[name] for name in ("priority", "evictionPolicy", "billingProfile") if name in asked},
            "osProfile": login,
            "networkProfile": {"networkInterfaces": [card]},
            "vmId": self.vm_id,
            "provisioningState": self.state(machine, now),
            "timeCreated": stamp(self.created_at),
        }
        about = {name: self.body[name] for name in ("location", "tags", "zones", "identity") if name in self.body}
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines",
            **about,
            "properties": properties,
        }

    def status(self, machine: Machine | None, now: datetime) -> dict[str, Any]:
        """As the list of run-time states has it."""
        codes = [f"ProvisioningState/{self.state(machine, now).lower()}", self.power(machine, now)]
        view = {"statuses": [{"code": code, "level": "Info", "displayStatus": code} for code in codes]}
        return {
            "id": self.id.upper(),  # ids differ in case between Azure's answers
            "name": self.name,
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.location,
            "properties": {"instanceView": view},
        }
