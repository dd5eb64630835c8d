"""Reads what a client asks the simulated Google Cloud to make, and refuses what Google would refuse."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.bootup import own_end_s
from orchestrator.simulation.clouds.gcp.shapes import Shape
from orchestrator.simulation.clouds.pools import Key

NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
LABEL_KEY, LABEL_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
MOST_METADATA = 256 * 1024  # bytes of one value
LONGEST_RUN_S, SHORTEST_RUN_S = 120 * 86400, 30
SHOWN = ("machineType", "scheduling", "metadata", "tags", "guestAccelerators")  # of a request, repeated as it came


class Bad(Exception):
    """A request that is refused, in Google's words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        super().__init__(message)


class Order(NamedTuple):
    """A machine to be bought."""

    name: str
    key: Key
    form: Shape
    lifetime_s: float | None
    labels: Mapping[str, str]
    user_data: str
    extra: Mapping[str, Any]


def invalid(field: str, value: object, why: str) -> Bad:
    """A 400 of the usual form."""
    return Bad(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def request_id(value: str) -> str:
    """Raises: Bad where it is no UUID, or the zero one."""
    if not value:
        return ""
    try:
        number = uuid.UUID(value).int
    except ValueError:
        number = 0
    if not number:
        raise invalid("requestId", value, "It must be a valid UUID other than zero.")
    return value


def order(body: Mapping[str, Any], zone: str, forms: Mapping[Key, Shape]) -> Order:
    """What an `instances.insert` in `zone` orders. Raises: Bad."""
    name = _name(body)
    labels = _labels(body.get("labels", {}))
    billing, lifetime_s = _scheduling(body.get("scheduling", {}))
    key, form = _sold(body, zone, billing, forms)
    if body.get("scheduling", {}).get("onHostMaintenance") != "TERMINATE":
        why = "Instances with guest accelerators do not support live migration."
        raise Bad(400, "badRequest", why)
    _disks(body.get("disks", []), zone)
    interfaces = body.get("networkInterfaces") or []
    if not interfaces:
        raise invalid("resource.networkInterfaces", "", "At least one network interface is required.")
    items = body.get("metadata", {}).get("items", [])
    for item in items:
        if len(item.get("value", "").encode()) > MOST_METADATA:
            raise invalid("resource.metadata", item.get("key"), "Value for metadata is too long.")
    user_data = next((item["value"] for item in items if item.get("key") == "user-data"), "")
    ends = [end for end in (lifetime_s, own_end_s(user_data)) if end is not None]
    extra = {field: body[field] for field in SHOWN if field in body}
    extra["public"] = bool(interfaces[0].get("accessConfigs"))
    return Order(name, key, form, min(ends, default=None), labels, user_data, extra)


def firewall(body: Mapping[str, Any]) -> None:
    """Raises: Bad for a rule that opens nothing, or to no addresses."""
    _name(body)
    for block in body.get("sourceRanges", []):
        try:
            ipaddress.ip_network(block)
        except ValueError as error:
            raise invalid("resource.sourceRanges", block, "Must be an IP address range in CIDR format.") from error
    if not body.get("allowed") and not body.get("denied"):
        raise invalid("resource.allowed", "", "Must specify at least one rule.")


def _name(body: Mapping[str, Any]) -> str:
    name = str(body.get("name", ""))
    if not NAME.fullmatch(name):
        raise invalid("resource.name", name, f"Must be a match of regex '{NAME.pattern}'")
    return name


def _labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            why = "Label keys and values hold lower-case letters, digits, '_' and '-', at most 63 of them."
            raise invalid("resource.labels", f"{key}={value}", why)
    return labels


def _scheduling(asked: Mapping[str, Any]) -> tuple[Billing, float | None]:
    model = asked.get("provisioningModel", "STANDARD")
    if model not in {"STANDARD", "SPOT"}:
        raise Bad(400, "badRequest", f"The provisioning model {model} is not simulated.")
    limit = asked.get("maxRunDuration")
    if asked.get("automaticRestart", model == "STANDARD") and (model == "SPOT" or limit):
        raise Bad(400, "badRequest", "Scheduling must have automaticRestart be false when it is Spot or limited.")
    if limit and not asked.get("instanceTerminationAction"):
        raise Bad(400, "badRequest", "maxRunDuration needs an instanceTerminationAction.")
    if asked.get("instanceTerminationAction") and not limit and model != "SPOT":
        raise Bad(400, "badRequest", "instanceTerminationAction needs a Spot VM or a limited run duration.")
    seconds = None if not limit else float(limit.get("seconds", 0))
    if seconds is not None and not SHORTEST_RUN_S <= seconds <= LONGEST_RUN_S:
        why = f"It must be between {SHORTEST_RUN_S} and {LONGEST_RUN_S} seconds."
        raise invalid("resource.scheduling.maxRunDuration", seconds, why)
    return (Billing.SPOT if model == "SPOT" else Billing.ON_DEMAND), seconds


def _sold(body: Mapping[str, Any], zone: str, billing: Billing, forms: Mapping[Key, Shape]) -> tuple[Key, Shape]:
    machine_type = _last(str(body.get("machineType", "")), "machineTypes", zone)
    guests = body.get("guestAccelerators", [])
    here = [(key, form) for key, form in forms.items() if key.zone == zone and form.machine_type == machine_type]
    if not here:
        raise Bad(404, "notFound", f"The resource 'zones/{zone}/machineTypes/{machine_type}' was not found")
    if guests and not any(form.attached for _, form in here):
        raise Bad(400, "badRequest", f"{machine_type} has its own accelerators; guestAccelerators cannot be chosen.")
    asked = [(_last(guest["acceleratorType"], "acceleratorTypes", zone), guest["acceleratorCount"]) for guest in guests]
    for key, form in here:
        wanted = [(form.accelerator, form.cards)] if form.attached else []
        if key.billing is billing and asked == wanted:
            return key, form
    raise Bad(400, "badRequest", f"{machine_type} with accelerators {asked} is not sold as {billing.value} in {zone}.")


def _last(url: str, collection: str, zone: str) -> str:
    found = re.fullmatch(rf"(?:.*/)?zones/([^/]+)/{collection}/([^/]+)", url)
    if not found or found.group(1) != zone:
        raise invalid(f"resource.{collection}", url, "The URL is malformed, or of another zone.")
    return found.group(2)


def _disks(disks: list[Mapping[str, Any]], zone: str) -> None:
    boots = [disk for disk in disks if disk.get("boot")]
    if len(boots) != 1 or "/images/" not in boots[0].get("initializeParams", {}).get("sourceImage", ""):
        raise invalid("resource.disks", len(disks), "Boot disk must be specified, with a source image.")
    kind = boots[0]["initializeParams"].get("diskType", "")
    if kind and not re.search(rf"zones/{zone}/diskTypes/", kind):
        raise invalid("resource.disks[0].initializeParams.diskType", kind, "The URL is of another zone.")
