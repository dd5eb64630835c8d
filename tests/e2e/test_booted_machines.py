"""What each cloud sells comes up as ours: a real SSH server with the start-up text that the adapter sent with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import credentials, registry
from orchestrator.catalog import pricebook
from orchestrator.domain.contracts import Provider, ProviderContext
from orchestrator.domain.errors import CapacityError
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds import bootup
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.gcp.parts import priced_by_parts
from orchestrator.simulation.clouds.machines import Machine, Phase
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import of_book
from orchestrator.simulation.clouds.serve import Clouds
from orchestrator.testing.clock import EPOCH
from tests.e2e import sshd

SPECS = Path(__file__).parents[3] / "shared" / "data" / "specs"
LIFETIME_S = 3600.0
# What the machine's own end stops: at Azure and Lambda a machine that is off is billed as before, unless it was given a
# way to end itself through the API.
ENDS_THE_BILL = {"aws": True, "azure": False, "gcp": True, "lambda": False}


def bought(provider: Provider, market: Market) -> Lease:
    """One node of the cheapest offer that is to be had, ready."""
    offers = [offer for offer in provider.offers() if offer.available != 0 and offer.billing is Billing.ON_DEMAND]
    boot = Boot(run_id="run-1", lifetime_s=LIFETIME_S)
    for offer in sorted(offers, key=lambda offer: offer.usd_per_hour)[:20]:
        try:
            lease = provider.acquire(offer, 1, token="booted", boot=boot)
        except CapacityError:
            continue
        found: list[Lease] = []

        def ready(lease: Lease = lease, found: list[Lease] = found) -> bool:
            found[:] = [held for held in provider.leases() if held.id == lease.id and held.endpoints]
            return bool(found)

        while not ready():
            assert market.clock.now() < lease.acquired_at.replace(year=lease.acquired_at.year + 1)
            market.clock.advance(30.0)
        return found[0]
    raise AssertionError("nothing is to be had")


@pytest.mark.parametrize("cloud", sorted(ENDS_THE_BILL))
def test_a_bought_machine_opens_for_its_lease_alone_and_ends_itself(cloud: str, tmp_path: Path) -> None:
    sshd.needed()
    pools = priced_by_parts(of_book(pricebook.load(), seed=3, clouds=(cloud,)))
    market = Market(pools, seed=3, clock=MarketClock(EPOCH), hazards=False)
    port = sshd.free_port()
    with Clouds(market, tmp_path / "clouds", names=(cloud,), specs=SPECS if SPECS.is_dir() else None) as clouds:
        table = {**clouds.served().tables[cloud], "ssh_port": port, "control_cidr": "192.0.2.7/32"}
        state = tmp_path / "state"
        state.mkdir()
        provider = registry.provider_factory(cloud)(
            ProviderContext(
                owner="isoflop-test", settings=table, secret=credentials.resolve, clock=market.clock, state_dir=state
            )
        )
        lease = bought(provider, market)
        (machine,) = [each for each in market.machines(cloud) if each.phase(market.clock.now()) is not Phase.GONE]
        (endpoint,) = lease.endpoints
        assert (endpoint.launcher, endpoint.address, endpoint.port) == ("ssh", machine.address, port)
        assert bootup.own_end_s(machine.user_data) == LIFETIME_S
        with sshd.Host(tmp_path / "host", machine.user_data, port, machine.address):
            assert sshd.run(endpoint, ["echo", "ours"], tmp_path).stdout == "ours\n"
            stranger = replace(endpoint, identity=str(Path(endpoint.identity).with_name("host")))
            assert "Permission denied" in sshd.run(stranger, ["true"], tmp_path).stderr
        _ends_itself(market, machine, cloud)
        for wire in clouds.wires.values():
            assert wire.nonconforming == []


def _ends_itself(market: Market, machine: Machine, cloud: str) -> None:
    """Nobody is left: the machine's own timer ends it, and with it the bill where the cloud is one of those."""
    market.clock.advance(2 * LIFETIME_S + 3600.0)

    def gone() -> bool:
        now = market.machine(machine.serial)
        return now is not None and now.phase(market.clock.now()) is Phase.GONE

    assert gone() is ENDS_THE_BILL[cloud]
