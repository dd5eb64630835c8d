"""Buys the machines of one purchase, all or none, by calls that may be repeated by anybody at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import (
    AuthError,
    CapacityError,
    ProviderError,
    QuotaError,
    TransientError,
)
from orchestrator.domain.lease import Boot
from orchestrator.kit.keys import LeaseKeys
from providers.gcp import names
from providers.gcp.client import Client
from providers.gcp.errors import Conflict, NotThere, of_operation
from providers.gcp.orders import Gang, body
from providers.gcp.rows import Instance, Operation
from providers.gcp.settings import GcpSettings
from providers.gcp.shapes import NAME
from providers.gcp.translate import GOING, lease_id

POLL_S = 2.0
LONGEST_S = 600.0  # until a machine is made or refused
NEW_S = 60.0
GENERATIONS = 8  # purchases with one token within the hour in which Google remembers a request id


class Ordered(NamedTuple):
    """One machine that was ordered: it has Google's number, and an operation unless it was there already."""

    name: str
    number: str
    operation: Operation | None


class Buyer:
    """Buys one gang. Idempotent by the names of its machines, which the token decides, and by Google's request ids."""

    def __init__(
        self, client: Client, clock: Clock, settings: GcpSettings, gang: Gang, *, boot: Boot, keys: LeaseKeys
    ) -> None:
        self._client, self._clock, self._gang = client, clock, gang
        self._zone = gang.offer.zone
        self._settings, self._boot, self._keys = settings, boot, keys

    def buy(self) -> list[Instance]:
        """The machines, all of them.

        Raises: CapacityError, QuotaError, AuthError, with nothing held; TransientError, after which it is in doubt.
        """
        ordered: list[Ordered] = []
        try:
            first = self._first()
            ordered.append(first)
            for number in range(1, self._gang.nodes):
                ordered.append(self._next(number, first.number))
        except (CapacityError, QuotaError, AuthError):
            self._give_back(ordered)
            raise
        refusals = [refused for each in ordered if (refused := self._outcome(each)) is not None]
        if refusals:
            self._give_back(ordered)
            raise min(refusals, key=lambda refused: isinstance(refused, CapacityError))
        return self._found(ordered, first.number)

    def _first(self) -> Ordered:
        """Order the first machine.

        For an hour Google answers a request id that it knows by the old operation, also where that failed, or its
        machine was deleted since: then the purchase is a new one, and takes the next id.
        """
        name = names.node(self._gang.stem, 0)
        for generation in range(GENERATIONS):
            request_id = names.request_id("insert", self._zone, name, self._gang.offer.label, generation)
            try:
                operation = self._insert(0, "", request_id)
            except Conflict as error:
                return Ordered(name, self._standing(name, str(error)).number, None)
            if not operation.done or (operation.code and self._is_new(operation)):
                return Ordered(name, operation.target, operation)
            if not operation.code:
                there = self._client.instance(self._zone, name)
                if there is not None and there.number == operation.target and there.status not in GOING:
                    return Ordered(name, operation.target, None)
                if there is not None:
                    raise TransientError(NAME, f"{name} is still going from an earlier purchase", 10.0)
        return Ordered(name, operation.target, operation)

    def _is_new(self, operation: Operation) -> bool:
        """Whether it was begun a moment ago: an answer to this call, or to one that asked the same."""
        return operation.began is not None and abs((self._clock.now() - operation.began).total_seconds()) < NEW_S

    def _next(self, number: int, first: str) -> Ordered:
        name = names.node(self._gang.stem, number)
        request_id = names.request_id("insert", self._zone, name, self._gang.offer.label, first)
        try:
            operation = self._insert(number, first, request_id)
        except Conflict as error:
            standing = self._standing(name, str(error))
            if lease_id(standing).first != first:
                raise TransientError(NAME, f"{name} is still held from an earlier purchase", 10.0) from error
            return Ordered(name, standing.number, None)
        return Ordered(name, operation.target, operation)

    def _insert(self, number: int, first: str, request_id: str) -> Operation:
        order = body(self._gang, number, first=first, boot=self._boot, keys=self._keys, settings=self._settings)
        return self._client.insert(self._zone, order, request_id)

    def _standing(self, name: str, conflict: str) -> Instance:
        """The machine that has the name. Raises: TransientError where it is going, or gone this moment."""
        found = self._client.instance(self._zone, name)
        if found is None or found.status in GOING:
            raise TransientError(NAME, f"{conflict}; it is still going from an earlier purchase", 10.0)
        return found

    def _outcome(self, ordered: Ordered) -> ProviderError | None:
        """Why the machine is not made; None where it is. Raises: TransientError where it takes too long."""
        operation, last = ordered.operation, self._clock.now() + timedelta(seconds=LONGEST_S)
        while operation is not None and not operation.done:
            if self._clock.now() > last:
                raise TransientError(NAME, f"{ordered.name} is not made after {LONGEST_S:.0f} s", 30.0)
            self._clock.sleep(POLL_S)
            try:
                operation = self._client.operation(operation)
            except NotThere:
                return None  # forgotten: whether the machine is there is asked next
        if operation is None or not operation.code:
            return None
        refused = of_operation(operation.code, operation.message, f"insert {ordered.name}")
        if isinstance(refused, TransientError):
            return CapacityError(NAME, refused.detail)
        return refused

    def _found(self, ordered: list[Ordered], first: str) -> list[Instance]:
        found = [self._client.instance(self._zone, each.name) for each in ordered]
        made = [instance for instance in found if instance is not None and lease_id(instance).first == first]
        if len(made) < len(ordered):  # taken back at once, or given back by another who gave up on the same purchase
            self._give_back(ordered)
            raise CapacityError(NAME, f"{len(ordered) - len(made)} of {len(ordered)} machines were gone at once")
        return made

    def _give_back(self, ordered: list[Ordered]) -> None:
        """Delete what was made of a purchase that failed. Raises: TransientError where that is in doubt."""
        for each in ordered:
            self._outcome(each)  # a machine that is being made cannot be deleted yet
            there = self._client.instance(self._zone, each.name)
            if there is not None and there.number == each.number:  # not one that another has bought anew
                request_id = names.request_id("delete", self._zone, each.name, each.number)
                self._client.delete(self._zone, each.name, request_id)
