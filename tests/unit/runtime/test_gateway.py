"""Reaching providers under a deadline."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence

import pytest

from orchestrator.domain.errors import CapacityError, ConfigError, LeaseNotFound, TransientError
from orchestrator.domain.lease import Boot, Lease, ReclaimNotice
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.runtime.gateway import Acquire, Look, Release, Sighting, ThreadGateway
from orchestrator.testing.builders import lease, offer
from orchestrator.testing.clock import EPOCH

BUY = Acquire(offer=offer(), nodes=2, token="t", boot=Boot(run_id="r"))
NOTICE = ReclaimNotice("lease-1", EPOCH)


class Shop:
    """A provider that answers as it is told to."""

    name = "shop"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.asked: list[object] = []

    def _answer(self, *asked: object) -> None:
        self.asked.append(asked)
        self.gate.wait(20.0)
        if self.error is not None:
            raise self.error

    def offers(self) -> OfferBook:
        return OfferBook.empty()

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:
        self._answer(offer, nodes, token, boot)
        return lease(token=token, nodes=nodes)

    def release(self, lease_id: str) -> None:
        self._answer(lease_id)

    def leases(self) -> Sequence[Lease]:
        self._answer()
        return [lease()]


class WarningShop(Shop):
    def reclaims(self) -> Sequence[ReclaimNotice]:
        return [NOTICE]


def test_requests_reach_the_provider_and_answers_come_back() -> None:
    shop = Shop()
    gateway = ThreadGateway({"shop": shop})
    assert gateway.call("shop", BUY, timeout_s=5.0) == lease(token="t", nodes=2)
    assert shop.asked == [(BUY.offer, 2, "t", BUY.boot)]
    assert gateway.call("shop", Release(lease_id="x"), timeout_s=5.0) is None
    assert gateway.call("shop", Look(), timeout_s=5.0) == Sighting(leases=(lease(),))
    assert gateway.names() == ("shop",)


def test_a_look_brings_reclaim_notices_where_the_provider_gives_them() -> None:
    answer = ThreadGateway({"shop": WarningShop()}).call("shop", Look(), timeout_s=5.0)
    assert answer == Sighting(leases=(lease(),), notices=(NOTICE,))


@pytest.mark.parametrize("error", [CapacityError("shop", "none"), LeaseNotFound("shop", "x"), KeyError("a bug")])
def test_what_the_provider_raises_is_raised_here(error: Exception) -> None:
    shop = Shop()
    shop.error = error
    with pytest.raises(type(error)):
        ThreadGateway({"shop": shop}).call("shop", BUY, timeout_s=5.0)


def test_a_provider_that_hangs_is_in_doubt_at_the_deadline() -> None:
    shop = Shop()
    shop.gate.clear()
    with pytest.raises(TransientError, match=r"no answer within 0\.05 s"):
        ThreadGateway({"shop": shop}).call("shop", BUY, timeout_s=0.05)
    shop.gate.set()


def test_a_provider_that_is_not_configured_is_the_users_to_mend() -> None:
    with pytest.raises(ConfigError, match="'shop'"):
        ThreadGateway({}).call("shop", Look(), timeout_s=1.0)


@pytest.mark.parametrize("value", [BUY, Release(lease_id="x"), Look(), Sighting(leases=(lease(),), notices=(NOTICE,))])
def test_requests_and_answers_travel_between_processes(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
