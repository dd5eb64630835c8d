"""What an account at the simulated Lambda cloud holds besides machines: SSH keys, firewall rulesets, images."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from orchestrator.simulation.clouds.lambda_cloud import errors, words
from orchestrator.simulation.clouds.machines import Phase
from orchestrator.simulation.clouds.market import Market

CLOUD = "lambda"
FAMILY = "lambda-stack-22-04"
KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-")
KEY_FIELDS, RULESET_FIELDS = frozenset({"name", "public_key"}), frozenset({"name", "region", "rules"})


class Accounts:
    """Keys and rulesets by account. Called under the market's lock."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._keys: dict[str, dict[str, dict[str, str]]] = {}
        self._rulesets: dict[str, dict[str, dict[str, Any]]] = {}
        self._made = 0

    # SSH keys

    def keys(self, account: str, *_: object) -> object:
        """listSSHKeys."""
        return list(self._keys.get(account, {}).values())

    def add_key(self, account: str, _: str, body: Mapping[str, Any]) -> object:
        """addSSHKey. A key without its public half would have Lambda make one: the simulator does not."""
        known(body, KEY_FIELDS)
        name, public = body.get("name"), body.get("public_key")
        if not isinstance(name, str) or not name:
            raise errors.invalid("name is required")
        if not isinstance(public, str) or not public.startswith(KEY_TYPES) or len(public.split()) < 2:
            raise errors.invalid("public_key is no public key that we can read")
        held = self._keys.setdefault(account, {})
        if any(key["name"] == name for key in held.values()):
            raise errors.invalid(f"There is an SSH key {name} already.")
        key = {"id": self._id("key"), "name": name, "public_key": public}
        held[key["id"]] = key
        return key

    def delete_key(self, account: str, identifier: str, _: object) -> object:
        """deleteSSHKey: the description knows no answer to an unknown id but 400."""
        if self._keys.get(account, {}).pop(identifier, None) is None:
            raise errors.invalid("There is no such SSH key.")
        return {}

    def has_key(self, account: str, name: str) -> bool:
        """Whether the account has an SSH key of that name."""
        return any(key["name"] == name for key in self._keys.get(account, {}).values())

    # Firewalls

    def rulesets(self, account: str, *_: object) -> object:
        """firewallRulesetsList."""
        return [self._shown(account, ruleset) for ruleset in self._rulesets.get(account, {}).values()]

    def ruleset(self, account: str, identifier: str, _: object) -> object:
        """getFirewallRuleset."""
        return self._shown(account, self._ruleset(account, identifier))

    def add_ruleset(self, account: str, _: str, body: Mapping[str, Any]) -> object:
        """createFirewallRuleset."""
        known(body, RULESET_FIELDS)
        name, region = body.get("name"), body.get("region")
        if not isinstance(name, str) or region not in words.REGIONS:
            raise errors.invalid("name and region are required")
        ruleset: dict[str, Any] = {
            "id": self._id("ruleset"),
            "name": name,
            "region": words.region(str(region)),
            "rules": _rules(body.get("rules")),
            "created": self._market.clock.now().isoformat(),
        }
        self._rulesets.setdefault(account, {})[ruleset["id"]] = ruleset
        return self._shown(account, ruleset)

    def change(self, account: str, identifier: str, body: Mapping[str, Any]) -> object:
        """updateFirewallRuleset."""
        known(body, RULESET_FIELDS - {"region"})
        ruleset = self._ruleset(account, identifier)
        if "rules" in body:
            ruleset["rules"] = _rules(body["rules"])
        if isinstance(body.get("name"), str):
            ruleset["name"] = body["name"]
        return self._shown(account, ruleset)

    def delete(self, account: str, identifier: str, _: object) -> object:
        """deleteFirewallRuleset."""
        if self._shown(account, self._ruleset(account, identifier))["instance_ids"]:
            raise errors.in_use()
        del self._rulesets[account][identifier]
        return {}

    def ruleset_in(self, account: str, identifier: str, region: str) -> bool:
        """Whether the account has that ruleset in `region`."""
        ruleset = self._rulesets.get(account, {}).get(identifier)
        return ruleset is not None and ruleset["region"]["name"] == region

    # The rest

    def images(self, *_: object) -> object:
        """listImages: one family for each architecture in every region."""
        made = "2026-01-15T00:00:00Z"
        return [
            {
                "id": sha256(f"image {region} {architecture}".encode()).hexdigest()[:32],
                "created_time": made,
                "updated_time": made,
                "name": "Lambda Stack 22.04",
                "description": "Ubuntu with drivers and frameworks",
                "family": FAMILY,
                "version": "2026.1.15",
                "architecture": architecture,
                "region": words.region(region),
            }
            for region in words.REGIONS
            for architecture in ("x86_64", "arm64")
        ]

    def none(self, *_: object) -> object:
        """Lists that are always empty here."""
        return []

    def _ruleset(self, account: str, identifier: str) -> dict[str, Any]:
        found = self._rulesets.get(account, {}).get(identifier)
        if found is None:
            raise errors.missing("Firewall ruleset does not exist or you do not have permission to access it.")
        return found

    def _shown(self, account: str, ruleset: Mapping[str, Any]) -> dict[str, Any]:
        now = self._market.clock.now()
        using = [
            words.instance_id(self._market.seed, machine.serial)
            for machine in self._market.machines(CLOUD, account)
            if machine.phase(now) is not Phase.GONE and ruleset["id"] in _texts(machine.extra.get("firewall_rulesets"))
        ]
        return {**ruleset, "instance_ids": using}

    def _id(self, kind: str) -> str:
        self._made += 1
        return sha256(f"{kind} {self._market.seed} {self._made}".encode()).hexdigest()[:32]


def known(body: Mapping[str, Any], fields: frozenset[str]) -> None:
    """Raises: Failure for a field that the description does not have: nobody knows what it would do."""
    unknown = sorted(set(body) - fields)
    if unknown:
        raise errors.invalid(f"Unknown: {', '.join(unknown)}.")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _rules(value: object) -> list[dict[str, Any]]:
    rules = value if isinstance(value, list) else None
    if rules is None or not all(isinstance(rule, dict) for rule in rules):
        raise errors.invalid("rules is a list of rules")
    for rule in rules:
        protocol, ports = rule.get("protocol"), rule.get("port_range")
        if (protocol == "icmp") != (ports is None):
            raise errors.invalid("port_range belongs to every protocol but icmp")
        try:
            ipaddress.IPv4Network(rule.get("source_network", ""))
        except ValueError as error:
            raise errors.invalid(f"source_network: {error}") from error
    return rules
