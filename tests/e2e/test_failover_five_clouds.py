"""One submit through a real control plane and five real adapters over the wire: four clouds refuse, the fifth sells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator.domain.events import (
    Event,
    Planned,
    Postponed,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
)
from orchestrator.domain.offer import Billing
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.run import RunState
from orchestrator.domain.workload import Limits, Program
from orchestrator.interfaces.views.events_view import describe
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE
from orchestrator.simulation.clouds.clock import MarketClock
from orchestrator.simulation.clouds.faults import ALWAYS, Fault, Kind
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Key, Pool
from orchestrator.simulation.clouds.serve import CONTROL, Clouds, Served
from orchestrator.testing import builders
from tests.e2e.conftest import Plane, make

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]

SPECS = Path(__file__).parents[3] / "shared" / "data" / "specs"
# A node of eight A100 everywhere (Google's quotas say nothing of newer devices). Prices rise in the order of the story;
# the last is CoreWeave's list price, for it has no price API.
NODES = {
    "aws": ("us-east-1", "us-east-1a", "p4de.24xlarge", 18.0),
    "gcp": ("us-central1", "us-central1-a", "a2-ultragpu-8g", 19.0),
    "azure": ("eastus", "", "Standard_ND96amsr_A100_v4", 20.0),
    "lambda": ("us-east-1", "", "gpu_8x_a100_80gb_sxm4", 21.0),
    "coreweave": ("US-EAST-04", "", "gd-8xa100-i128", 21.6),
}
DEVICE, QUOTA = "A100-80GB", "GPUS_ALL_REGIONS"
BOOT_S = 3600.0  # the story ends with machines that boot: a simulated cloud has no machine to run a job on
CONFIG = """
[control]
tick_s = 0.2

"""


@dataclass
class Sky:
    """Simulated clouds of one market, and a control plane that knows them by their settings alone."""

    plane: Plane
    clouds: Clouds
    served: Served

    def refuse(self, cloud: str, kind: Kind, operation: str = "*") -> None:
        self.clouds.market.script(Fault(provider=cloud, kind=kind, operation=operation, times=ALWAYS, seconds=1.0))

    def held(self) -> list[str]:
        """The clouds of all machines that are not gone, by the clouds' own account."""
        machines = httpx.get(self.served.urls[CONTROL], timeout=30).json()["machines"]
        return [str(machine["provider"]) for machine in machines]

    def cancel(self, *run_ids: str) -> None:
        """The runs end as their user wants, and no machine is left anywhere."""
        with self.plane.client() as client:
            for run_id in run_ids:
                client.cancel(run_id)

        def ended() -> bool:
            self.clouds.market.clock.advance(5.0)  # machines take their time to stop
            return all(state_of(self.plane, run_id).final for run_id in run_ids)

        self.plane.until("the runs end", ended)
        assert {state_of(self.plane, run_id) for run_id in run_ids} == {RunState.CANCELLED}
        assert self.held() == []


def state_of(plane: Plane, run_id: str) -> RunState:
    with plane.client() as client:
        return client.run(run_id).state


def pool(cloud: str) -> Pool:
    region, zone, kind, usd = NODES[cloud]
    return Pool(
        key=Key(cloud, region, zone, kind, Billing.ON_DEMAND),
        accelerator=DEVICE,
        gpus=8.0,
        vcpus=192.0,
        host_memory_gib=1800.0,
        usd_per_hour=usd,
        capacity=4,
        boot_s=BOOT_S,
    )


@contextmanager
def sky_of(folder: Path, *names: str) -> Iterator[Sky]:
    market = Market([pool(cloud) for cloud in names], seed=5, clock=MarketClock(datetime.now(UTC), scale=1.0))
    specs = SPECS if SPECS.is_dir() else None
    with ExitStack() as stack:
        clouds = stack.enter_context(Clouds(market, folder / "clouds", names=names, specs=specs))
        served = clouds.served()
        plane = make(folder / "home", CONFIG + served.configuration())
        stack.callback(plane.destroy)
        yield Sky(plane, clouds, served)
        assert [line for wire in clouds.wires.values() for line in wire.nonconforming] == []


def submit(plane: Plane) -> str:
    plane.up()
    limits = Limits(billing=(Billing.ON_DEMAND,), accelerators=(DEVICE,))
    workload = builders.training(name="failover", program=Program(command=("true",)), limits=limits)
    with plane.client() as client:
        return client.submit(workload).run_id


