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
    LeaseGone,
    Planned,
    Postponed,
    Purchased,
    PurchaseIntended,
    PurchaseRefused,
)
from orchestrator.domain.offer import Billing
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
# A node of eight H100 everywhere; the prices are made up, so that the order of the plan is the order of the story.
NODES = {
    "aws": ("us-east-1", "us-east-1a", "p5.48xlarge", 20.0),
    "gcp": ("us-central1", "us-central1-a", "a3-highgpu-8g", 21.0),
    "azure": ("eastus", "", "Standard_ND96isr_H100_v5", 22.0),
    "lambda": ("us-east-1", "", "gpu_8x_h100_sxm5", 23.0),
    "coreweave": ("US-EAST-04A", "", "gd-8xh100ib-i128", 24.0),
}
BOOT_S = 3600.0  # the story ends with machines that boot: a simulated cloud has no machine to run a job on
CONFIG = """
[market]
deadline_s = 90.0

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
        self.clouds.market.script(Fault(provider=cloud, kind=kind, operation=operation, times=ALWAYS))

    def held(self) -> list[str]:
        """The clouds of all machines that are not gone, by the clouds' own account."""
        machines = httpx.get(self.served.urls[CONTROL], timeout=30).json()["machines"]
        return [str(machine["provider"]) for machine in machines]

    def cancel(self, run_id: str) -> None:
        """The run ends as its user wants, and no machine is left anywhere."""
        with self.plane.client() as client:
            client.cancel(run_id)

        def ended() -> bool:
            self.clouds.market.clock.advance(10.0)  # machines take their time to stop
            return client_of(self.plane, run_id).final

        self.plane.until("the run ends", ended)
        assert client_of(self.plane, run_id) is RunState.CANCELLED
        assert self.held() == []


def client_of(plane: Plane, run_id: str) -> RunState:
    with plane.client() as client:
        return client.run(run_id).state


def pool(cloud: str) -> Pool:
    region, zone, kind, usd = NODES[cloud]
    return Pool(
        key=Key(cloud, region, zone, kind, Billing.ON_DEMAND),
        accelerator="H100-SXM",
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
    limits = Limits(billing=(Billing.ON_DEMAND,), accelerators=("H100-SXM",))
    workload = builders.training(name="failover", program=Program(command=("true",)), limits=limits)
    with plane.client() as client:
        return client.submit(workload).run_id


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_with_four_clouds_that_refuse_the_run_lands_on_the_fifth_and_the_log_tells_how(tmp_path: Path) -> None:
    with sky_of(tmp_path, *NODES) as sky:
        plane, market = sky.plane, sky.clouds.market
        sky.refuse("aws", Kind.STOCKOUT)
        sky.refuse("azure", Kind.THROTTLE, "VirtualMachines_CreateOrUpdate")
        sky.refuse("lambda", Kind.STOCKOUT)
        run_id = submit(plane)
        plane.until("something is bought", lambda: plane.holds(run_id, Purchased), within_s=300)

        events = plane.events(run_id)
        story = "\n".join(f"{event.kind}: {describe(event)}" for event in events)
        (planned,) = [event for event in events if isinstance(event, Planned)]
        assert [placement.parts[0].offer.provider for placement in planned.plan.ranked] == list(NODES), story
        assert [event.offer.provider for event in events if isinstance(event, PurchaseIntended)] == list(NODES), story
        refused = [event.error for event in events if isinstance(event, PurchaseRefused)]
        assert refused == ["CapacityError", "QuotaError", "ThrottledError", "CapacityError"], story
        assert events[-1].at - events[0].at < timedelta(minutes=5)
        (bought,) = [event.lease for event in events if isinstance(event, Purchased)]
        assert (bought.provider, bought.nodes) == ("coreweave", 1)
        assert sky.held() == ["coreweave"]

        sky.cancel(run_id)
        assert of(plane.events(run_id), LeaseGone)
        assert market.log()


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
        assert "lambda us-east-1 gpu_8x_h100_sxm5 on-demand: sold out" in run.detail
        sky.cancel(run_id)
