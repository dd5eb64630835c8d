"""How the controller reaches providers: requests and answers as values, under a deadline, wherever the adapter runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from orchestrator.domain.contracts import Provider, WarnsOfReclaim
from orchestrator.domain.errors import ConfigError, TransientError
from orchestrator.domain.lease import Boot, Lease, ReclaimNotice
from orchestrator.domain.offer import Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """Buy; the answer is the Lease."""

    offer: Offer
    nodes: int
    token: str
    boot: Boot


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give back; the answer is None while it is under way, LeaseNotFound is raised once it is done."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Look:
    """What do we hold? The answer is a Sighting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Every live lease under our owner tag, and the notices about them."""

    leases: tuple[Lease, ...]
    notices: tuple[ReclaimNotice, ...] = ()


Request: TypeAlias = Acquire | Release | Look
Answer: TypeAlias = Lease | Sighting | None


class Gateway(Protocol):
    """Calls providers. Safe to use from many threads; values in and out can be pickled."""

    def names(self) -> tuple[str, ...]:
        """The providers that can be called."""
        ...

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:
        """Ask `provider` and wait for at most `timeout_s`.

        Raises: what the provider raises; TransientError on the deadline, after which the call may still take effect;
        ConfigError where no such provider is configured.
        """
        ...


def perform(provider: Provider, request: Request) -> Answer:
    """Carry `request` out, here and now. Raises what the provider raises."""
    match request:
        case Acquire():
            return provider.acquire(request.offer, request.nodes, token=request.token, boot=request.boot)
        case Release():
            provider.release(request.lease_id)
            return None
        case Look():
            leases = tuple(provider.leases())
            notices = tuple(provider.reclaims()) if isinstance(provider, WarnsOfReclaim) else ()
            return Sighting(leases=leases, notices=notices)


class ThreadGateway:
    """Calls providers in threads of this process; a call that hangs is abandoned and holds nobody up."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)

    def names(self) -> tuple[str, ...]:
        """The providers that can be called, sorted."""
        return tuple(sorted(self._providers))

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:
        """See Gateway."""
        adapter = self._providers.get(provider)
        if adapter is None:
            raise ConfigError(f"no provider called {provider!r} is configured: add it to the configuration file")
        box: queue.SimpleQueue[tuple[Answer, BaseException | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put((perform(adapter, request), None))
            except BaseException as error:  # handed to the caller below, whatever it is
                box.put((None, error))

        threading.Thread(target=work, name=f"provider-{provider}", daemon=True).start()
        try:
            answer, error = box.get(timeout=timeout_s)
        except queue.Empty:
            raise TransientError(provider, f"no answer within {timeout_s:g} s") from None
        if error is not None:
            raise error
        return answer
