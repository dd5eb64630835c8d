"""Leases hold across real processes: buyers that race, and buyers that are killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.contracts import Provider
from orchestrator.domain.lease import Boot
from orchestrator.domain.offer import Offer
from orchestrator.testing.clock import FakeClock
from providers.local.machine import Host
from providers.local.provider import LocalProvider
from providers.local.settings import LocalSettings
from providers.simulated.provider import SimulatedProvider
from providers.simulated.settings import SimulatedSettings

ROOT = Path(__file__).parents[2]
SLOTS = 4  # of the local machine here, and nodes of each on-demand pool of the demo market
BUYER = """
import sys
from pathlib import Path
from orchestrator.domain.errors import CapacityError
from orchestrator.domain.lease import Boot
sys.path.insert(0, {here!r})
from test_provider_processes import open_provider
provider = open_provider({kind!r}, Path({folder!r}))
offer = next(offer for offer in provider.offers() if offer.billing in ("owned", "on-demand"))
print("up", flush=True)
for token in {tokens!r}:
    try:
        print(token, provider.acquire(offer, 1, token=token, boot=Boot()).id, flush=True)
    except CapacityError:
        print(token, "-", flush=True)
    if {churn!r}:
        for lease in provider.leases():
            if lease.token == token:
                provider.release(lease.id)
"""


def open_provider(kind: str, folder: Path) -> Provider:
    if kind == "simulated":
        return SimulatedProvider(owner="me", settings=SimulatedSettings(), clock=FakeClock(), state_dir=folder)
    return LocalProvider(
        owner="me",
        settings=LocalSettings(slots=SLOTS),
        clock=FakeClock(),
        state_dir=folder,
        host=Host(cpu="test", cores=1, memory_gib=1.0),
        devices=tuple,
    )


def _buyer(kind: str, folder: Path, tokens: list[str], *, churn: bool = False) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    code = BUYER.format(here=here, kind=kind, folder=str(folder), tokens=tokens, churn=churn)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _answers(buyer: subprocess.Popen[str]) -> dict[str, str]:
    """What a buyer printed: lease ids by token, "-" where it was refused; a line cut by a kill is left out."""
    assert buyer.stdout is not None
    pairs = (line.split() for line in buyer.stdout.read().splitlines(keepends=True) if line.endswith("\n"))
    buyer.stdout.close()
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


@pytest.mark.parametrize("kind", ["local", "simulated"])
def test_processes_that_race_for_the_same_tokens_buy_each_once_and_no_more_than_there_is(
    kind: str, tmp_path: Path
) -> None:
    tokens = [f"t{number}" for number in range(SLOTS + 3)]
    buyers = [_buyer(kind, tmp_path, tokens if turn % 2 else tokens[::-1]) for turn in range(4)]
    answers = [_answers(buyer) for buyer in buyers]
    assert [buyer.wait() for buyer in buyers] == [0] * 4
    held = {lease.token: lease.id for lease in open_provider(kind, tmp_path).leases()}
    assert len(held) == SLOTS
    for answer in answers:
        assert set(answer) == set(tokens)
        assert {token: found for token, found in answer.items() if found != "-"}.items() <= held.items()


@pytest.mark.parametrize("kind", ["local", "simulated"])
def test_a_buyer_killed_at_any_moment_leaves_books_that_are_whole(kind: str, tmp_path: Path) -> None:
    seen: set[str] = set()
    for turn in range(4):
        tokens = [f"{turn}-{number}" for number in range(2000)]
        buyer = _buyer(kind, tmp_path, tokens, churn=True)
        assert buyer.stdout is not None
        lines = [buyer.stdout.readline() for _ in range(2 + 3 * turn)]  # killed in a different place each turn
        assert lines[0] == "up\n"
        os.kill(buyer.pid, signal.SIGKILL)
        told = {**dict([line.split() for line in lines[1:]]), **_answers(buyer)}
        assert buyer.wait() == -signal.SIGKILL
        provider = open_provider(kind, tmp_path)
        left = list(provider.leases())
        assert len(left) <= 1  # the one in the buyer's hands, if it had one
        for lease in left:
            assert told.get(lease.token, lease.id) == lease.id
            assert provider.acquire(lease.offer, 1, token=lease.token, boot=Boot()).id == lease.id
            provider.release(lease.id)
        assert not provider.leases()
        assert not seen & set(told.values())
        seen |= set(told.values())
    fresh = [
        open_provider(kind, tmp_path).acquire(_offer(kind, tmp_path), 1, token=f"z{n}", boot=Boot()) for n in (0, 1)
    ]
    assert not seen & {lease.id for lease in fresh}


def _offer(kind: str, folder: Path) -> Offer:
    return next(o for o in open_provider(kind, folder).offers() if o.billing in {"owned", "on-demand"})
