"""A training job and a service over a continuum: placed by cost and by round trip, moved when places fail, billed.

Real are Slurm, the SSH servers and the network between them, the programs and the control plane; the cloud is
simulated, with machines that boot, and the GPUs of Slurm and of the cloud are names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from orchestrator.domain.run import RunState
from tests.e2e import char_service, continuum
from tests.e2e.continuum import HERE, Continuum

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]


def test_training_and_a_service_are_placed_over_the_continuum_and_move_when_their_places_fail(tmp_path: Path) -> None:
    continuum.needed()
    with Continuum(tmp_path) as world:
        training, service = world.jobs(*char_service.training(more=100))
        world.plane.up()
        world.settle()
        trained = train_where_it_is_cheapest(world, training)
        serve_where_it_is_near(world, service)
        lose_a_host(world)
        train_on_elsewhere(world, trained)
        leave_nothing(world)


def train_where_it_is_cheapest(world: Continuum, job: Path) -> str:
    """Slurm, by its owner's price; the next ones cost more with all terms, and are told."""
    saved = world.folder / "train.json"
    page = world.shell.run("plan", str(job), "-o", str(saved))
    ranked = json.loads(saved.read_text())["plan"]["ranked"]
    offers = [placement["parts"][0]["offer"] for placement in ranked]
    assert (offers[0]["provider"], offers[0]["region"], offers[0]["gpus"]) == ("slurm", continuum.SITE, 1.0)
    others = [offer["provider"] for offer in offers if offer["provider"] != "slurm"]
    assert others == ["aws", "local"], page
    assert re.search(r"Why this and not #2 \(1x slurm lab/batch 2x-a100\S+ owned\): it costs \$[\d.]+ more", page), page
    run_id = str(world.shell.read("apply", str(saved))["run_id"])
    world.until("it trains in Slurm", lambda: state(world, run_id) is RunState.RUNNING, within_s=60)
    (job_name,) = world.slurm.run("squeue", "-h", "-o", "%j").split()
    assert job_name.startswith("isoflop-")
    world.close_slurm()
    return run_id


def serve_where_it_is_near(world: Continuum, job: Path) -> None:
    """Both near sites, by measured round trips; the far one is refused by name. Answers come from both."""
    pools = world.folder / "pools"
    plan = world.shell.read("plan", str(job), "--continuum", "--survive-site-loss", "--buyable", "-o", str(pools))
    sites = [pool["offer"]["region"] for pool in plan["pools"]]
    assert sorted(sites) == ["mainz", "munich"]
    (route,) = plan["routes"]
    assert (route["population"], sites[route["pool"]]) == (HERE, "mainz")
    assert 2.6 <= route["rtt_ms"] <= 5.0
    assert "measured over SSH to mainz-" in route["rtt_origin"]
    (refused,) = [each for each in plan["refusals"] if (each["by"], each["code"]) == ("continuum", "latency")]
    (oslo,) = [example["detail"] for example in refused["examples"] if example["offer"].startswith("ssh oslo ")]
    assert re.match(r"its round trip to the nearest users is 4\d ms \(measured over SSH to oslo-1", oslo)

    world.shell.run("apply", *map(str, sorted(pools.glob("*.json"))))
    world.until("both pools answer", lambda: answering(world) == {"mainz-1", "munich-1"}, within_s=90)
    told = {world.edge.host_of(httpx.URL(each["url"]).host) for each in world.shell.read("endpoints", "chat")}
    assert told == {"mainz-1", "munich-1"}


def lose_a_host(world: Continuum) -> None:
    """The host that serves is gone with its line: its pool goes on at its neighbour, within the target."""
    world.edge.power_off("mainz-1")
    world.until("the neighbour answers", lambda: answering(world) == {"mainz-2", "munich-1"}, within_s=240)
    (moved,) = [run for run in world.runs() if run.name == "chat-part-1"]
    first, *_, last = moved.attempts
    assert first.cause == "the provider no longer lists the lease"
    assert last.offer == "ssh mainz cpu owned"


def train_on_elsewhere(world: Continuum, run_id: str) -> None:
    """The allocation came to its end: from its last checkpoint the training went on in the cloud, and is done."""
    world.until("the training ends", lambda: state(world, run_id).final, within_s=200)
    (run,) = [each for each in world.runs() if each.id == run_id]
    assert run.state is RunState.SUCCEEDED, run
    held = [attempt for attempt in run.attempts if attempt.held_at is not None]
    assert [attempt.provider for attempt in held] == ["slurm", "aws"]
    assert held[0].exit_code == 143
    output = world.shell.run("logs", run_id)
    before, _, after = output.partition("--- attempt")
    saved = re.search(r"asked to stop: saved at step (\d+)", before)
    resumed = re.search(r"resumed from the checkpoint of step (\d+)", after)
    assert saved is not None
    assert resumed is not None
    assert int(resumed.group(1)) == int(saved.group(1)) > 0


def leave_nothing(world: Continuum) -> None:
    """Every run ended: no lock, no job, no machine, no process; the bill adds up."""
    assert {"locks and leases of hosts", "processes of runs"} <= world.left().keys()  # of the service, which runs
    world.cancel()
    bill = world.shell.read("bill")
    assert {line["offer"].split()[0] for line in bill["lines"]} == {"slurm", "ssh", "aws"}
    assert not any(line["open"] for line in bill["lines"])
    for line in bill["lines"]:
        assert line["usd"] == pytest.approx(line["usd_per_hour"] * line["billed_s"] / 3600, abs=1e-6)
    assert bill["total_usd"] == pytest.approx(sum(line["usd"] for line in bill["lines"]), abs=1e-9)
    assert bill["total_usd"] == pytest.approx(sum(run.usd for run in world.runs()), abs=1e-9)
    world.shell.run("down")
    world.until("no process is left", lambda: not world.processes_left(), within_s=30)


def state(world: Continuum, run_id: str) -> RunState:
    with world.plane.client() as client:
        return client.run(run_id).state


def answering(world: Continuum) -> set[str]:
    """The hosts that answer at the addresses that the control plane tells."""
    hosts = set()
    with char_service.client(timeout_s=2.0) as over:
        for url in (url for run in world.runs() for attempt in run.attempts for url in attempt.urls):
            try:
                answer = char_service.ask(over, url)
            except httpx.HTTPError:
                continue
            assert len(answer.text) == 16
            hosts.add(answer.host)
    return hosts
