"""Types and instances of the simulated Lambda cloud."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.bootup import own_end_s
from orchestrator.simulation.clouds.lambda_cloud import errors, words
from orchestrator.simulation.clouds.lambda_cloud.accounts import CLOUD, FAMILY, Accounts, known
from orchestrator.simulation.clouds.machines import Machine, Phase
from orchestrator.simulation.clouds.market import Market, Purchase, Refusal, Refused
from orchestrator.simulation.clouds.pools import Key, Pool

QUOTA = "gpus"
LAUNCH_FIELDS = frozenset(
    {
        "region_name",
        "instance_type_name",
        "ssh_key_names",
        "file_system_names",
        "file_system_mounts",
        "hostname",
        "name",
        "image",
        "user_data",
        "tags",
        "firewall_rulesets",
    }
)
MOST_USER_DATA = 1_000_000  # "cannot exceed 1MB in size"


class Instances:
    """What is sold and held. Called under the market's lock."""

    def __init__(self, market: Market, accounts: Accounts, keys: Mapping[str, str]) -> None:
        self._market, self._accounts, self._keys = market, accounts, keys

    def types(self, *_: object) -> object:
        """listInstanceTypes: a map by name, with the regions that have some left."""
        pools = [pool for pool in self._market.sold_by(CLOUD) if pool.key.region in words.REGIONS]
        shown: dict[str, dict[str, Any]] = {}
        for pool in pools:
            name = pool.key.instance_type
            if name not in shown:  # a price is the same in every region
                described = words.instance_type(pool, self._market.price(pool.key))
                shown[name] = {"instance_type": described, "regions_with_capacity_available": []}
            if self._market.available(pool.key) > 0:
                shown[name]["regions_with_capacity_available"].append(words.region(pool.key.region))
        return shown

    def listing(self, account: str, *_: object) -> object:
        """listInstances: those that are not gone."""
        return [self._shown(machine) for machine in self._seen(account)]

    def get(self, account: str, identifier: str, _: object) -> object:
        """getInstance."""
        return self._shown(self._find(account, identifier))

    def rename(self, account: str, identifier: str, body: Mapping[str, Any]) -> object:
        """postInstance."""
        machine = self._find(account, identifier)
        return self._shown(self._market.change(machine.serial, name=str(body.get("name", machine.name))))

    def launch(self, account: str, _: str, body: Mapping[str, Any]) -> object:
        """launchInstance: one instance, for `quantity` is no more."""
        known(body, LAUNCH_FIELDS)
        pool = self._pool(body)
        keys = body.get("ssh_key_names")
        if not isinstance(keys, list) or len(keys) != 1:
            raise errors.invalid("ssh_key_names: exactly one SSH key must be specified.")
        if not self._accounts.has_key(account, str(keys[0])):
            raise errors.missing(f"SSH key {keys[0]}")
        rulesets = self._rulesets(account, body, pool.key.region)
        user_data = body.get("user_data", "")
        if not isinstance(user_data, str) or len(user_data.encode()) > MOST_USER_DATA:
            raise errors.invalid("user_data cannot exceed 1MB in size")
        ends_after_s = own_end_s(user_data)
        # Shutting down ends no bill; a machine that was given a key of its account can end its own through the API.
        trusted = any(account == owner and key in user_data for key, owner in self._keys.items())
        purchase = Purchase(
            key=pool.key,
            account=account,
            names=(str(body.get("name", "")),),
            tags={str(tag["key"]): str(tag["value"]) for tag in body.get("tags") or ()},
            charges=((QUOTA, "", pool.gpus),),
            lifetime_s=ends_after_s if trusted else None,
            user_data=user_data,
            extra={
                "ssh_key_names": tuple(keys),
                "firewall_rulesets": rulesets,
                "hostname": body.get("hostname", ""),
                "user_data": user_data,  # write-only: no answer has it
            },
        )
        try:
            (machine,) = self._market.buy(purchase)
        except Refused as refused:
            raise errors.over_quota() if refused.why is Refusal.QUOTA else errors.no_capacity() from refused
        if ends_after_s is not None:
            own_end = machine.ready_at + timedelta(seconds=ends_after_s)
            self._market.change(machine.serial, extra={**machine.extra, "own_end": own_end})
        return {"instance_ids": [words.instance_id(self._market.seed, machine.serial)]}

    def restart(self, account: str, _: str, body: Mapping[str, Any]) -> object:
        """restartInstance: nothing is to be seen of it."""
        return {"restarted_instances": [self._shown(machine) for machine in self._named(account, body)]}

    def terminate(self, account: str, _: str, body: Mapping[str, Any]) -> object:
        """terminateInstance: all that are named, or none where one is unknown."""
        named = self._named(account, body)
        ended = [self._market.end(machine.serial) for machine in named]
        return {"terminated_instances": [self._shown(machine) for machine in ended]}

    def _pool(self, body: Mapping[str, Any]) -> Pool:
        region, name = str(body.get("region_name", "")), str(body.get("instance_type_name", ""))
        if region not in words.REGIONS:
            raise errors.invalid(f"region_name: {region!r} is no region")
        if not any(pool.key.instance_type == name for pool in self._market.sold_by(CLOUD)):
            raise errors.missing(f"Instance type {name}")
        pool = self._market.pools.get(Key(CLOUD, region, "", name, Billing.ON_DEMAND))
        if pool is None:
            raise errors.no_capacity()
        return pool

    def _rulesets(self, account: str, body: Mapping[str, Any], region: str) -> tuple[str, ...]:
        wanted = tuple(str(entry["id"]) for entry in body.get("firewall_rulesets") or ())
        for identifier in wanted:
            if not self._accounts.ruleset_in(account, identifier, region):
                raise errors.missing(f"Firewall ruleset {identifier}")
        family = (body.get("image") or {}).get("family", FAMILY)
        if family != FAMILY:
            raise errors.missing(f"Image family {family}")
        return wanted

    def _named(self, account: str, body: Mapping[str, Any]) -> tuple[Machine, ...]:
        known(body, frozenset({"instance_ids"}))
        wanted = body.get("instance_ids")
        if not isinstance(wanted, list) or not wanted:
            raise errors.missing("Specified instance does not exist.")
        return tuple(self._find(account, str(identifier), live=True) for identifier in wanted)

    def _seen(self, account: str) -> tuple[Machine, ...]:
        now = self._market.clock.now()
        return tuple(
            machine
            for machine in self._market.machines(CLOUD, account)
            if machine.visible_at <= now and machine.phase(now) is not Phase.GONE
        )

    def _find(self, account: str, identifier: str, *, live: bool = False) -> Machine:
        now = self._market.clock.now()
        for machine in self._market.machines(CLOUD, account):
            if words.instance_id(self._market.seed, machine.serial) == identifier and machine.visible_at <= now:
                if live and machine.phase(now) is Phase.GONE:
                    break
                return machine
        raise errors.missing("Specified instance does not exist.")

    def _shown(self, machine: Machine) -> dict[str, Any]:
        pool = self._market.pools[machine.key]
        return words.instance(machine, pool, self._market.clock.now(), seed=self._market.seed)
