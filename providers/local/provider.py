"""This machine as a provider: its CPU and its NVIDIA GPUs, sold to its owner at the owner's price."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.configuration import read
from orchestrator.domain.contracts import Clock, Provider, ProviderContext
from orchestrator.domain.errors import CapacityError, LeaseNotFound
from orchestrator.domain.lease import Boot, Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from providers.local.client import NAME, LeaseBook, troubles
from providers.local.machine import Host, Measurement, measure, measured, read_host
from providers.local.nvml import Device, devices
from providers.local.settings import LocalSettings
from providers.local.translate import CPU, Bundle, accelerator_of, bundles, cpu_offer, gpu_offer, instance_type_of

VISIBLE = "CUDA_VISIBLE_DEVICES"  # names the GPUs of a lease to every CUDA program


class LocalProvider:
    """Sells this machine, `slots` times over, and each of its GPUs once.

    A lease is a file, so it outlives this process. `Boot` is ignored: the machine is up, its image is its own, and a
    lease does not run out, because an owned machine that waits costs nobody anything.
    """

    name = NAME

    def __init__(
        self,
        *,
        owner: str,
        settings: LocalSettings,
        clock: Clock,
        state_dir: Path,
        host: Host,
        devices: Callable[[], Sequence[Device]] = devices,
        measure: Callable[[datetime], Measurement] = measure,
    ) -> None:
        self._owner = owner
        self._settings = settings
        self._clock = clock
        self._state_dir = state_dir
        self._host = host
        self._devices = devices
        self._measure = measure
        self._book = LeaseBook(state_dir / "leases")

    def offers(self) -> OfferBook:
        """The whole machine, and its GPUs in bundles of 1, 2, 4, ... of a kind; what is leased or busy is not free.

        Raises: TransientError.
        """
        return OfferBook.of(self._offers(self._devices(), self._book.leases()))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:  # noqa: ARG002
        """Lease `nodes` slots of the machine or `nodes` bundles of GPUs: ready at once.

        Raises: CapacityError, TransientError; ValueError where `nodes` is below 1.
        """
        if nodes < 1:
            raise ValueError(f"a lease has at least one node, not {nodes}")
        seen = self._devices()
        with self._book.exclusive():
            held = self._book.leases()
            for lease in held:
                if (lease.owner, lease.token) == (self._owner, token):
                    return lease
            now_on_sale = {fresh.label: fresh for fresh in self._offers(seen, held)}
            fresh = now_on_sale.get(offer.label)
            if fresh is None:
                raise CapacityError(NAME, f"this machine does not sell {offer.label}")
            if nodes > (fresh.available or 0):
                raise CapacityError(NAME, f"{fresh.available} of {nodes} x {offer.instance_type} are free")
            lease = self._lease(fresh, nodes, token, seen, held)
            self._book.add(lease)
            return lease

    def release(self, lease_id: str) -> None:
        """Free what the lease holds, at once; its folder stays, with what the job left in it.

        Raises: LeaseNotFound, also for a lease of another owner; TransientError.
        """
        with self._book.exclusive():
            for lease in self._book.leases():
                if lease.id == lease_id and lease.owner == self._owner:
                    self._book.remove(lease)
                    return
        raise LeaseNotFound(NAME, f"no lease {lease_id!r} of {self._owner}")

    def leases(self) -> Sequence[Lease]:
        """Our leases in the order of purchase. Raises: TransientError."""
        return [lease for lease in self._book.leases() if lease.owner == self._owner]

    def accelerators(self) -> Sequence[Accelerator]:
        """The CPU, as measured on the first call and kept for the next. Raises: TransientError."""
        with troubles(self._state_dir):
            seen = measured(self._state_dir / "cpu.json", self._host, self._clock.now(), self._measure)
        return (accelerator_of(self._host, seen, tdp_w=self._settings.tdp_w),)

    def _offers(self, seen: Sequence[Device], held: Sequence[Lease]) -> list[Offer]:
        used = sum(lease.nodes for lease in held if lease.offer.accelerator == CPU)
        free_slots = max(0, self._settings.slots - used)
        host, settings, now = self._host, self._settings, self._clock.now()
        offers = [cpu_offer(free_slots, host=host, settings=settings, now=now)]
        taken = _taken(held)
        for bundle in bundles(seen):
            free = sum(device.uuid not in taken and not device.busy for device in bundle.members)
            offers.append(
                gpu_offer(bundle, free // bundle.gpus, devices=len(seen), host=host, settings=settings, now=now)
            )
        return offers

    def _lease(self, offer: Offer, nodes: int, token: str, seen: Sequence[Device], held: Sequence[Lease]) -> Lease:
        lease_id = f"{NAME}-{uuid.uuid4().hex[:16]}"
        if offer.accelerator == CPU:
            # On a machine with GPUs, a job that bought the CPU must not take them from those who buy them.
            env: list[tuple[tuple[str, str], ...]] = [((VISIBLE, ""),) if seen else ()] * nodes
        else:
            env = [((VISIBLE, ",".join(share)),) for share in _shares(offer, nodes, bundles(seen), _taken(held))]
        folders = [self._state_dir / "machines" / lease_id / str(node) for node in range(nodes)]
        for folder in folders:
            folder.mkdir(parents=True)
        return Lease(
            id=lease_id,
            provider=NAME,
            token=token,
            owner=self._owner,
            offer=offer,
            nodes=nodes,
            state=LeaseState.READY,
            usd_per_hour=nodes * offer.usd_per_hour,
            acquired_at=self._clock.now(),
            endpoints=tuple(
                Endpoint(launcher="process", path=str(folder), env=variables)
                for folder, variables in zip(folders, env, strict=True)
            ),
        )


def _taken(held: Iterable[Lease]) -> frozenset[str]:
    """UUIDs of the GPUs that leases hold."""
    lists = [dict(endpoint.env).get(VISIBLE, "") for lease in held for endpoint in lease.endpoints]
    return frozenset(uuid for listed in lists for uuid in listed.split(",") if uuid)


def _shares(offer: Offer, nodes: int, on_sale: Iterable[Bundle], taken: frozenset[str]) -> list[list[str]]:
    """The GPUs of each node: `nodes` lists of UUIDs, no two alike, none taken or busy."""
    bundle = next(bundle for bundle in on_sale if instance_type_of(bundle) == offer.instance_type)
    free = [device.uuid for device in bundle.members if device.uuid not in taken and not device.busy]
    return [free[node * bundle.gpus : (node + 1) * bundle.gpus] for node in range(nodes)]


def create(context: ProviderContext) -> Provider:
    """The entry point. Raises: ConfigError."""
    return LocalProvider(
        owner=context.owner,
        settings=read(LocalSettings, context.settings, where=f"providers.{NAME}"),
        clock=context.clock,
        state_dir=context.state_dir,
        host=read_host(),
    )
