"""What runs inside the actors, made from settings in the actor's own process."""

from __future__ import annotations

import os
import uuid
from functools import partial

from orchestrator.app import App
from orchestrator.config import Settings
from orchestrator.domain.contracts import Provider
from orchestrator.domain.plan import Plan
from orchestrator.domain.workload import Workload
from orchestrator.inventory import snapshot as inventory
from orchestrator.lifecycle.observed import Rules
from orchestrator.planning.plan import PlanOptions
from orchestrator.runtime.applier import Timeouts
from orchestrator.runtime.controller import Controller, ControllerSettings
from orchestrator.runtime.ray_host import Parts, RayGateway, environment
from orchestrator.runtime.remote import RemoteProvider

LOOK_S = 20.0  # a listing that takes longer holds nobody up: the provider's runs are blind until it answers


def parts(settings: Settings) -> Parts:
    """The control plane of `settings`."""
    return Parts(
        log=settings.control_dir / "log",
        environment=environment(),
        providers={name: partial(make_provider, settings, name) for name in settings.providers},
        controller=partial(make_controller, settings),
    )


def make_provider(settings: Settings, name: str) -> Provider:
    """One provider, its credentials resolved here and now."""
    return App(settings).provider(name)


def make_controller(settings: Settings, gateway: RayGateway) -> Controller:
    """The controller, reaching providers through `gateway` alone."""
    app = App(settings)
    return Controller(
        store=app.store(),
        gateway=gateway,
        launchers=app.launchers(),
        planner=partial(plan_to_buy, app, gateway),
        clock=app.clock,
        owner=settings.owner,
        # New for every incarnation: two that shared a name would share a fencing token.
        holder=f"{os.uname().nodename}/{os.getpid()}/{uuid.uuid4().hex[:8]}",
        settings=ControllerSettings(
            checkpoints=settings.home / "checkpoints",
            tick_s=settings.tick_s,
            leader_ttl_s=settings.leader_ttl_s,
            rules=Rules(approval=settings.approval),
            timeouts=Timeouts(
                acquire_s=settings.call_timeout_s,
                release_s=settings.call_timeout_s,
                look_s=min(LOOK_S, settings.call_timeout_s),
            ),
        ),
    )


def plan_to_buy(app: App, gateway: RayGateway, workload: Workload) -> Plan:
    """A plan on a fresh snapshot among what can be bought, every provider asked in its own process."""
    settings = app.settings
    snapshot = inventory.take(
        {name: RemoteProvider(name, gateway, timeout_s=settings.deadline_s) for name in gateway.names()},
        base=app.market(),
        accelerators=app.accelerators(),
        network=app.network(),
        calibration=app.parameters().calibration(),
        clock=app.clock,
        deadline_s=settings.deadline_s,
    )
    snapshot = app.standing(snapshot, buying=True)
    return app.plan(workload, snapshot, PlanOptions(buyable_only=True, max_price_age_s=settings.max_price_age_s))
