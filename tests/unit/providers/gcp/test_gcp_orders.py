"""What is asked of Google for one machine, and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.configuration import read
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Billing
from orchestrator.kit.keys import KeyRing
from orchestrator.simulation.clouds.bootup import logins, own_end_s
from orchestrator.testing import builders
from providers.gcp.orders import Gang, body
from providers.gcp.settings import GcpSettings

SETTINGS = GcpSettings(project="some-project")


def asked(
    tmp_path: Path,
    *,
    instance_type: str = "a2-highgpu-1g",
    billing: Billing = Billing.SPOT,
    boot: Boot | None = None,
    settings: GcpSettings = SETTINGS,
) -> Mapping[str, Any]:
    offer = replace(builders.offer(), zone="us-central1-a", instance_type=instance_type, billing=billing)
    gang = Gang("owner", "token", offer, 2)
    keys = KeyRing(tmp_path).of(gang.stem)
    return body(gang, 1, first="1000", boot=boot or Boot(), keys=keys, settings=settings)


def metadata(found: Mapping[str, Any]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in found["metadata"]["items"]}


def test_spot_is_deleted_when_it_is_taken_back_and_never_moved(tmp_path: Path) -> None:
    assert asked(tmp_path)["scheduling"] == {
        "on_host_maintenance": "TERMINATE",
        "automatic_restart": False,
        "provisioning_model": "SPOT",
        "instance_termination_action": "DELETE",
    }


def test_an_on_demand_machine_without_an_end_has_no_termination_action(tmp_path: Path) -> None:
    found = asked(tmp_path, billing=Billing.ON_DEMAND)["scheduling"]
    assert found["provisioning_model"] == "STANDARD"
    assert "instance_termination_action" not in found


@pytest.mark.parametrize(("lifetime_s", "seconds"), [(3600.9, 3600), (1.0, 30), (1e9, 120 * 86400)])
def test_google_ends_the_machine_after_its_lifetime(tmp_path: Path, lifetime_s: float, seconds: int) -> None:
    found = asked(tmp_path, billing=Billing.ON_DEMAND, boot=Boot(lifetime_s=lifetime_s))
    assert found["scheduling"]["max_run_duration"] == {"seconds": seconds}
    assert found["scheduling"]["instance_termination_action"] == "DELETE"
    assert own_end_s(metadata(found)["user-data"]) == max(60, int(lifetime_s))


def test_our_key_and_the_users_open_the_machine_and_the_projects_do_not(tmp_path: Path) -> None:
    found = metadata(asked(tmp_path, boot=Boot(ssh_public_keys=("ssh-ed25519 AAAA user",))))
    ours, theirs = logins(found["user-data"])
    assert ours.startswith("ssh-ed25519 ")
    assert theirs == "ssh-ed25519 AAAA user"
    assert found["block-project-ssh-keys"] == "TRUE"


def test_gpus_are_attached_to_n1_machines(tmp_path: Path) -> None:
    found = asked(tmp_path, instance_type="n1-standard-8+2xt4")
    assert found["machine_type"] == "zones/us-central1-a/machineTypes/n1-standard-8"
    assert found["guest_accelerators"] == [
        {
            "accelerator_type": "projects/some-project/zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4",
            "accelerator_count": 2,
        }
    ]
    assert "guest_accelerators" not in asked(tmp_path)


@pytest.mark.parametrize(
    ("instance_type", "disk"),
    [
        ("a2-highgpu-1g", "pd-balanced"),
        ("a4-highgpu-8g", "hyperdisk-balanced"),
        ("g4-standard-48", "hyperdisk-balanced"),
    ],
)
def test_the_boot_disk_is_one_that_the_machine_takes(tmp_path: Path, instance_type: str, disk: str) -> None:
    (found,) = asked(tmp_path, instance_type=instance_type)["disks"]
    assert found["initialize_params"]["disk_type"].endswith(f"/{disk}")
    assert found["auto_delete"]


def test_a_machine_can_do_without_a_public_address(tmp_path: Path) -> None:
    private = GcpSettings(project="some-project", public_ip=False, subnetwork="regions/r/subnetworks/s")
    (interface,) = asked(tmp_path, settings=private)["network_interfaces"]
    assert interface == {"network": "global/networks/default", "subnetwork": "regions/r/subnetworks/s"}


def test_the_users_own_image_goes_before_the_settings(tmp_path: Path) -> None:
    (disk,) = asked(tmp_path, boot=Boot(image="projects/p/global/images/mine"))["disks"]
    assert disk["initialize_params"]["source_image"] == "projects/p/global/images/mine"


def test_a_start_up_text_beyond_googles_limit_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="262144"):
        asked(tmp_path, boot=Boot(user_data="#!/bin/sh\n" + "#" * 300_000))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "project"),
        ({"project": "A"}, "project"),
        ({"project": "some-project", "control_cidr": "everywhere"}, "control_cidr"),
        ({"project": "some-project", "compute_endpoint": "ftp://x"}, "compute_endpoint"),
        ({"project": "some-project", "regions": "us-central1"}, "regions"),
        ({"project": "some-project", "families": []}, "families"),
        ({"project": "some-project", "families": ['a2"; drop']}, "families"),
        ({"project": "some-project", "ssh_port": 0}, "ssh_port"),
        ({"project": "some-project", "disk_gib": 10}, "disk_gib"),
        ({"project": "some-project", "prices_kept_s": -1.0}, "prices_kept_s"),
        ({"project": "some-project", "proyect": "x"}, "unknown setting"),
    ],
)
def test_a_setting_that_cannot_be_is_named(table: Mapping[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(GcpSettings, table, where="providers.gcp")
