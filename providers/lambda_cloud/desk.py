"""Buys and gives back at Lambda: without idempotency keys or gangs, and yet once each, and all nodes or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import (
    AuthError,
    Blocking,
    CapacityError,
    LeaseNotFound,
    ProviderError,
    Scope,
    TransientError,
)
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.secret import Secret
from orchestrator.kit.keys import KeyRing, LeaseKeys
from orchestrator.kit.machine import Identity, user_data
from providers.lambda_cloud import ending, names
from providers.lambda_cloud.client import LambdaClient, Refused, Throttled
from providers.lambda_cloud.holdings import Holdings
from providers.lambda_cloud.journal import Entry, Journal
from providers.lambda_cloud.pace import Pace, locked
from providers.lambda_cloud.settings import LambdaSettings
from providers.lambda_cloud.translate import ENDING, NAME, Node, Type, types

MOST_USER_DATA = 1_000_000  # bytes: "cannot exceed 1MB in size"
LAUNCHES = 3  # of one node, where Lambda says that we come too quickly
POLL_S = 5.0
ANSWER_S = 30.0  # the longest that a request is under way


class Desk:
    """Purchases and releases of one owner.

    What is asked for is written down before the question is sent. After a doubt the same token looks for the instance
    by its name, for as long as a new one may be missing from listings, before it launches again. A launch that shows
    later than that is there twice, under one lease: its price is the sum of both until the token is used again, which
    ends the one too many, or the lease is released, which ends both. Processes without a common state folder do not
    see each other's notes: two that use one token within the same minute buy two leases, both listed under that token.
    """

    def __init__(
        self,
        *,
        client: LambdaClient,
        holdings: Holdings,
        journal: Journal,
        keys: KeyRing,
        turn: Pace,
        settings: LambdaSettings,
        trusted: Secret | None,
        owner: str,
        clock: Clock,
    ) -> None:
        """`turn` gives out the moments of launches; `trusted` is the key that machines may end themselves with."""
        self._client, self._holdings, self._journal, self._keys = client, holdings, journal, keys
        self._turn, self._settings, self._trusted = turn, settings, trusted
        self._owner, self._clock = owner, clock

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        """See LambdaProvider."""
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        digest = names.token_digest(token)
        with locked(self._journal.lock(digest), NAME):
            entry = self._found(token, digest)
            if entry is None or (len(entry.ids) < entry.nodes and not entry.complete):
                entry = self._bought(offer, nodes, token, boot, entry)
            listed = self._holdings.nodes().get(entry.lease_id, ())
            if len(listed) < len(entry.ids):
                return self._holdings.unseen(entry, offer)
            return self._holdings.lease(entry.lease_id, listed)

    def release(self, lease_id: str) -> None:
        """See LambdaProvider."""
        digest = lease_id.partition("-")[0]
        if not names.is_lease_id(lease_id):
            self._holdings.nodes()  # who cannot ask knows nothing of any id
            raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")
        with locked(self._journal.lock(digest), NAME):
            held = self._holdings.nodes()
            listed = held.get(lease_id, ())
            entry = self._journal.read(digest)
            if entry is not None and entry.lease_id != lease_id:
                entry = None
            running = [node.id for node in listed if node.status not in ENDING]
            running += self._hidden(entry, listed) if entry is not None else []
            if running:
                self._terminate(running)
                return
            if listed:
                return
            if entry is not None and self._doubtful(entry):
                raise TransientError(NAME, f"a launch of {lease_id} may still show", POLL_S)
            if not any(other.partition("-")[0] == digest for other in held):
                self._forget(digest, lease_id, entry)
        raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")

    # Finding

    def _found(self, token: str, digest: str) -> Entry | None:
        """What there is of a purchase with this token, by our own notes and by the names of instances.

        Raises: TransientError, AuthError.
        """
        entry = self._journal.read(digest)
        held = self._live(digest)
        if entry is None:
            return self._adopted(token, held)
        while True:
            self._note(entry, held.get(entry.lease_id, ()))
            if not self._doubtful(entry):
                break
            self._clock.sleep(POLL_S)
            held = self._live(digest)
        entry.asked_at.clear()
        seen = {node.id for node in held.get(entry.lease_id, ())}
        gone = [number for number, identifier in entry.ids.items() if identifier not in seen]
        for number in gone:
            if not self._exists(entry, entry.ids[number]):
                del entry.ids[number]
        if entry.complete and not entry.ids:  # that lease is over
            self._journal.forget(digest)
            return self._adopted(token, held)
        self._journal.write(entry)
        return entry

    def _live(self, digest: str) -> Mapping[str, Sequence[Node]]:
        """Leases of the token with instances that nobody has ended yet.

        Raises: TransientError where all that there is of it is on its way out: what comes next would be one too many.
        """
        ours = {
            lease_id: nodes
            for lease_id, nodes in self._holdings.nodes().items()
            if lease_id.partition("-")[0] == digest
        }
        live = {lease: nodes for lease, nodes in ours.items() if any(node.status not in ENDING for node in nodes)}
        if ours and not live:
            raise TransientError(NAME, f"{', '.join(ours)} is still being given back", POLL_S)
        return live

    def _adopted(self, token: str, held: Mapping[str, Sequence[Node]]) -> Entry | None:
        """An entry for a purchase of which only Lambda knows; the first, where there are several."""
        if not held:
            return None
        lease_id = min(held, key=names.bought_at)
        first = held[lease_id][0]
        cents = first.cents or first.type.cents
        entry = Entry(token=token, lease_id=lease_id, nodes=first.mark.nodes, cents=cents)
        self._note(entry, held[lease_id])
        entry.complete = len(entry.ids) == entry.nodes
        self._journal.write(entry)
        return entry

    def _note(self, entry: Entry, listed: Sequence[Node]) -> None:
        """Enter listed instances. Of two for one place the one that we know of stays; the other is ended."""
        for node in listed:
            known = entry.ids.setdefault(node.mark.node, node.id)
            entry.asked_at.pop(node.mark.node, None)
            if known != node.id and node.status not in ENDING and any(other.id == known for other in listed):
                self._terminate([node.id])

    def _doubtful(self, entry: Entry) -> bool:
        """Whether a launch without an answer may still show in a listing."""
        latest = max(entry.asked_at.values(), default=0.0)
        return self._clock.now().timestamp() < latest + self._settings.settle_s + ANSWER_S

    def _hidden(self, entry: Entry, listed: Sequence[Node]) -> list[str]:
        """Instances that we bought and that no listing shows, though they are there or may be."""
        seen = {node.id for node in listed}
        return [each for each in entry.ids.values() if each not in seen and self._exists(entry, each)]

    def _exists(self, entry: Entry, identifier: str) -> bool:
        """Whether an instance that is not listed is there. One bought a moment ago is, until Lambda says otherwise."""
        try:
            return self._client.instance(identifier).text("status") != "terminated"
        except LeaseNotFound:
            age_s = self._clock.now().timestamp() - entry.launched_at
            return age_s < self._settings.settle_s

    # Buying

    def _bought(self, offer: Offer, nodes: int, token: str, boot: Boot, entry: Entry | None) -> Entry:
        """The purchase made complete. Raises: as acquire."""
        keys = self._keys.of(token)
        try:
            kind = self._on_sale(offer)
            if entry is None:
                lease_id = names.new_lease_id(token, self._clock.now())
                entry = Entry(token=token, lease_id=lease_id, nodes=nodes, cents=kind.cents)
            elif not entry.ids:
                entry.cents = kind.cents
            order = self._order(offer, entry, keys)
            self._journal.write(entry)
            for number in range(entry.nodes):
                if number not in entry.ids:
                    self._launch(entry, number, {**order, **self._of_node(entry, number, boot, keys)})
        except (Blocking, AuthError, Refused, LeaseNotFound) as error:
            self._give_back(token, entry)
            if isinstance(error, Refused | LeaseNotFound):  # another place or type may do: something here does not
                raise CapacityError(NAME, f"{offer.label} cannot be launched: {error.detail}", Scope.REGION) from error
            raise
        entry.complete = True
        self._journal.write(entry)
        return entry

    def _on_sale(self, offer: Offer) -> Type:
        """The type as it is sold now. Raises: CapacityError."""
        found, _ = types(self._client.instance_types())
        kind = found.get(offer.instance_type)
        if kind is None:
            raise CapacityError(NAME, f"{offer.instance_type} is not on sale", Scope.PROVIDER)
        if offer.region not in kind.regions:
            raise CapacityError(NAME, f"{offer.label} is sold out", Scope.REGION)
        return kind

    def _order(self, offer: Offer, entry: Entry, keys: LeaseKeys) -> dict[str, object]:
        """What all nodes of a lease have in common; their key is registered and their port opened first."""
        order: dict[str, object] = {
            "region_name": offer.region,
            "instance_type_name": offer.instance_type,
            "ssh_key_names": [self._registered(entry, keys)],
            "tags": names.tag_list(self._owner, entry.token, entry.lease_id, entry.cents),
        }
        if self._settings.control_cidr:
            order["firewall_rulesets"] = [{"id": self._opened(offer.region)}]
        if self._settings.image_family:
            order["image"] = {"family": self._settings.image_family}
        return order

    def _of_node(self, entry: Entry, number: int, boot: Boot, keys: LeaseKeys) -> dict[str, object]:
        """What one node alone has: its name, and with it what it is told at its start."""
        name = names.instance_name(self._owner, entry.lease_id, number, entry.nodes)
        identity = Identity((keys.login_public,), keys.host_public, keys.host_private)
        files: Mapping[str, str] = {}
        end: tuple[str, ...] = ("systemctl", "poweroff")
        if self._trusted is not None:
            files, end = ending.files(self._trusted, self._settings.endpoint_url, name), (ending.SCRIPT,)
        order: dict[str, object] = {
            "name": name,
            "user_data": user_data(boot, identity, end=end, files=files, most=MOST_USER_DATA),
        }
        if boot.image:
            order["image"] = {"family": boot.image}
        return order

    def _launch(self, entry: Entry, number: int, order: Mapping[str, object]) -> None:
        """Launch one node; what comes of it is in `entry`. Raises: as acquire; Refused, LeaseNotFound."""
        for attempt in range(1, LAUNCHES + 1):
            self._turn.wait()
            entry.asked_at[number] = self._clock.now().timestamp()
            self._journal.write(entry)
            try:
                entry.ids[number] = self._client.launch(order)
            except (Blocking, AuthError, Refused, LeaseNotFound, Throttled) as error:
                del entry.asked_at[number]  # nothing was bought
                self._journal.write(entry)
                if not isinstance(error, Throttled) or attempt == LAUNCHES:
                    raise
                self._clock.sleep(error.retry_after_s)
            else:
                del entry.asked_at[number]
                entry.launched_at = self._clock.now().timestamp()
                self._journal.write(entry)
                return

    def _registered(self, entry: Entry, keys: LeaseKeys) -> str:
        """The name of the lease's SSH key, which Lambda knows from now on."""
        name = names.key_name(self._owner, entry.lease_id)
        known = self._client.ssh_keys().get(name)
        if known is not None and known[1].split()[:2] != keys.login_public.split()[:2]:
            self._client.delete_ssh_key(known[0])  # of a state folder that is no more
            known = None
        if known is None:
            self._client.add_ssh_key(name, keys.login_public)
        return name

    def _opened(self, region: str) -> str:
        """The id of the owner's ruleset in a region, which lets nobody but the control plane log in."""
        name, port = names.ruleset_name(self._owner), self._settings.ssh_port
        rule: dict[str, object] = {
            "protocol": "tcp",
            "port_range": [port, port],
            "source_network": self._settings.control_cidr,
            "description": "isoflop control plane",
        }
        for ruleset in self._client.rulesets():
            if (ruleset.text("name"), ruleset.within("region").text("name")) == (name, region):
                identifier = ruleset.text("id")
                if ruleset.raw("rules") != [rule]:
                    self._client.change_ruleset(identifier, [rule])
                return identifier
        return self._client.add_ruleset(name, region, [rule])

    # Giving back

    def _give_back(self, token: str, entry: Entry | None) -> None:
        """End the nodes that were got. Raises: TransientError, AuthError where that fails: the token finds them."""
        if entry is None:
            self._keys.forget(token)
            return
        if entry.ids:
            self._terminate(list(entry.ids.values()))
        with suppress(ProviderError):  # a key that stays opens nothing; the token's next purchase finds it
            self._forget(names.token_digest(token), entry.lease_id, entry)

    def _terminate(self, ids: Sequence[str]) -> None:
        """End instances. Raises: TransientError where one is not known (yet); AuthError."""
        try:
            self._client.terminate(ids)
        except LeaseNotFound as error:
            if len(ids) == 1:
                raise TransientError(NAME, f"instance {ids[0]} is not known, or not yet", POLL_S) from error
            for identifier in ids:
                self._terminate([identifier])

    def _forget(self, digest: str, lease_id: str, entry: Entry | None) -> None:
        """Remove the keys of a lease that is gone, at Lambda and here, and our notes. Raises: as the API does."""
        known = self._client.ssh_keys().get(names.key_name(self._owner, lease_id))
        if known is not None:
            with suppress(Refused, LeaseNotFound):  # another was quicker
                self._client.delete_ssh_key(known[0])
        if entry is not None:
            self._keys.forget(entry.token)
        self._journal.forget(digest)
