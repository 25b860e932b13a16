"""A flood of connections at a TCP address, of every kind that hurts: for the probes' endpoint.

A program of its own, so that it has a core and an interpreter lock of its own: it connects as fast
as it can, says nothing, half a request, nonsense, or many requests at once, reads no answer, keeps
300 of these connections for a while, and as many that send one byte now and then (slow loris).
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

KEPT = 300
TELL_EVERY = 500
WHATS = (
    b"",
    b"GET /",
    b"\0" * 1000,
    b"GET /livez HTTP/1.1\r\nHost: it\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n" * 20,
)


class Flood:
    """The program as a child; `source` is the address on 127/8 that it comes from."""

    def __init__(self, address: str, *, source: str) -> None:
        line = [sys.executable, "-S", __file__, address, source]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE)
        self.connections = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_connections(self, number: int) -> None:
        """Wait until it has made so many more."""
        assert self._process.stdout is not None
        end = self.connections + number
        while self.connections < end:
            line = self._process.stdout.readline()
            assert line, "the flood goes on"
            self.connections = int(line)


def flood(address: tuple[str, int], source: str) -> None:
    """Connect for ever."""
    kept: deque[socket.socket] = deque()
    drips: deque[socket.socket] = deque()
    for number, what in enumerate(itertools.cycle(WHATS), start=1):
        client = begun(address, source)
        with contextlib.suppress(OSError):  # it is still connecting, or has been refused
            client.send(what)
        kept.append(client)
        if len(kept) > KEPT:
            kept.popleft().close()
        if number % TELL_EVERY == 0:
            drip(drips)
            drips.extend(begun(address, source) for _ in range(KEPT - len(drips)))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def drip(clients: deque[socket.socket]) -> None:
    """Send one byte more of a request with each of these; leave those that have been closed."""
    for _ in range(len(clients)):
        client = clients.popleft()
        try:
            client.send(b"G")
        except OSError:
            client.close()
        else:
            clients.append(client)


def begun(address: tuple[str, int], source: str) -> socket.socket:
    """Begin a connection."""
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((source, 0))
    client.settimeout(0)
    client.connect_ex(address)
    return client


#: From linux/in.h: bind() only chooses the address, which takes no time when many ports are taken.
IP_BIND_ADDRESS_NO_PORT = 24

if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    flood((host, int(port)), sys.argv[2])