def asked(events: list[Event]) -> list[str]:
    """Whom the run tried to buy from, in order."""
    return [event.offer.provider for event in events if isinstance(event, PurchaseIntended)]


# What `isoflop events` shows of it: the kind of an event and words of its line, in order.
STORY = (
    ("planned", "aws us-east-1/us-east-1a p4de.24xlarge on-demand"),
    ("purchase-intended", "candidate 1: 1x aws"),
    ("purchase-refused", "CapacityError: aws: RunInstances in us-east-1: InsufficientInstanceCapacity"),
    ("purchase-intended", "candidate 2: 1x gcp"),
    ("purchase-refused", "QUOTA_EXCEEDED: Quota 'GPUS_ALL_REGIONS' exceeded"),
    ("purchase-intended", "candidate 3: 1x azure"),
    ("purchase-refused", "ThrottledError: 5 calls were turned away: azure: launch of"),
    ("purchase-intended", "candidate 4: 1x lambda"),
    ("purchase-refused", "CapacityError: lambda: instance-operations/launch/insufficient-capacity"),
    ("purchase-intended", "candidate 5: 1x coreweave"),
    ("purchased", "1x coreweave US-EAST-04/US-EAST-04A gd-8xa100-i128 on-demand at $21.60/h"),
)


def test_with_four_clouds_that_refuse_the_run_lands_on_the_fifth_and_the_log_tells_how(tmp_path: Path) -> None:
    with sky_of(tmp_path, *NODES) as sky:
        plane, market = sky.plane, sky.clouds.market
        sky.refuse("aws", Kind.STOCKOUT)
        sky.refuse("azure", Kind.THROTTLE, "VirtualMachines_CreateOrUpdate")
        sky.refuse("lambda", Kind.STOCKOUT)
        market.set_quota("gcp", QUOTA, 8.0)
        market.script(Fault(provider="aws", kind=Kind.SLOW, operation="RunInstances", seconds=8.0, times=ALWAYS))
        run_id = submit(plane)
        plane.until("AWS is asked", lambda: plane.holds(run_id, PurchaseIntended), within_s=120)
        market.set_quota("gcp", QUOTA, 0.0)  # somebody else of the account uses it up meanwhile
        plane.until("something is bought", lambda: plane.holds(run_id, Purchased), within_s=300)

        events = plane.events(run_id)
        lines = [(event.kind, describe(event)) for event in events]
        told = [line for line in lines if line[0] in {kind for kind, _ in STORY}]
        assert len(told) == len(STORY), lines
        for (kind, line), (expected, words) in zip(told, STORY, strict=True):
            assert kind == expected, lines
            assert words in line, lines
        plane.until("the node is delivered", lambda: sky.held() == ["coreweave"], within_s=60)

        # What was refused to one run is not asked for by the next, while the refusals stand.
        other = submit(plane)
        plane.until("the second buys", lambda: plane.holds(other, Purchased), within_s=60)
        assert asked(plane.events(other)) == ["coreweave"]
        (planned,) = [event.plan for event in plane.events(other) if isinstance(event, Planned)]
        codes = {refusal.code for refusal in planned.refusals}
        assert {ReasonCode.RECENTLY_REFUSED, ReasonCode.QUOTA} <= codes, planned.refusals

        sky.cancel(run_id, other)


def test_with_every_cloud_refusing_the_run_waits_says_so_and_costs_nothing(tmp_path: Path) -> None:
    with sky_of(tmp_path, "lambda") as sky:
        sky.refuse("lambda", Kind.STOCKOUT)
        run_id = submit(sky.plane)
        sky.plane.until("it waits", lambda: sky.plane.holds(run_id, Postponed), within_s=120)
        events = sky.plane.events(run_id)
        (told,) = [event for event in events if isinstance(event, Postponed)]
        (refused,) = [event for event in events if isinstance(event, PurchaseRefused)]
        assert told.until == refused.at + timedelta(seconds=DEFAULT_PATIENCE.sold_out_s)
        with sky.plane.client() as client:
            run = client.run(run_id)
        assert (run.state, run.usd) == (RunState.PLANNING, 0.0)
        assert "lambda us-east-1 gpu_8x_a100_80gb_sxm4 on-demand: sold out" in run.detail
        sky.cancel(run_id)
