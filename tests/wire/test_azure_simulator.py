"""The simulated Azure refuses what Azure's descriptions do not allow; the role of the docs is what is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.simulation.clouds.azure.app import SUBSCRIPTION
from orchestrator.simulation.clouds.wire import Request
from orchestrator.testing.accounts import release_fully, until_ready
from providers.azure.provider import AzureProvider
from tests.contract.azure_world import A100, H100, AzureAccount, World, specs, world

BOOT = Boot(run_id="run-1")


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as served:
        yield served


def offer(provider: AzureProvider, size: str = A100) -> Offer:
    return next(found for found in provider.offers() if found.instance_type == size)


# The role


def test_the_role_of_the_docs_allows_exactly_what_is_called(azure: World) -> None:
    provider = azure.provider()
    lease = provider.acquire(offer(provider), 1, token="role", boot=BOOT)
    until_ready(AzureAccount(azure), provider, lease)
    release_fully(AzureAccount(azure), provider, lease.id)
    role = json.loads((Path(__file__).parents[2] / "docs/providers/azure-role.json").read_text())
    (granted,) = role["permissions"]
    # Of what a machine's request refers to, Azure asks for these on top of what is called.
    linked = {
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/networkSecurityGroups/join/action",
        "Microsoft.Network/networkInterfaces/write",
        "Microsoft.Network/networkInterfaces/join/action",
        "Microsoft.Network/networkInterfaces/delete",
        "Microsoft.Network/publicIPAddresses/write",
        "Microsoft.Network/publicIPAddresses/join/action",
        "Microsoft.Network/publicIPAddresses/delete",
        "Microsoft.Compute/disks/write",
        "Microsoft.Compute/disks/delete",
    }
    public = {"Discovery", "Login", "RetailPrices"}
    called = {ACTIONS[name] for name in azure.wire.counts() if name not in public}
    assert set(granted["actions"]) == called | linked
    assert granted["notActions"] == granted["dataActions"] == granted["notDataActions"] == []


ACTIONS = {
    "Locations_List": "Microsoft.Resources/subscriptions/locations/read",
    "ResourceSkus_List": "Microsoft.Compute/skus/read",
    "Usage_List": "Microsoft.Compute/locations/usages/read",
    "Operations_Get": "Microsoft.Compute/locations/operations/read",
    "VirtualMachines_CreateOrUpdate": "Microsoft.Compute/virtualMachines/write",
    "VirtualMachines_Get": "Microsoft.Compute/virtualMachines/read",
    "VirtualMachines_List": "Microsoft.Compute/virtualMachines/read",
    "VirtualMachines_ListAll": "Microsoft.Compute/virtualMachines/read",
    "VirtualMachines_Delete": "Microsoft.Compute/virtualMachines/delete",
    "ResourceGroups_Get": "Microsoft.Resources/subscriptions/resourceGroups/read",
    "ResourceGroups_CreateOrUpdate": "Microsoft.Resources/subscriptions/resourceGroups/write",
    "VirtualNetworks_Get": "Microsoft.Network/virtualNetworks/read",
    "VirtualNetworks_CreateOrUpdate": "Microsoft.Network/virtualNetworks/write",
    "NetworkSecurityGroups_Get": "Microsoft.Network/networkSecurityGroups/read",
    "NetworkSecurityGroups_CreateOrUpdate": "Microsoft.Network/networkSecurityGroups/write",
    "NetworkInterfaces_List": "Microsoft.Network/networkInterfaces/read",
    "PublicIPAddresses_List": "Microsoft.Network/publicIPAddresses/read",
}


# The simulator refuses what Azure would


MACHINE = "/resourceGroups/isoflop/providers/Microsoft.Compute/virtualMachines/a"
VERSION = {"api-version": "2026-04-01"}


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        (VERSION, {"location": "eastus", "bogus": 1}, "Could not find member 'bogus'"),
        (VERSION, {"properties": {}}, "'location' is a required property"),
        (VERSION, {"location": "eastus", "properties": {"hardwareProfile": {"vmSize": 3}}}, "vmSize: 3 is not of type"),
        (
            VERSION,
            {"location": "eastus", "properties": {"osProfile": {"custmData": ""}}},
            "Could not find member 'custmData' on object 'properties.osProfile'",
        ),
        ({**VERSION, "force": "1"}, {"location": "eastus"}, "'force' is not known"),
        ({"api-version": "2015-06-15"}, {"location": "eastus"}, "is older"),
        ({}, {"location": "eastus"}, "MissingApiVersionParameter"),
    ],
)
def test_a_request_that_azures_description_does_not_allow_is_refused(
    azure: World, query: dict[str, str], body: object, words: str
) -> None:
    if specs() is None:
        pytest.skip("Azure's descriptions are not at hand: name their folder in ISOFLOP_SPECS")
    status, text = azure.ask("PUT", MACHINE, query, body)
    assert (status, words in text) == (400, True), text


@pytest.mark.parametrize("body", [None, [], {"location": "eastus"}, {"location": "eastus", "properties": None}])
def test_a_machine_that_is_no_machine_is_refused_with_and_without_descriptions(azure: World, body: object) -> None:
    group = "/resourceGroups/isoflop"
    assert azure.ask("PUT", group, {"api-version": "2021-04-01"}, {"location": "eastus"})[0] == 201
    assert azure.ask("PUT", MACHINE, VERSION, body)[0] == 400


def test_paths_are_compared_without_regard_to_case_and_open_enumerations_are_open(azure: World) -> None:
    provider = azure.provider()
    provider.acquire(offer(provider, H100), 1, token="case", boot=BOOT)  # a size that the description never heard of
    name = azure.cloud.machines()[0].name
    path = f"/RESOURCEGROUPS/Isoflop/providers/microsoft.compute/VirtualMachines/{name.upper()}"
    status, text = azure.ask("GET", path, VERSION)
    assert (status, json.loads(text)["name"]) == (200, name)


def test_a_stranger_is_refused(azure: World) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines"
    reply, _ = azure.wire.answer(
        Request("GET", path, path, (("api-version", "2026-04-01"),), {"authorization": "Bearer x"}, b"", azure.url)
    )
    assert reply.status == 401
