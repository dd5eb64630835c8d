"""The commands of isoflop by name: what `isoflop --help` shows without importing any of them."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: its module is `orchestrator.interfaces.cli.<name>`, `help` the first line of its docstring.

    The module has a function `run`, or, where `group` is set, a typer application `app` with sub-commands.
    """

    name: str
    help: str
    group: bool = False


COMMANDS = (
    Entry("init", "Write a commented example job file to start from."),
    Entry("plan", "Show where a job would run, what it costs and why; buy nothing."),
    Entry("explain", "Say why an offer is, or is not, the choice of a plan; what if."),
    Entry("simulate", "Replay jobs, spot markets, requests and queues in virtual time.", group=True),
    Entry("size", "Size a model: FLOPs, memory, devices, hours, energy and cost."),
    Entry("gap", "Show demand for compute against expected capacity, 2024 to 2035."),
    Entry("validate", "Check predictions against runs of your own."),
    Entry("calibrate", "Learn from runs of your own, for size and plan to use."),
    Entry("offers", "List and filter the market: what is sold where, for how much."),
    Entry("catalog", "Refresh and import prices, show what changed.", group=True),
    Entry("hosts", "Look after hosts of your own: list, probe, trust, forget.", group=True),
    Entry("network", "Show, import, forget round trips and bandwidth between places.", group=True),
    Entry("schema", "Print the JSON Schema of job files, for editors."),
    Entry("submit", "Hand a job to the control plane, which buys, runs and bills it."),
    Entry("apply", "Run saved plans, if their prices and capacity still hold."),
    Entry("status", "Show runs: state, progress, time left and cost so far."),
    Entry("endpoints", "Show at which URLs services that run now are reached."),
    Entry("logs", "Print what a run's program wrote."),
    Entry("events", "Print everything that happened to a run."),
    Entry("bill", "Print what runs cost, lease by lease."),
    Entry("cancel", "Stop a run and give its machines back."),
    Entry("approve", "Agree to what a run is to cost, as its approver."),
    Entry("up", "Start the control plane."),
    Entry("down", "Stop the control plane."),
    Entry("doctor", "Check installation, settings, providers and control plane."),
)


def named(name: str) -> Entry | None:
    """The command called `name`."""
    return next((entry for entry in COMMANDS if entry.name == name), None)
