"""Buying several machines as one lease: all or none, once per token, also across processes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import CapacityError, ProviderError, Scope, ThrottledError, TransientError, UserError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.kit import fanout
from orchestrator.kit.documents import Document, Malformed
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.tags import OWNER
from providers.azure import machines
from providers.azure.client import Azure
from providers.azure.errors import explain
from providers.azure.machines import Node, Order, nodes_of
from providers.azure.network import Network
from providers.azure.settings import NAME, AzureSettings

LEAST_WAIT_S = 1.0
UNDER_WAY_S = 600.0  # after its start, a purchase with machines missing has lost them
AGAIN_S = 15.0  # after which the remains of an earlier purchase may be gone


Request = Callable[[str], Mapping[str, object]]  # of the machine with a name


class Buyer:
    """Makes the machines of a purchase.

    Names follow from owner and token, and a machine is made only where there is none of its name (If-None-Match), so
    two buyers with one token make one set of machines: whoever makes the first of them decides the lease's id, and the
    other takes that over.
    """

    def __init__(
        self, azure: Azure, network: Network, keys: KeyRing, *, owner: str, settings: AzureSettings, clock: Clock
    ) -> None:
        self._azure, self._network, self._keys = azure, network, keys
        self._owner, self._settings, self._clock = owner, settings, clock

    def buy(self, offer: Offer, nodes: int, *, token: str, boot: Boot, held: Sequence[Node]) -> list[Node]:
        """The machines of the purchase; `held` are those with this token that a listing shows.

        Raises: CapacityError, QuotaError, AuthError with nothing held; TransientError, after which it is in doubt.
        """
        if any(not node.usable for node in held):
            raise self._cleared(held)
        if held and (len(held) == nodes_of(held[0]) or not self._young(held)):
            return list(held)
        fresh = machines.order(offer, nodes, token=token, owner=self._owner, generation=secrets.token_hex(6))
        ordered = machines.again(held[0]) if held else fresh
        try:
            first, operation = self._made(ordered.names[0], self._request(ordered, boot))
        except ProviderError as error:
            raise (self._given_back(ordered, error) if held else error) from error
        if first.lease_id != ordered.lease_id:  # somebody with the same token was here before
            ordered = machines.again(first)
        try:
            return self._filled(ordered, boot, first, operation)
        except ProviderError as error:
            raise self._given_back(ordered, error) from error

    def _request(self, ordered: Order, boot: Boot) -> Request:
        """Raises: CapacityError for all that is sold here, where no machine of ours can be asked for like that."""
        keys = self._keys.of(ordered.token)
        try:
            start = machines.start_up(boot, keys, self._settings)
            image = machines.image_reference(boot.image or self._settings.image)
        except (UserError, Malformed) as error:
            raise CapacityError(NAME, str(error), Scope.PROVIDER) from error
        place = self._network.of(ordered.offer.region)
        return lambda name: machines.body(ordered, name, start, self._settings, keys=keys, image=image, place=place)

    def _young(self, held: Sequence[Node]) -> bool:
        """Whether a purchase may still be going on, so that what is missing of it is bought and not lost."""
        age = self._clock.now() - max(node.created_at for node in held)
        return age.total_seconds() < UNDER_WAY_S

    def _filled(self, ordered: Order, boot: Boot, first: Node, operation: str) -> list[Node]:
        """All machines of the purchase, once Azure has said that there is room for those that we had made."""
        request = self._request(ordered, boot)
        made, failed = fanout.ask(ordered.names[1:], lambda name: self._made(name, request))
        for error in sorted(failed.values(), key=lambda error: isinstance(error, TransientError)):
            raise error  # a plain refusal before a doubt
        made = {ordered.names[0]: (first, operation), **made}
        for node, _ in made.values():
            if node.lease_id != ordered.lease_id or not node.usable:
                raise self._cleared([node])
        self._allocated({name: begun for name, (_, begun) in made.items() if begun})
        return [node for node, _ in made.values()]

    def _made(self, name: str, request: Request) -> tuple[Node, str]:
        """The machine called `name`, made now or there before, and the operation that makes it now."""
        started = self._azure.create(name, request(name))
        document = self._there(name) if started is None else started.machine
        node = None if document is None else machines.node(document)
        if node is None or node.tags[OWNER] != self._owner:
            raise TransientError(NAME, f"{name} is neither there nor free", AGAIN_S)
        return node, "" if started is None else started.operation

    def _there(self, name: str) -> Document | None:
        try:
            return self._azure.machine(name)
        except ThrottledError as error:
            raise _in_doubt(error) from error

    def _allocated(self, operations: Mapping[str, str]) -> None:
        """Wait until every operation has succeeded or `allocation_s` have passed, after which there was room.

        Raises: what a failed operation says.
        """
        waiting, waited_s = dict(operations), 0.0
        while waiting:
            pause_s = LEAST_WAIT_S
            answers, failed = fanout.ask(waiting, lambda name: self._azure.outcome(waiting[name]))
            for error in failed.values():
                raise error
            for name, outcome in answers.items():
                if outcome.refused is not None:
                    raise explain(outcome.refused, f"launch of {name}", launch=True)
                if outcome.done:
                    del waiting[name]
                else:
                    pause_s = max(pause_s, outcome.wait_s)
            pause_s = min(pause_s, self._settings.allocation_s - waited_s)
            if not waiting or pause_s <= 0:
                return
            self._clock.sleep(pause_s)
            waited_s += pause_s

    def _given_back(self, ordered: Order, error: ProviderError) -> ProviderError:
        """`error`, once deletion of everything bought has begun; TransientError where that is in doubt.

        A launch whose answer was lost is left alone: the same purchase again finds it.
        """
        if isinstance(error, ThrottledError):
            return _in_doubt(error)
        if isinstance(error, TransientError):
            return error
        _, failed = fanout.ask(ordered.names, lambda name: self._removed(name, ordered.lease_id))
        for trouble in failed.values():
            detail = f"{error.detail}; and what was bought is not yet given back: {trouble.detail}"
            return TransientError(NAME, detail, AGAIN_S)
        return error

    def _cleared(self, remains: Sequence[Node]) -> TransientError:
        """What to say while machines that failed or are being deleted stand in the way; deletes the failed ones."""
        for node in remains:
            if node.provisioning == "failed":
                self._azure.delete(node.name)
        return TransientError(NAME, f"what is left of {remains[0].lease_id} goes first", AGAIN_S)

    def _removed(self, name: str, lease_id: str) -> None:
        document = self._azure.machine(name)
        node = None if document is None else machines.node(document)
        if node is not None and node.lease_id == lease_id and node.provisioning != "deleting":
            self._azure.delete(name)


def _in_doubt(error: ThrottledError) -> TransientError:
    """`error` of one call, where others have made machines."""
    return TransientError(NAME, error.detail, error.retry_after_s)
