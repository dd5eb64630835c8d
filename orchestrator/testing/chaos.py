"""What a provider promises whatever happens in whatever order, as a property; part of ProviderContract."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.domain.contracts import Provider
from orchestrator.domain.errors import LeaseNotFound, ProviderError
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.testing.accounts import LISTED_WITHIN_S, OWNER, Account, eventually

TOKENS, MOST_NODES = 4, 2
EXAMPLES, STEPS = 8, 12
SETTLED_S = 900.0  # whatever a provider does by itself after a call has been done by then


class Step(NamedTuple):
    """One thing that a control plane does, or that befalls it. `number` chooses the token or the mishap."""

    what: str
    number: int
    nodes: int
    seconds: float


STEP = st.builds(
    Step,
    st.sampled_from(("buy", "buy", "buy", "release", "look", "wait", "mishap", "mishap", "mend")),
    st.integers(0, 1000),
    st.integers(1, MOST_NODES),
    st.sampled_from((1.0, 30.0, 90.0, 600.0)),
)


class ChaosContract:
    """Random purchases, releases and mishaps on one account, which holds nothing again after each sequence."""

    # Not shrunk: an account goes on from example to example, and a call over the wire is slow.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(steps=st.lists(STEP, min_size=3, max_size=STEPS))
    def test_no_sequence_of_calls_and_mishaps_buys_twice_or_leaves_a_machine_that_nobody_owns(
        self, account: Account, steps: list[Step]
    ) -> None:
        scene = _Scene(account)
        try:
            for step in steps:
                scene.play(step)
                scene.check()
        finally:
            account.mend()
        scene.give_all_back()


class _Scene:
    """A control plane that remembers its tokens, and nothing else, from one call to the next."""

    count = 0  # of scenes: tokens of one are not those of another

    def __init__(self, account: Account) -> None:
        _Scene.count += 1
        self._account, self._name = account, f"chaos-{_Scene.count}"
        self._asked: dict[str, int] = {}  # nodes by token
        self._offers: dict[str, Offer] = {}
        self._mishaps = account.mishaps()

    def play(self, step: Step) -> None:
        """Do it, on a new object as after a restart; an error of the contract is an answer like any other."""
        provider = self._account.provider(OWNER)
        plays: dict[str, Callable[[], object]] = {
            "buy": lambda: self._buy(provider, step),
            "release": lambda: self._release(provider, step),
            "look": provider.leases,
            "wait": lambda: self._account.wait(step.seconds),
            "mishap": lambda: self._mishaps[step.number % len(self._mishaps)]() if self._mishaps else None,
            "mend": self._account.mend,
        }
        with suppress(ProviderError):
            plays[step.what]()

    def check(self) -> None:
        """No token has more machines than were asked for with it."""
        for token, nodes in self._asked.items():
            held = self._account.held_by(token)
            assert held is None or held <= nodes, f"{token}: {held} machines where {nodes} were asked for"

    def give_all_back(self) -> None:
        """What a control plane does at its end; nothing may be held after it."""
        provider = self._account.provider(OWNER)
        self._account.wait(LISTED_WITHIN_S)

        def none_left() -> bool:
            for lease in provider.leases():
                with suppress(LeaseNotFound):
                    provider.release(lease.id)
            return not provider.leases()

        eventually(self._account, none_left, within_s=SETTLED_S)
        self._account.wait(SETTLED_S)
        assert not provider.leases()
        with suppress(pytest.skip.Exception):  # an account whose books are closed has shown that it lists nothing
            assert self._account.really_held() == 0

    def _buy(self, provider: Provider, step: Step) -> None:
        token = f"{self._name}-{step.number % TOKENS}"
        if token not in self._offers:
            on_sale = [offer for offer in provider.offers() if offer.available != 0]
            if not on_sale:
                return
            self._offers[token] = on_sale[step.number % len(on_sale)]
            self._asked[token] = step.nodes
        lease = provider.acquire(self._offers[token], self._asked[token], token=token, boot=Boot(run_id="chaos"))
        assert (lease.token, lease.owner, lease.nodes) == (token, OWNER, self._asked[token])
        assert self._account.held_by(token) != 0, "a lease without a machine, or books that do not know the token"

    def _release(self, provider: Provider, step: Step) -> None:
        leases = provider.leases()
        if leases:
            provider.release(leases[step.number % len(leases)].id)
