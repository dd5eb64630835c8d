"""Where a service is reached: the URLs of what runs now; pure."""

from __future__ import annotations

from orchestrator.domain.lease import Endpoint
from orchestrator.domain.run import Attempt, AttemptState
from orchestrator.domain.workload import Program

HERE = "127.0.0.1"
PROCESS, MACHINES = "process", "ssh"  # launchers whose machines listen at addresses that we know


def urls(program: Program | None, attempt: Attempt) -> tuple[str, ...]:
    """`http://address:port` for each machine on which a job of `program` runs at present; none without a port.

    A machine is left out where its address is none for others: behind a jump host, or a node of a Slurm allocation.
    """
    running = attempt.state is AttemptState.HELD and attempt.handle is not None and not attempt.job_ended
    if program is None or program.port is None or attempt.lease is None or not running:
        return ()
    hosts = [_host(endpoint) for endpoint in attempt.lease.endpoints]
    return tuple(f"http://{host}:{program.port}" for host in hosts if host)


def _host(endpoint: Endpoint) -> str:
    if endpoint.launcher == PROCESS:
        return HERE
    if endpoint.launcher != MACHINES or endpoint.jump is not None:
        return ""
    return f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
