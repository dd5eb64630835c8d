"""What we hold at Lambda: instances read back into leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.domain.contracts import Clock
from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.kit.documents import readable
from orchestrator.kit.facts import Facts
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.machine import FOLDER, USER
from providers.lambda_cloud.client import LambdaClient
from providers.lambda_cloud.journal import Entry, Journal
from providers.lambda_cloud.names import bought_at, owner_digest
from providers.lambda_cloud.pace import is_locked
from providers.lambda_cloud.translate import NAME, Node, node, offer, state


class Access:
    """How machines are logged in to: our key, and theirs."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self.keys = KeyRing(folder)

    def endpoint(self, token: str, address: str) -> Endpoint:
        """How one node is reached; without keys where they are kept in another state folder."""
        identity = host_key = ""
        if token and (self._folder / token).is_dir():
            ours = self.keys.of(token)
            identity, host_key = str(ours.login_file), ours.host_public
        return Endpoint(
            launcher="ssh",
            address=address,
            port=self._port,
            user=USER,
            path=f"{FOLDER}/lease",
            identity=identity,
            host_key=host_key,
        )


class Holdings:
    """Reads the account's instances and tells which are whose."""

    def __init__(
        self, *, client: LambdaClient, journal: Journal, access: Access, owner: str, settle_s: float, clock: Clock
    ) -> None:
        """`settle_s` is how long a new instance may be missing from listings."""
        self._client, self._journal, self._access, self._settle_s = client, journal, access, settle_s
        self._owner, self._digest, self._clock = owner, owner_digest(owner), clock
        self._facts = Facts(NAME)

    def nodes(self) -> Mapping[str, Sequence[Node]]:
        """This owner's instances by lease, in the order of their numbers. Raises: AuthError, TransientError."""
        found: dict[str, list[Node]] = {}
        for instance in self._client.instances():
            with readable(NAME, "an instance"):  # it may be ours
                ours = node(instance, self._owner, self._digest)
            if ours is not None:
                found.setdefault(ours.mark.lease_id, []).append(ours)
        return {lease_id: sorted(each, key=lambda one: one.mark.node) for lease_id, each in found.items()}

    def leases(self) -> list[Lease]:
        """Every lease in the order of purchase, but for gangs that somebody is buying at this moment.

        One that is incomplete and that nobody is buying is shown: it costs money. Raises: AuthError, TransientError.
        """
        shown = [self.lease(lease_id, nodes) for lease_id, nodes in self.nodes().items() if not self._coming(nodes)]
        return sorted(shown, key=lambda lease: (lease.acquired_at, lease.id))

    def lease(self, lease_id: str, nodes: Sequence[Node]) -> Lease:
        """A lease from its instances, of which there is at least one."""
        first, wanted = nodes[0], nodes[0].mark.nodes
        entry = self._journal.read(lease_id.partition("-")[0])
        token = first.token or (entry.token if entry and entry.lease_id == lease_id else "")
        distinct = {each.mark.node: each for each in nodes}
        lagging = entry is not None and entry.lease_id == lease_id and self._lagging(entry)
        stands = state(tuple(distinct.values()), wanted, lagging=lagging)
        ready = stands in {LeaseState.READY, LeaseState.RECLAIMING}
        points = [self._access.endpoint(token, each.address) for each in distinct.values() if each.address]
        cents = first.cents or first.type.cents
        return Lease(
            id=lease_id,
            provider=NAME,
            token=token,
            owner=self._owner,
            offer=offer(first.type, first.region, facts=self._facts, now=self._clock.now(), cents=cents),
            nodes=wanted,
            state=stands,
            usd_per_hour=sum(each.cents or each.type.cents for each in nodes) / 100,
            acquired_at=bought_at(lease_id),
            endpoints=tuple(points) if ready else (),
        )

    def unseen(self, entry: Entry, wanted: Offer) -> Lease:
        """The lease of a purchase that no listing shows yet."""
        return Lease(
            id=entry.lease_id,
            provider=NAME,
            token=entry.token,
            owner=self._owner,
            offer=replace(wanted, usd_per_hour=entry.cents / 100),
            nodes=entry.nodes,
            state=LeaseState.BOOTING,
            usd_per_hour=entry.nodes * entry.cents / 100,
            acquired_at=bought_at(entry.lease_id),
        )

    def _coming(self, nodes: Sequence[Node]) -> bool:
        """Whether nodes are missing, and a purchase with their token is going on."""
        first = nodes[0].mark
        digest = first.lease_id.partition("-")[0]
        missing = len({each.mark.node for each in nodes}) < first.nodes
        return missing and is_locked(self._journal.lock(digest))

    def _lagging(self, entry: Entry) -> bool:
        """Whether nodes that were bought may be missing from listings because they are new."""
        age_s = self._clock.now().timestamp() - entry.launched_at
        return entry.complete and age_s < self._settle_s
