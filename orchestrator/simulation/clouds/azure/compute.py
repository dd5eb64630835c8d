"""Virtual machines of the simulated Azure: made and deleted by operations that take their time."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.azure.arm import PROVIDER, Refusal, family, page, refused, reply, stamp, text
from orchestrator.simulation.clouds.azure.catalogue import CORES, SPOT_CORES, ZONES, Catalogue
from orchestrator.simulation.clouds.azure.network import Network
from orchestrator.simulation.clouds.azure.vm import Vm
from orchestrator.simulation.clouds.bootup import own_end_s
from orchestrator.simulation.clouds.machines import End, Machine
from orchestrator.simulation.clouds.market import Market, Purchase, Refused
from orchestrator.simulation.clouds.market import Refusal as Why
from orchestrator.simulation.clouds.pools import Key, Pool, chance
from orchestrator.simulation.clouds.wire import Reply, Request

PAGE = 50
DECIDES_S = 5.0  # until a creation knows that there is no room
EVICTS_S = 30.0  # of notice, by Scheduled Events on the machine
ASK_AGAIN = "5"
ENDS_BY_DELETION = "-X DELETE"  # in a start-up text: the machine asks for its own deletion
NO_ROOM = (
    "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more about"
    " improving likelihood of allocation success at http://aka.ms/allocation-guidance"
)


@dataclass(slots=True, kw_only=True)
class Operation:
    """A creation or a deletion under way."""

    id: str
    vm: Vm
    begun_at: datetime
    deletes: bool = False
    refusal: tuple[str, str] | None = None  # code and message of one that fails


class Compute:
    """The machines of one subscription. The caller holds the market's lock."""

    def __init__(self, market: Market, catalogue: Catalogue, network: Network, *, subscription: str) -> None:
        self._market, self._catalogue, self._network = market, catalogue, network
        self._subscription = subscription
        self._vms: dict[str, Vm] = {}  # by id in lower case
        self._operations: dict[str, Operation] = {}
        self._count = 0

    def put(self, request: Request) -> Reply:
        """Make a machine, or change the tags of the one that is there. Raises: Refusal."""
        body: Mapping[str, Any] = json.loads(request.body)
        self._network.require_group(request.path)
        known = self._found(request.path)
        if known is not None:
            if request.headers.get("if-none-match") == "*":
                return refused(
                    412, "PreconditionFailed", "The condition specified using HTTP conditional header(s) is not met."
                )
            known.body = {**known.body, "tags": body.get("tags", {})}
            return reply(known.shown(self._machine(known), self._now))
        if not isinstance(body.get("properties"), Mapping):
            raise Refusal(400, "InvalidParameter", "Required parameter 'properties' is missing (null).")
        self._network.require(body)
        pool, key = self._wanted(body)
        vm = self._fresh(request.path, body)
        refusal = self._bought(vm, pool, key, _start_up(body))
        self._vms[vm.id.lower()] = vm
        operation = self._begun(vm, refusal=refusal)
        shown = vm.shown(self._machine(vm), self._now)
        shown["properties"]["provisioningState"] = "Creating"
        return reply(shown, 201, **self._links(request, operation, "operations"))

    def get(self, request: Request) -> Reply:
        """One machine. Raises: Refusal."""
        self._network.require_group(request.path)
        vm = self._known(request.path)
        return reply(vm.shown(self._machine(vm), self._now))

    def delete(self, request: Request) -> Reply:
        """Begin to delete a machine; nothing where there is none."""
        self._network.require_group(request.path)
        vm = self._found(request.path)
        if vm is None:
            return Reply(204, b"")
        if vm.serial:
            self._market.end(vm.serial, End.USER)
        elif vm.deleted_at is None:
            vm.deleted_at = self._now
        operation = self._begun(vm, deletes=True)
        return reply(None, 202, **self._links(request, operation, "operations"))

    def evict(self, request: Request) -> Reply:
        """`POST .../simulateEviction`: a real call of Azure's. Raises: Refusal."""
        vm = self._known(request.path.rpartition("/")[0])
        if text(vm.body, "properties", "priority") != "Spot" or not vm.serial:
            raise Refusal(409, "OperationNotAllowed", "Simulate Eviction is for spot virtual machines.")
        self._market.end(vm.serial, End.PREEMPTED, notice_s=EVICTS_S)
        return Reply(204, b"")

    def listed(self, request: Request) -> Reply:
        """The machines of a group. Raises: Refusal."""
        self._network.require_group(request.path)
        return page(request, [vm.shown(self._machine(vm), self._now) for vm in self._visible(request.path)], PAGE)

    def listed_everywhere(self, request: Request) -> Reply:
        """The machines of the subscription, or what each of them does."""
        if request.param("statusOnly").lower() == "true":
            return page(request, [vm.status(self._machine(vm), self._now) for vm in self._visible("")], PAGE)
        return page(request, [vm.shown(self._machine(vm), self._now) for vm in self._visible("")], PAGE)

    def operation(self, request: Request) -> Reply:
        """How an operation stands. Raises: Refusal."""
        found = self._operations.get(request.path.rpartition("/")[2])
        if found is None:
            raise Refusal(404, "NotFound", "No such operation.")
        status = self._status(found)
        body: dict[str, Any] = {"startTime": stamp(found.begun_at), "status": status, "name": found.id}
        if status == "InProgress":
            return reply(body, Retry_After=ASK_AGAIN)
        body["endTime"] = stamp(self._now)
        if status == "Failed" and found.refusal is not None:
            body["error"] = {"code": found.refusal[0], "message": found.refusal[1]}
        return reply(body)

    def visible(self, path: str) -> list[Vm]:
        """Machines of the group in `path` that listings show."""
        return self._visible(path)

    # Inside

    @property
    def _now(self) -> datetime:
        return self._market.clock.now()

    def _machine(self, vm: Vm) -> Machine | None:
        return self._market.machine(vm.serial) if vm.serial else None

    def _found(self, path: str) -> Vm | None:
        vm = self._vms.get(path.lower())
        return None if vm is None or vm.gone(self._machine(vm), self._now) else vm

    def _known(self, path: str) -> Vm:
        vm = self._found(path)
        if vm is None:
            short = "/".join(path.split("/")[-3:])
            raise Refusal(404, "ResourceNotFound", f"The Resource '{short}' was not found.")
        return vm

    def _visible(self, path: str) -> list[Vm]:
        group = path.lower().partition("/providers/")[0]
        found = []
        for vm in self._vms.values():
            machine = self._machine(vm)
            if vm.gone(machine, self._now) or not vm.id.lower().startswith(group):
                continue
            if machine is None or machine.visible_at <= self._now:
                found.append(vm)
        return found

    def _wanted(self, body: Mapping[str, Any]) -> tuple[Pool, Key]:
        """Which pool a request is for. Raises: Refusal."""
        region, size = text(body, "location").lower(), text(body, "properties", "hardwareProfile", "vmSize")
        billing = Billing.SPOT if text(body, "properties", "priority") == "Spot" else Billing.ON_DEMAND
        zones = body.get("zones") or [""]
        if region not in self._catalogue.regions:
            message = f"The provided location '{region}' is not available for resource type 'virtualMachines'."
            raise Refusal(400, "LocationNotAvailableForResourceType", message)
        if not self._catalogue.sold(size):
            message = f"The value {size} provided for the VM size is not valid."
            raise Refusal(400, "InvalidParameter", message)
        if zones[0] and zones[0] not in ZONES:
            raise Refusal(400, "InvalidParameter", f"The zone(s) '{zones[0]}' is not supported.")
        pool = self._catalogue.pool(region, size, billing, zones[0])
        if pool is None or self._catalogue.barred(region, size, zones[0]):
            message = (
                "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
                f"{size}' is currently not available in location '{region}'. Please try another size or deploy to a"
                " different location or different zone."
            )
            raise Refusal(409, "SkuNotAvailable", message)
        return pool, pool.key

    def _fresh(self, path: str, body: Mapping[str, Any]) -> Vm:
        self._count += 1
        bits = int(chance(self._market.seed, "vmId", self._count) * 2**56) << 64 | self._count
        return Vm(id=path, vm_id=str(UUID(int=bits)), body=body, created_at=self._now)

    def _bought(self, vm: Vm, pool: Pool, key: Key, start_up: str) -> tuple[str, str] | None:
        """Buy the machine; what the creation fails with where there is no room. Raises: Refusal for a quota."""
        spot = key.billing is Billing.SPOT
        names = (SPOT_CORES,) if spot else (family(key.instance_type), CORES)
        self._within(names, key.region, pool.vcpus)
        own_s = own_end_s(start_up)
        deletes = ENDS_BY_DELETION in start_up
        vm.own_stop_s = None if deletes else own_s
        purchase = Purchase(
            key=key,
            account=self._subscription,
            names=(vm.name,),
            tags={str(name): str(value) for name, value in vm.body.get("tags", {}).items()},
            charges=tuple((name, place, pool.vcpus) for name in names for place in (key.region, "")),
            lifetime_s=own_s if deletes else None,
            notice_s=EVICTS_S,
            user_data=start_up,
        )
        try:
            (machine,) = self._market.buy(purchase)
        except Refused as error:
            if error.why is Why.QUOTA:
                raise self._over(error.quota, key.region, pool.vcpus) from error
            return ("ZonalAllocationFailed" if vm.body.get("zones") else "AllocationFailed"), NO_ROOM
        vm.serial, vm.created_at = machine.serial, machine.bought_at
        return None

    def _within(self, names: tuple[str, ...], region: str, vcpus: float) -> None:
        for name in names:
            if self._market.used(PROVIDER, name, region) + vcpus > self._catalogue.limit(name, region):
                raise self._over(name, region, vcpus)

    def _over(self, name: str, region: str, vcpus: float) -> Refusal:
        used, limit = self._market.used(PROVIDER, name, region), self._catalogue.limit(name, region)
        shown = "LowPriorityCores" if name == SPOT_CORES else f"{name} Cores"
        message = (
            f"Operation could not be completed as it results in exceeding approved {shown} quota. Additional details -"
            f" Deployment Model: Resource Manager, Location: {region}, Current Limit: {limit:g}, Current Usage:"
            f" {used:g}, Additional Required: {vcpus:g}, (Minimum) New Limit Required: {used + vcpus:g}."
        )
        return Refusal(409, "OperationNotAllowed", message)

    def _begun(self, vm: Vm, *, deletes: bool = False, refusal: tuple[str, str] | None = None) -> Operation:
        self._count += 1
        operation = Operation(
            id=str(UUID(int=self._count)), vm=vm, begun_at=self._now, deletes=deletes, refusal=refusal
        )
        self._operations[operation.id] = operation
        return operation

    def _links(self, request: Request, operation: Operation, kind: str) -> dict[str, str]:
        root = f"{request.base_url}/subscriptions/{self._subscription}/providers/Microsoft.Compute"
        address = f"{root}/locations/{operation.vm.location}/{kind}/{operation.id}?api-version=2023-07-01"
        return {"Azure_AsyncOperation": address, "Retry_After": ASK_AGAIN}

    def _status(self, operation: Operation) -> str:
        vm, machine = operation.vm, self._machine(operation.vm)
        if operation.deletes:
            return "Succeeded" if vm.gone(machine, self._now) else "InProgress"
        if operation.refusal is not None:
            decided = self._now >= operation.begun_at + timedelta(seconds=DECIDES_S)
            return "Failed" if decided else "InProgress"
        if machine is None or vm.gone(machine, self._now):
            return "Canceled"
        return "InProgress" if vm.state(machine, self._now) == "Creating" else "Succeeded"


def _start_up(body: Mapping[str, Any]) -> str:
    """The start-up text of a request. Raises: Refusal."""
    encoded = text(body, "properties", "osProfile", "customData")
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        message = "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters."
        raise Refusal(400, "InvalidParameter", message) from error
