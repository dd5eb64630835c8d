"""Commands on other machines over SSH: kept connections, pinned host keys, jump hosts, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import asyncssh

from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.kit.shell.command import MARK, Done, after_mark, remote

T = TypeVar("T")
CONNECT_S, LOGIN_S = 10.0, 20.0
KEEPALIVE_S, KEEPALIVES = 5.0, 3  # a dead link is noticed after 15 s
REFUSALS, REFUSED_S = 20, 0.1  # of a session, with a pause, while we have no other there
ECHOES = 7  # of one byte; the quickest is the round trip
SPARE_S = 5.0  # beyond its timeout, for a call to say that it was too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A machine, who logs in there, and how it proves that it is that machine."""

    host: str
    user: str
    host_key: str  # its public key in OpenSSH's form, known beforehand
    identity: str = ""  # a private key's file; "" leaves it to the SSH agent
    port: int = 22
    jump: Address | None = None  # the machine that it is reached through

    @property
    def label(self) -> str:
        """`user@host:port`."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


class Path(NamedTuple):
    """The way to a machine as one SSH connection has it, jump hosts included; None is not measured."""

    rtt_s: float
    up_bytes_s: float | None = None
    down_bytes_s: float | None = None


class _Way(NamedTuple):
    """A socket here and the connection that it leads through."""

    connection: asyncssh.SSHClientConnection
    path: str


class Hub:
    """Connections to many machines, each opened once and kept. Safe between threads; one event loop in one thread.

    `provider` is whom errors name.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._loop = asyncio.new_event_loop()
        self._connections: dict[Address, asyncssh.SSHClientConnection] = {}
        self._sessions: Counter[Address] = Counter()
        self._opening: dict[Address, asyncio.Lock] = {}
        self._ways: dict[tuple[Address, str], _Way] = {}
        self._laying = asyncio.Lock()
        self._folder = ""  # of the ways' sockets, ours alone
        self._sweep: weakref.finalize[..., Hub] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"ssh-{provider}", daemon=True)
        self._thread.start()

    def run(self, address: Address, line: str, stdin: bytes, timeout_s: float) -> Done:
        """Run a line that `remote` made. Raises: as Shell.run."""
        return self._wait(self._run(address, line, stdin, timeout_s), timeout_s + CONNECT_S + LOGIN_S)

    def host_key(self, address: Address) -> str:
        """The public key that whoever answers there shows now: for a first contact that somebody looks at.

        Raises: TransientError where nobody answers.
        """
        return self._wait(self._host_key(address), CONNECT_S + LOGIN_S)

    def path(self, address: Address, *, each_way: int, timeout_s: float) -> Path:
        """Measure the way to a machine: bytes that come back, and `each_way` bytes sent and received, 0 for none.

        Raises: as Shell.run.
        """
        return self._wait(self._path(address, each_way, timeout_s), timeout_s + CONNECT_S + LOGIN_S)

    def forward(self, address: Address, target: str) -> str:
        """See Forwards.forward."""
        return self._wait(self._forward(address, target), CONNECT_S + LOGIN_S)

    def close(self) -> None:
        """Close every connection and end the thread."""
        if not self._loop.is_closed():
            self._wait(self._close(), CONNECT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CONNECT_S)
            self._loop.close()
            if self._sweep is not None:
                self._sweep()

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s + SPARE_S)
        except FutureTimeout:
            future.cancel()
            raise TransientError(self._provider, f"no end within {timeout_s:g} s") from None

    async def _run(self, address: Address, line: str, stdin: bytes, timeout_s: float) -> Done:
        for attempt in (1, 2):
            fresh = address not in self._connections
            connection = await self._connected(address)
            try:
                async with asyncio.timeout(timeout_s), self._process(address, connection, line) as process:
                    with contextlib.suppress(BrokenPipeError):  # it may have ended by itself, and reads nothing more
                        process.stdin.write(stdin)
                        process.stdin.write_eof()
                    stdout, stderr = await process.communicate()
                break
            except TimeoutError:
                raise TransientError(self._provider, f"{address.label}: no end within {timeout_s:g} s") from None
            except (asyncssh.Error, OSError) as error:
                self._forget(address, connection)
                # On a kept connection that died in the meantime nothing was begun: once more on a new one.
                if fresh or attempt == 2 or not _never_begun(error):
                    raise TransientError(self._provider, f"{address.label}: {error}") from error
        return self._judged(address, connection, process, (_bytes(stdout), _bytes(stderr)))

    @contextlib.asynccontextmanager
    async def _process(
        self, address: Address, connection: asyncssh.SSHClientConnection, line: str
    ) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        """A command, in a session that is closed in the end.

        Servers limit how many sessions a connection may have at a time: it waits for those of others.
        """
        refusals = 0
        while True:
            try:
                process = await _opened(connection, line)
                break
            except asyncssh.ChannelOpenError:
                refusals += 1
                # A session that is closed here may not be there yet.
                if connection.is_closed() or (refusals > REFUSALS and not self._sessions[address]):
                    raise
            await asyncio.sleep(REFUSED_S)
        self._sessions[address] += 1
        try:
            yield process
        finally:
            self._sessions[address] -= 1
            if not self._sessions[address]:
                del self._sessions[address]
            process.close()

    def _judged(
        self,
        address: Address,
        connection: asyncssh.SSHClientConnection,
        process: asyncssh.SSHClientProcess[bytes],
        outputs: tuple[bytes, bytes],
    ) -> Done:
        stdout, stderr = after_mark(outputs[0]), after_mark(outputs[1])
        code = process.returncode
        if code is None:  # neither exit code nor signal: the connection broke, and the command may still run
            self._forget(address, connection)
            raise TransientError(self._provider, f"{address.label}: the connection was lost while a command ran")
        if stdout is None:
            said = [line for output in outputs for line in output.decode(errors="replace").strip().splitlines()]
            last = said[-1] if said else f"exit code {code}"
            raise TransientError(self._provider, f"{address.label}: its login shell runs no command: {last}", 60.0)
        return Done(code, stdout, stderr or b"")

    async def _path(self, address: Address, each_way: int, timeout_s: float) -> Path:
        connection = await self._connected(address)
        try:
            async with asyncio.timeout(timeout_s):
                async with self._process(address, connection, remote(["cat"])) as process:
                    rtt_s = await _echoes(process)
                if not each_way:
                    return Path(rtt_s)
                # Random, not to be compressed on the way.
                line = remote(["sh", "-c", f"head -c {each_way} >/dev/null"])
                async with self._process(address, connection, line) as process:
                    up_s = await _timed(process, os.urandom(each_way))
                line = remote(["head", "-c", str(each_way), "/dev/urandom"])
                async with self._process(address, connection, line) as process:
                    down_s = await _timed(process, b"")
        except TimeoutError:
            raise TransientError(self._provider, f"{address.label}: no end within {timeout_s:g} s") from None
        except (asyncio.IncompleteReadError, asyncssh.Error, OSError) as error:
            self._forget(address, connection)
            raise TransientError(self._provider, f"{address.label}: {error}") from error
        # Cautious for little data: the last round trip counts as sending, and one more as receiving.
        return Path(rtt_s, each_way / max(1e-6, up_s), each_way / max(1e-6, down_s + rtt_s))

    async def _forward(self, address: Address, target: str) -> str:
        async with self._laying:
            connection = await self._connected(address)
            known = self._ways.get((address, target))
            if known is not None and known.connection is connection:
                return known.path
            try:
                if not self._folder:
                    self._folder = tempfile.mkdtemp(prefix="isoflop-ssh-")
                    self._sweep = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
                path = known.path if known is not None else f"{self._folder}/{len(self._ways)}"
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                if target.startswith("/"):
                    await connection.forward_local_path(path, target)
                else:
                    host, _, port = target.rpartition(":")
                    await connection.forward_local_path_to_port(path, host.strip("[]"), int(port))
            except (asyncssh.Error, OSError) as error:
                self._forget(address, connection)
                raise TransientError(self._provider, f"{address.label}: no way to {target}: {error}", 5.0) from error
            self._ways[address, target] = _Way(connection, path)
            return path

    async def _connected(self, address: Address) -> asyncssh.SSHClientConnection:
        async with self._opening.setdefault(address, asyncio.Lock()):
            known = self._connections.get(address)
            if known is not None and not known.is_closed():
                return known
            tunnel = await self._connected(address.jump) if address.jump is not None else ()
            try:
                opened = await asyncssh.connect(
                    address.host,
                    address.port,
                    tunnel=tunnel,
                    username=address.user,
                    known_hosts=([asyncssh.import_public_key(address.host_key)], [], []),
                    client_keys=[address.identity] if address.identity else (),
                    config=None,  # nothing but what we were told
                    connect_timeout=CONNECT_S,
                    login_timeout=LOGIN_S,
                    keepalive_interval=KEEPALIVE_S,
                    keepalive_count_max=KEEPALIVES,
                )
            except Exception as error:
                raise self._explained(address, error) from error
            self._connections[address] = opened
            return opened

    def _explained(self, address: Address, error: Exception) -> ProviderError | Exception:
        """Our error for what connecting raised; a bug stays what it is."""
        match error:
            case asyncssh.HostKeyNotVerifiable():
                detail = "shows another host key than the one we know: it was set up anew, or it is not that machine"
                return AuthError(self._provider, f"{address.label} {detail}")
            case asyncssh.PermissionDenied():
                return AuthError(self._provider, f"{address.label} refuses our key")
            case asyncssh.KeyImportError():
                return AuthError(self._provider, f"{address.label}: a key cannot be read: {error}")
            case TimeoutError() | asyncssh.TimeoutError():
                return TransientError(self._provider, f"{address.label}: no answer within {CONNECT_S:g} s", 5.0)
            case asyncssh.Error() | OSError():
                return TransientError(self._provider, f"{address.label}: {error}", 5.0)
        return error

    async def _host_key(self, address: Address) -> str:
        try:
            async with asyncio.timeout(CONNECT_S):
                tunnel = await self._connected(address.jump) if address.jump is not None else ()
                key = await asyncssh.get_server_host_key(address.host, address.port, tunnel=tunnel, config=None)
        except Exception as error:
            raise self._explained(address, error) from error
        if key is None:
            raise TransientError(self._provider, f"{address.label} shows no host key")
        return key.export_public_key().decode().strip()

    def _forget(self, address: Address, connection: asyncssh.SSHClientConnection) -> None:
        connection.abort()
        if self._connections.get(address) is connection:
            del self._connections[address]

    async def _close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        for connection in self._connections.values():
            await connection.wait_closed()
        self._connections.clear()


