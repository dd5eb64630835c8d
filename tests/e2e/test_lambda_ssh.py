"""Machines bought at a simulated Lambda, as real SSH servers that came up with what the adapter told them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from orchestrator.domain.lease import Boot, LeaseState
from tests.e2e import sshd
from tests.wire.lambda_account import buy, scene


def test_a_gang_is_logged_in_to_with_the_keys_of_its_lease(tmp_path: Path) -> None:
    sshd.needed()
    port = sshd.free_port()
    with scene(tmp_path) as cloud, ExitStack() as hosts:
        provider = cloud.provider(ssh_port=port)
        buy(provider, 2, boot=Boot(run_id="run-1", user_data="#!/bin/sh\necho of my own\n", lifetime_s=3600.0))
        cloud.market.clock.advance(60.0)
        for machine in cloud.live():
            text = str(machine.extra["user_data"])
            hosts.enter_context(sshd.Host(tmp_path / machine.address, text, port, machine.address))
        (lease,) = provider.leases()
        assert (lease.state, len(lease.endpoints)) == (LeaseState.READY, 2)
        for point in lease.endpoints:
            assert sshd.run(point, ["echo", point.address], tmp_path).stdout == f"{point.address}\n"
        buy(provider, 1, run=2)
        cloud.market.clock.advance(60.0)
        other = next(each for each in provider.leases() if each.id != lease.id)
        stranger = replace(lease.endpoints[0], identity=other.endpoints[0].identity)
        assert "Permission denied" in sshd.run(stranger, ["true"], tmp_path).stderr
