"""EC2's words for how a machine of the market stands and why it ended."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.aws.network import made_id
from orchestrator.simulation.clouds.machines import End, Machine, Phase

NOTICE_S = 120.0
STATES = {
    Phase.BOOTING: (0, "pending"),
    Phase.RUNNING: (16, "running"),
    Phase.STOPPING: (32, "shutting-down"),
    Phase.GONE: (48, "terminated"),
}
REASONS = {
    End.USER: ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"),
    End.LIFETIME: ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"),
    End.FAILED: ("Server.InternalError", "Server.InternalError: Internal error on launch"),
}
SPOT_ENDED = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
RETIRED = ("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement")


def id_of(machine: Machine) -> str:
    """The instance's id."""
    return made_id("i", machine.extra["reservation"], machine.serial)


def request_of(machine: Machine) -> str:
    """The id of its spot request."""
    return f"sir-{hashlib.sha256(str(machine.serial).encode()).hexdigest()[:8]}"


def reason_of(machine: Machine) -> tuple[str, str]:
    """Code and message of why it ended."""
    if machine.end is End.PREEMPTED:
        return SPOT_ENDED if machine.key.billing is Billing.SPOT else RETIRED
    return REASONS[machine.end or End.USER]


def request_status(machine: Machine, now: datetime) -> tuple[str, datetime]:
    """Code of the spot request's status, and since when."""
    phase, ends_at = machine.phase(now), machine.ends_at or now
    if phase in {Phase.STOPPING, Phase.GONE}:
        reason = "instance-terminated-no-capacity" if machine.end is End.PREEMPTED else "instance-terminated-by-user"
        return reason, ends_at
    if machine.warned(now):
        return "marked-for-termination", ends_at - timedelta(seconds=NOTICE_S)
    return "fulfilled", machine.bought_at