class SshShell:
    """Commands on one machine of a hub."""

    def __init__(self, hub: Hub, address: Address) -> None:
        self._hub, self._address = hub, address
        self.name = address.label

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        """See Shell."""
        return self._hub.run(self._address, remote(argv, env=env, folder=folder), stdin, timeout_s)

    def forward(self, target: str) -> str:
        """See Forwards."""
        return self._hub.forward(self._address, target)


async def _echoes(process: asyncssh.SSHClientProcess[bytes]) -> float:
    """The quickest of several round trips of one byte to `cat`, in seconds."""
    await process.stdout.readuntil(MARK)
    found = []
    for _ in range(ECHOES):
        begun = time.perf_counter()
        process.stdin.write(b".")
        await process.stdout.readexactly(1)
        found.append(time.perf_counter() - begun)
    return min(found)


async def _timed(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> float:
    """Seconds from when a command runs, and is sent `data`, to its end."""
    await process.stdout.readuntil(MARK)
    begun = time.perf_counter()
    with contextlib.suppress(BrokenPipeError):  # it may have ended by itself: all that it had to say is here
        process.stdin.write(data)
        process.stdin.write_eof()
    await process.stdout.read()
    return time.perf_counter() - begun


async def _opened(connection: asyncssh.SSHClientConnection, line: str) -> asyncssh.SSHClientProcess[bytes]:
    """A session that runs `line`; one that opens too late for its caller is closed: a server allows only so many."""
    opening = asyncio.ensure_future(connection.create_process(line, encoding=None))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Future[asyncssh.SSHClientProcess[bytes]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _never_begun(error: Exception) -> bool:
    """Whether a command that failed like this certainly never ran: its session was not opened, and it was not sent."""
    return isinstance(error, asyncssh.ChannelOpenError) and error.code != asyncssh.OPEN_REQUEST_SESSION_FAILED


def _bytes(output: bytes | str | None) -> bytes:
    return output if isinstance(output, bytes) else (output or "").encode()
