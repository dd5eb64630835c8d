"""A machine that came up with its start-up text opens for the lease's key alone and proves that it is ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.domain.lease import Boot, Endpoint
from orchestrator.kit.keys import KeyRing
from orchestrator.kit.machine import Identity, user_data
from tests.e2e import sshd


def test_the_first_connection_is_checked_and_only_the_leases_key_opens(tmp_path: Path) -> None:
    sshd.needed()
    ring = KeyRing(tmp_path / "keys")
    keys, stranger = ring.of("lease-1"), ring.of("lease-2")
    text = user_data(Boot(run_id="run-1"), Identity((keys.login_public,), keys.host_public, keys.host_private))
    port = sshd.free_port()
    ours = Endpoint(
        launcher="ssh", address="127.0.0.1", port=port, identity=str(keys.login_file), host_key=keys.host_public
    )
    with sshd.Host(tmp_path / "host", text, port):
        assert sshd.run(ours, ["echo", "ours"], tmp_path).stdout == "ours\n"
        refused = sshd.run(replace(ours, identity=str(stranger.login_file)), ["true"], tmp_path)
        assert "Permission denied" in refused.stderr
        changed = sshd.run(replace(ours, host_key=stranger.host_public), ["true"], tmp_path)
        assert "Host key verification failed" in changed.stderr
