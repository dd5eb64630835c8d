"""What one project has at the simulated Google Cloud: machines of the market, operations, firewall rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.gcp.documents import Operation
from orchestrator.simulation.clouds.gcp.requests import Bad, Order, firewall
from orchestrator.simulation.clouds.gcp.shapes import NAME, Shape
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.market import Market, Purchase, Refusal, Refused

INSERT_S, REFUSE_S, RULE_S = 8.0, 4.0, 2.0  # until an operation is done
REMEMBERED_S = 3600.0  # for so long the same request id gives the same operation
NOTICE_S = 30.0  # of a preemption
ALL_REGIONS = "GPUS_ALL_REGIONS"
# Regional quotas by accelerator; newer GPUs have none in this API on demand.
METRICS: Mapping[str, str] = {
    "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
    "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
    "nvidia-l4": "NVIDIA_L4_GPUS",
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
    "nvidia-tesla-p100": "NVIDIA_P100_GPUS",
    "nvidia-tesla-p4": "NVIDIA_P4_GPUS",
}
SPOT_METRICS: Mapping[str, str] = {
    **{accelerator: f"PREEMPTIBLE_{metric}" for accelerator, metric in METRICS.items()},
    "nvidia-h100-80gb": "PREEMPTIBLE_NVIDIA_H100_GPUS",
}


class Books:
    """Not safe between threads: callers hold the market's lock."""

    def __init__(self, market: Market, project: str) -> None:
        self.market, self._project = market, project
        self._operations: dict[str, Operation] = {}
        self._by_request: dict[str, Operation] = {}
        self._firewalls: dict[str, Mapping[str, Any]] = {}

    def machines(self, zone: str = "") -> Iterator[Machine]:
        """Those that are not gone."""
        now = self.market.clock.now()
        for machine in self.market.machines(NAME, self._project):
            if machine.phase(now) is not Phase.GONE and zone in {"", machine.key.zone}:
                yield machine

    def machine(self, zone: str, name: str) -> Machine:
        """Raises: Bad where there is none (404)."""
        for machine in self.machines(zone):
            if machine.name == name:
                return machine
        raise Bad(
            404, "notFound", f"The resource 'projects/{self._project}/zones/{zone}/instances/{name}' was not found"
        )

    def repeated(self, request_id: str) -> Operation | None:
        """The operation that a request of this id began, while it is remembered."""
        operation = self._by_request.get(request_id) if request_id else None
        if operation is None or self._now() > operation.began + timedelta(seconds=REMEMBERED_S):
            return None
        return operation

    def insert(self, order: Order, request_id: str) -> Operation:
        """Sell a machine, or begin an operation that will say why not. Raises: Bad."""
        zone, target = order.key.zone, f"zones/{order.key.zone}/instances/{order.name}"
        if any(machine.name == order.name for machine in self.machines(zone)):
            raise Bad(409, "alreadyExists", f"The resource 'projects/{self._project}/{target}' already exists")
        purchase = Purchase(
            key=order.key,
            account=self._project,
            names=(order.name,),
            token=request_id,
            tags=order.labels,
            charges=self._charges(order.form, order.key.region, order.key.billing),
            lifetime_s=order.lifetime_s,
            notice_s=NOTICE_S,
            user_data=order.user_data,
            extra=order.extra,
        )
        try:
            (machine,) = self.market.buy(purchase)
        except Refused as refused:
            return self._refused(order, refused, target, request_id)
        return self._begin("insert", zone, target, machine.serial, request_id, lasts_s=INSERT_S)

    def delete(self, zone: str, name: str, request_id: str) -> Operation:
        """End a machine. Raises: Bad where there is none (404)."""
        machine = self.market.end(self.machine(zone, name).serial, End.USER)
        gone_at = machine.gone_at or self._now()
        lasts_s = (gone_at - self._now()).total_seconds()
        target = f"zones/{zone}/instances/{name}"
        return self._begin("delete", zone, target, machine.serial, request_id, lasts_s=lasts_s)

    def firewall(self, name: str) -> Mapping[str, Any]:
        """Raises: Bad (404)."""
        if name not in self._firewalls:
            raise Bad(404, "notFound", f"The resource 'projects/{self._project}/global/firewalls/{name}' was not found")
        return self._firewalls[name]

    def open(self, body: Mapping[str, Any], request_id: str) -> Operation:
        """Make a firewall rule. Raises: Bad."""
        firewall(body)
        name = str(body["name"])
        if name in self._firewalls:
            raise Bad(409, "alreadyExists", f"The resource 'global/firewalls/{name}' already exists")
        self._firewalls[name] = {"direction": "INGRESS", "priority": 1000, **body, "kind": "compute#firewall"}
        return self._begin("insert", "", f"global/firewalls/{name}", 0, request_id, lasts_s=RULE_S)

    def reopen(self, name: str, body: Mapping[str, Any], request_id: str) -> Operation:
        """Change a firewall rule. Raises: Bad."""
        changed = {**self.firewall(name), **body}
        firewall(changed)
        self._firewalls[name] = changed
        return self._begin("patch", "", f"global/firewalls/{name}", 0, request_id, lasts_s=RULE_S)

    def operation(self, zone: str, name: str) -> Operation:
        """One of a zone, or of none. Raises: Bad (404)."""
        for operation in self.operations():
            if (operation.name, operation.zone) == (name, zone):
                return operation
        raise Bad(404, "notFound", f"The resource 'operations/{name}' was not found")

    def operations(self) -> Iterator[Operation]:
        """Every operation of the project, the vendor's own preemptions too."""
        yield from self._operations.values()
        now = self._now()
        for machine in self.market.machines(NAME, self._project):
            if machine.end is End.PREEMPTED and machine.warned_at is not None and machine.warned_at <= now:
                yield Operation(
                    name=f"systemevent-{machine.serial}",
                    number=2_000_000 + machine.serial,
                    kind="compute.instances.preempted",
                    zone=machine.key.zone,
                    target=f"zones/{machine.key.zone}/instances/{machine.name}",
                    target_number=machine.serial,
                    began=machine.warned_at,
                    done=machine.gone_at or now,
                    user="system",
                )

    def _charges(self, form: Shape, region: str, billing: Billing) -> tuple[tuple[str, str, float], ...]:
        """Spot draws on the quota for it where the project has one, else on the usual one."""
        limited = {(state.name, state.region) for state in self.market.quotas(NAME)}
        metric = METRICS.get(form.accelerator)
        spot = SPOT_METRICS.get(form.accelerator)
        if billing is Billing.SPOT and (spot, region) in limited:
            metric = spot
        charges = [] if metric is None else [(metric, region, float(form.cards))]
        if form.accelerator in METRICS:
            charges.append((ALL_REGIONS, "", float(form.cards)))
        return tuple(charges)

    def _refused(self, order: Order, refused: Refused, target: str, request_id: str) -> Operation:
        if refused.why is Refusal.UNKNOWN:
            raise Bad(404, "notFound", refused.detail) from refused
        if refused.why is Refusal.QUOTA:
            where = "globally" if refused.quota == ALL_REGIONS else f"in region {order.key.region}"
            limit = next((s.limit for s in self.market.quotas(NAME) if s.name == refused.quota), 0.0)
            message = f"Quota '{refused.quota}' exceeded.  Limit: {limit:.1f} {where}."
            if refused.quota != ALL_REGIONS:
                raise Bad(403, "quotaExceeded", message) from refused
            code, status = "QUOTA_EXCEEDED", 403
        else:
            detailed = order.key.billing is Billing.SPOT
            code, status = f"ZONE_RESOURCE_POOL_EXHAUSTED{'_WITH_DETAILS' if detailed else ''}", 503
            message = (
                f"The zone 'projects/{self._project}/zones/{order.key.zone}' does not have enough resources available "
                "to fulfill the request.  Try a different zone, or try again later."
            )
        return self._begin(
            "insert", order.key.zone, target, 0, request_id, lasts_s=REFUSE_S, error=(code, message, status)
        )

    def _begin(
        self,
        kind: str,
        zone: str,
        target: str,
        serial: int,
        request_id: str,
        *,
        lasts_s: float,
        error: tuple[str, str, int] = ("", "", 0),
    ) -> Operation:
        number, now = len(self._operations) + 1, self._now()
        operation = Operation(
            name=f"operation-{int(now.timestamp())}-{number:08x}",
            number=1_000_000 + number,
            kind=kind,
            zone=zone,
            target=target,
            target_number=serial,
            began=now,
            done=now + timedelta(seconds=lasts_s),
            error=error[0],
            message=error[1],
            http_status=error[2],
        )
        self._operations[operation.name] = operation
        if request_id:
            self._by_request[request_id] = operation
        return operation

    def _now(self) -> datetime:
        return self.market.clock.now()
