"""A wide-area network on this machine: TUN devices, and a process of its own that carries packets late, or not at all.

Every machine is a network namespace, known by a process in it, with one line to all others. The process is a child that
is told what to do on its standard input and ends with it: the devices, addresses and routes are its own, and go with it
whatever ends it. Needs root, /dev/net/tun and `ip`; the kernel's netem is not used.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

NETWORKS = 512  # of 254 machines each: 198.18.0.0/15, kept for tests of networks (RFC 2544)
MTU = 1400
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000  # linux/if_tun.h
QUEUE_S = 0.5  # of packets that wait for a slow line; more is lost
BATCH = 64  # packets read at a time
DEVICE = "iso"  # and the number of the process
INSIDE = "wan0"  # the device, as the machine sees it


class Wan:
    """The network, seen from this machine, which is in it at `address`; use it in a `with`. Safe between threads."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        command = [sys.executable, "-I", "-S", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        try:
            self.address = self._ask("here")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    @property
    def device(self) -> str:
        """This machine's line."""
        return f"{DEVICE}{self._process.pid}"

    def attach(self, name: str, pid: int) -> str:
        """Connect the namespace that the process is in; its address."""
        return self._ask("attach", name, str(pid))

    def shape(self, name: str, *, rtt_ms: float = 0.0, loss: float = 0.0, mbit_s: float = 0.0) -> None:
        """What the line of a machine is like from now on; no `mbit_s` is no limit. `loss` is a share, each way."""
        self._ask("shape", name, str(rtt_ms), str(loss), str(mbit_s))

    def cut(self, name: str) -> None:
        """Nothing passes any more, and nobody is told."""
        self._ask("cut", name)

    def mend(self, name: str) -> None:
        """It passes again."""
        self._ask("mend", name)

    def detach(self, name: str) -> None:
        """The line is gone for good."""
        self._ask("detach", name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)

    def _ask(self, *words: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{' '.join(words)}\n".encode())
            self._process.stdin.flush()
            told, _, answer = self._process.stdout.readline().decode().rstrip("\n").partition(" ")
        if told != "ok":
            raise RuntimeError(f"the network does not {' '.join(words)}: {answer or 'it has ended'}")
        return answer


class Line:
    """The line of one machine, the same in both directions."""

    def __init__(self, fd: int) -> None:
        self.fd, self.whole = fd, True
        self.delay_s, self.loss, self.bit_s = 0.0, 0.0, 0.0
        self._free_at = {False: 0.0, True: 0.0}  # by whether it leads to the machine

    def arrival(self, at: float, size: int, *, inward: bool) -> float | None:
        """When a packet of `size` bytes that enters `at` leaves again; None where it is lost."""
        if not self.whole or random.random() < self.loss:
            return None
        if self.bit_s:
            sent = max(at, self._free_at[inward]) + 8 * size / self.bit_s
            if sent - at > QUEUE_S:
                return None
            self._free_at[inward] = at = sent
        return at + self.delay_s


class Carrier:
    """What the process does: reads packets, and writes each where it is addressed to when its time has come."""

    def __init__(self) -> None:
        self._device = f"{DEVICE}{os.getpid()}"
        self._here = _tun(self._device)
        self._network = self._claim()
        self._lines: dict[str, Line] = {}
        self._addresses: dict[bytes, Line] = {}
        self._count = 1  # the last byte of the last address
        self._late: list[tuple[float, int, int, bytes]] = []  # (when, in what order, to which device, what)
        self._order = 0

    def run(self) -> None:
        """Carry until the standard input ends."""
        asked = b""
        while True:
            self._deliver()
            wait_s = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            lines = {line.fd: line for line in self._lines.values()}
            # select() waits to the microsecond, epoll() to the millisecond.
            for fd in select.select([0, self._here, *lines], (), (), wait_s)[0]:
                if fd != 0:
                    self._read(fd, lines.get(fd))
                    continue
                more = os.read(0, 4096)
                if not more:
                    return
                *whole, asked = (asked + more).split(b"\n")
                for each in whole:
                    os.write(1, f"{self._answer(each.decode().split())}\n".encode())

    def _answer(self, words: list[str]) -> str:
        try:
            match words:
                case ["here"]:
                    return f"ok {self._network}.1"
                case ["attach", name, pid]:
                    return f"ok {self._attach(name, int(pid))}"
                case ["shape", name, rtt_ms, loss, mbit_s]:
                    line = self._lines[name]
                    line.delay_s, line.loss, line.bit_s = float(rtt_ms) / 2000, float(loss), 1e6 * float(mbit_s)
                case ["cut" | "mend" as order, name]:
                    self._lines[name].whole = order == "mend"
                case ["detach", name]:
                    self._detach(name)
                case _:
                    return "error: no such order"
        except (OSError, KeyError, ValueError) as error:
            return f"error {type(error).__name__}: {' '.join(str(error).split())}"
        return "ok"

    def _claim(self) -> str:
        """A network that nobody on this machine has: of two who want one route, the kernel refuses the second."""
        _ip(f"link set {self._device} mtu {MTU} txqueuelen 2000 up")
        for number in ((os.getpid() + step) % NETWORKS for step in range(NETWORKS)):
            network = f"198.{18 + number // 256}.{number % 256}"
            try:
                _ip(f"addr add {network}.1/32 dev {self._device}", f"route add {network}.0/24 dev {self._device}")
            except OSError:
                _ip(f"addr flush dev {self._device}")
                continue
            return network
        raise OSError("every network is taken")

    def _attach(self, name: str, pid: int) -> str:
        if name in self._lines:
            raise ValueError("it is attached already")
        self._count += 1
        address, device = f"{self._network}.{self._count}", f"{self._device}-{self._count}"
        fd = _tun(device)
        try:
            _ip(f"link set {device} netns {pid} name {INSIDE}")
            _ip(
                "link set lo up",
                f"link set {INSIDE} mtu {MTU} txqueuelen 2000 up",
                f"addr add {address}/24 dev {INSIDE}",
                f"route add default dev {INSIDE}",
                pid=pid,
            )
        except OSError:
            os.close(fd)
            raise
        self._lines[name] = self._addresses[bytes(map(int, address.split(".")))] = Line(fd)
        return address

    def _detach(self, name: str) -> None:
        line = self._lines.pop(name)
        self._addresses = {address: other for address, other in self._addresses.items() if other is not line}
        self._late = [packet for packet in self._late if packet[2] != line.fd]
        heapq.heapify(self._late)
        os.close(line.fd)

    def _read(self, fd: int, source: Line | None) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(fd, 65536)
            except OSError:  # nothing more, or the machine is gone and its device with it
                break
            if len(packet) >= 20 and packet[0] >> 4 == 4:  # others are not carried
                self._take(packet, source)

    def _take(self, packet: bytes, source: Line | None) -> None:
        at: float | None = time.monotonic()
        target = self._addresses.get(packet[16:20])
        if source is not None:
            at = source.arrival(at or 0.0, len(packet), inward=False)
        if target is not None and at is not None:
            at = target.arrival(at, len(packet), inward=True)
        known = target is not None or packet[16:20] == bytes(map(int, f"{self._network}.1".split(".")))
        if at is not None and known:
            self._order += 1
            heapq.heappush(self._late, (at, self._order, self._here if target is None else target.fd, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, _, fd, packet = heapq.heappop(self._late)
            try:
                os.write(fd, packet)
            except OSError:  # the machine is gone, or its queue is full: lost, as on any line
                continue


def _tun(device: str) -> int:
    """A new device; it lives as long as the descriptor, also in another namespace."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def _ip(*orders: str, pid: int = 0) -> None:
    """Orders to `ip`, in the network of the process. Raises: OSError."""
    inside = ["nsenter", "--target", str(pid), "--net"] if pid else []
    said = subprocess.run(
        [*inside, "ip", "-batch", "-"], input="\n".join(orders), capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise OSError(said.stderr.strip())


if __name__ == "__main__":
    with suppress(PermissionError):
        os.nice(-10)  # whoever waits for a core here is further away than it shall be
    Carrier().run()
