"""What the tests of listening sockets share: opening and closing them, and a second Python."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from srvinit.errors import KernelRefused
from srvinit.kernel import bpf, sockets
from srvinit.settings.addresses import bind_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Opener = Callable[..., list[sockets.Listener]]

SO_ATTACH_FILTER = 26  # asm-generic/socket.h

ROOT = Path(__file__).parents[2]

OPEN = """
from srvinit.settings.addresses import bind_address
from srvinit.errors import KernelRefused
from srvinit.kernel import sockets
def opened(text):
    try:
        [listener] = sockets.open_listeners([bind_address(text)])
    except KernelRefused as refused:
        return f"{refused.call} {refused.what} {refused.name}"
    return listener.address
"""


def opener() -> Iterator[Opener]:
    """Open binds given as text; close what the test left open. The body of a fixture."""
    everything: list[sockets.Listener] = []

    def open_(*texts: str, **settings: object) -> list[sockets.Listener]:
        listeners = sockets.open_listeners([bind_address(text) for text in texts], **settings)
        everything.extend(listeners)
        return listeners

    yield open_
    for listener in everything:
        listener.close()


def refusal(*texts: str) -> KernelRefused:
    with pytest.raises(KernelRefused) as refused:
        sockets.open_listeners([bind_address(text) for text in texts])
    return refused.value


def deafen(client: socket.socket) -> None:
    """Have a socket hear nothing any more. Some kernels let root alone do so."""
    program = bpf.instruction(bpf.RETURN, 0)
    client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bpf.fprog(program))


def port_of(listener: sockets.Listener) -> int:
    return int(listener.address.rpartition(":")[2])


def as_socket(listener: sockets.Listener) -> socket.socket:
    """Return a Python socket on a copy of the fd."""
    return socket.socket(fileno=os.dup(listener.fd))


def accept_one(listener: sockets.Listener, client: socket.socket) -> None:
    """Check that the client's connection comes out of the listener."""
    with client, as_socket(listener) as server:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello")
            assert client.recv(5) == b"hello"


def in_python(
    script: str, *arguments: str, before: tuple[str, ...] = (), flags: tuple[str, ...] = ()
) -> list[str]:
    """Run a script with the package importable; return its lines."""
    done = subprocess.run(
        [*before, sys.executable, *flags, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def address_of(sock: socket.socket) -> str:
    return f"127.0.0.1:{sock.getsockname()[1]}"


def inherited(*servers: tuple[socket.socket, str]) -> list[sockets.Inherited]:
    return [sockets.Inherited(os.dup(server.fileno()), name) for server, name in servers]
