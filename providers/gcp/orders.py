"""What is asked of Google for one machine: the body of `instances.insert`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Billing, Offer
from orchestrator.kit import machine
from orchestrator.kit.keys import LeaseKeys
from orchestrator.kit.tags import OWNER, TOKEN
from providers.gcp import names
from providers.gcp.settings import GcpSettings
from providers.gcp.shapes import disk_type, wanted
from providers.gcp.translate import offer_text

MOST_USER_DATA = 256 * 1024  # bytes of one metadata value
LONGEST_RUN_S, SHORTEST_RUN_S = 120 * 86400, 30  # of maxRunDuration


class Gang(NamedTuple):
    """The machines of one purchase."""

    owner: str
    token: str
    offer: Offer
    nodes: int

    @property
    def stem(self) -> str:
        """What their names begin with."""
        return names.stem(self.owner, self.token)


def body(
    gang: Gang, number: int, *, first: str, boot: Boot, keys: LeaseKeys, settings: GcpSettings
) -> Mapping[str, Any]:
    """The machine with that number; `first` is Google's number of the first one, "" for itself.

    Raises: UserError where the start-up text is too long.
    """
    offer, zone = gang.offer, gang.offer.zone
    asked = wanted(offer.instance_type)
    labels = {
        OWNER: names.label(gang.owner),
        TOKEN: names.label(gang.token),
        names.NODES: str(gang.nodes),
        names.NUMBER: str(number),
    }
    if first:
        labels[names.LEASE] = first
    found: dict[str, Any] = {
        "name": names.node(gang.stem, number),
        "description": "Bought by isoflop",
        "machine_type": f"zones/{zone}/machineTypes/{asked.machine_type}",
        "scheduling": _scheduling(offer, boot),
        "labels": labels,
        "metadata": {"items": [{"key": key, "value": value} for key, value in _metadata(gang, boot, keys).items()]},
        "tags": {"items": [names.network_tag(gang.owner)]},
        "network_interfaces": [_interface(settings)],
        "disks": [_disk(asked.machine_type, zone, boot, settings)],
    }
    if asked.accelerator:
        accelerator = f"projects/{settings.project}/zones/{zone}/acceleratorTypes/{asked.accelerator}"
        found["guest_accelerators"] = [{"accelerator_type": accelerator, "accelerator_count": asked.cards}]
    return found


def _scheduling(offer: Offer, boot: Boot) -> dict[str, Any]:
    """Machines with GPUs cannot be moved under way. The limit is Google's own self-destruct, besides the machine's."""
    spot = offer.billing is Billing.SPOT
    found: dict[str, Any] = {
        "on_host_maintenance": "TERMINATE",
        "automatic_restart": False,
        "provisioning_model": "SPOT" if spot else "STANDARD",
    }
    if spot or boot.lifetime_s is not None:
        found["instance_termination_action"] = "DELETE"
    if boot.lifetime_s is not None:
        seconds = min(max(int(boot.lifetime_s), SHORTEST_RUN_S), LONGEST_RUN_S)
        found["max_run_duration"] = {"seconds": seconds}
    return found


def _metadata(gang: Gang, boot: Boot, keys: LeaseKeys) -> Mapping[str, str]:
    identity = machine.Identity((keys.login_public,), keys.host_public, keys.host_private)
    return {
        "user-data": machine.user_data(boot, identity, most=MOST_USER_DATA),
        "block-project-ssh-keys": "TRUE",
        OWNER: gang.owner,
        TOKEN: gang.token,
        names.OFFER: offer_text(gang.offer),
    }


def _interface(settings: GcpSettings) -> dict[str, Any]:
    found: dict[str, Any] = {"network": settings.network}
    if settings.subnetwork:
        found["subnetwork"] = settings.subnetwork
    if settings.public_ip:
        found["access_configs"] = [{"name": "External NAT", "type_": "ONE_TO_ONE_NAT"}]
    return found


def _disk(machine_type: str, zone: str, boot: Boot, settings: GcpSettings) -> dict[str, Any]:
    return {
        "boot": True,
        "auto_delete": True,
        "initialize_params": {
            "source_image": boot.image or settings.image,
            "disk_size_gb": settings.disk_gib,
            "disk_type": f"zones/{zone}/diskTypes/{disk_type(machine_type)}",
        },
    }
