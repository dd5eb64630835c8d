"""The levers of the simulated clouds over HTTP: move the clock, sell out, take back, let calls fail; and look."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from fnmatch import fnmatchcase
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.faults import Fault, Kind
from orchestrator.simulation.clouds.machines import End, Machine, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key
from orchestrator.simulation.clouds.wire import Wire

Orders = Mapping[str, Any]
FAULT_KEYS = frozenset(field.name for field in fields(Fault))


class Control:
    """What the control API does; also to be called without HTTP."""

    def __init__(self, market: Market, wires: Mapping[str, Wire]) -> None:
        self._market, self._wires = market, wires

    def look(self) -> dict[str, Any]:
        """The clock, every machine that is not gone, quotas, faults of the simulators themselves."""
        now = self._market.clock.now()
        clouds = {key.provider for key in self._market.pools}
        held = [m for cloud in sorted(clouds) for m in self._market.machines(cloud) if m.phase(now) is not Phase.GONE]
        return {
            "now": now.isoformat(),
            "machines": [machine_json(machine, self._market) for machine in held],
            "quotas": {cloud: [state._asdict() for state in self._market.quotas(cloud)] for cloud in sorted(clouds)},
            "billed_usd": {cloud: self._market.billed_usd(cloud) for cloud in sorted(clouds)},
            "nonconforming": [line for wire in self._wires.values() for line in wire.nonconforming],
        }

    def log(self) -> dict[str, Any]:
        """What happened in the market, and every call that the clouds answered."""
        return {
            "market": [
                {"at": line.at.isoformat(), "provider": line.provider, "what": line.what, "detail": line.detail}
                for line in self._market.log()
            ],
            "calls": {
                name: [{**call._asdict(), "at": call.at.isoformat()} for call in wire.calls()]
                for name, wire in self._wires.items()
            },
        }

    def advance(self, orders: Orders) -> dict[str, Any]:
        """`seconds`: move the clock."""
        self._market.clock.advance(float(orders["seconds"]))
        return {"now": self._market.clock.now().isoformat()}

    def capacity(self, orders: Orders) -> dict[str, Any]:
        """`provider`, `where` (pattern of region/zone/type/billing), `nodes`: how many nodes those pools hold."""
        keys = self._keys(orders)
        for key in keys:
            self._market.set_capacity(key, int(orders["nodes"]))
        return {"pools": len(keys)}

    def prices(self, orders: Orders) -> dict[str, Any]:
        """`provider`, `where`, `factor`: multiply those prices from now on."""
        keys = frozenset(self._keys(orders))
        self._market.move_prices(float(orders["factor"]), keys.__contains__)
        return {"pools": len(keys)}

    def quota(self, orders: Orders) -> dict[str, Any]:
        """`provider`, `quota`, `limit` and, where it is a region's, `region`."""
        region = str(orders.get("region", ""))
        self._market.set_quota(str(orders["provider"]), str(orders["quota"]), float(orders["limit"]), region)
        return {}

    def fault(self, orders: Orders) -> dict[str, Any]:
        """The fields of a `Fault`. Raises: ValueError."""
        unknown = sorted(set(orders) - FAULT_KEYS)
        if unknown:
            raise ValueError(f"a fault has no {', '.join(unknown)} (known: {', '.join(sorted(FAULT_KEYS))})")
        self._market.script(Fault(**{**orders, "kind": Kind(orders["kind"])}))
        return {}

    def calm(self, orders: Orders) -> dict[str, Any]:
        """`provider` or nothing: forget faults."""
        self._market.unscript(str(orders.get("provider", "")))
        return {}

    def preempt(self, orders: Orders) -> dict[str, Any]:
        """`serial`, `notice_s`: take a machine back."""
        machine = self._market.end(int(orders["serial"]), End.PREEMPTED, notice_s=float(orders.get("notice_s", 120.0)))
        return machine_json(machine, self._market)

    def _keys(self, orders: Orders) -> tuple[Key, ...]:
        provider, pattern = str(orders["provider"]), str(orders.get("where", "*"))
        return tuple(
            key for key in self._market.pools if key.provider == provider and fnmatchcase("/".join(key[1:]), pattern)
        )


def machine_json(machine: Machine, market: Market) -> dict[str, Any]:
    """One machine as JSON."""
    now = market.clock.now()
    shown = {name: value for name, value in asdict(machine).items() if name not in {"key", "extra", "user_data"}}
    key = {**machine.key._asdict(), "billing": Billing(machine.key.billing).value}
    return {**json.loads(json.dumps(shown, default=str)), **key, "phase": machine.phase(now).value}


def application(control: Control) -> Starlette:
    """`GET /`, `GET /log`, and a POST for every lever, with its orders as a JSON object."""
    levers: dict[str, Callable[[Orders], dict[str, Any]]] = {
        "advance": control.advance,
        "capacity": control.capacity,
        "prices": control.prices,
        "quota": control.quota,
        "fault": control.fault,
        "calm": control.calm,
        "preempt": control.preempt,
    }

    async def look(_: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(control.look))

    async def log(_: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(control.log))

    async def pull(request: Request) -> JSONResponse:
        lever = levers.get(request.path_params["lever"])
        if lever is None:
            return JSONResponse({"error": f"no such lever; there are {', '.join(levers)}"}, 404)
        try:
            orders = await request.json()
            return JSONResponse(await run_in_threadpool(lever, orders))
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)

    return Starlette(routes=[Route("/", look), Route("/log", log), Route("/{lever}", pull, methods=["POST"])])
