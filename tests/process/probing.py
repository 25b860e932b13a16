"""What tests of the endpoint share: asking it, and finding the process that answers."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import proc

if TYPE_CHECKING:
    from harness import Srvinit

HTTP = "--http=127.0.0.1:0"


def address_of(pool: Srvinit, *, nth: int = 1) -> str:
    """Return where probes and scrapes are answered, waiting until they are."""
    address: str = pool.wait_event("endpoint.started", nth=nth)["address"]
    return address


def ask(
    pool: Srvinit, path: str, *, method: str = "GET", accept: str = "", within: float = 10
) -> tuple[int, str]:
    """Ask the endpoint that was started first; return status and body."""
    return ask_at(address_of(pool), path, method=method, accept=accept, within=within)


def ask_at(
    address: str, path: str, *, method: str = "GET", accept: str = "", within: float = 10
) -> tuple[int, str]:
    """Ask at an address as log lines have it; raises OSError if there is no answer."""
    connection = http.client.HTTPConnection("localhost", timeout=within)
    connection.sock = connected(address, within)
    try:
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def connected(address: str, within: float = 10) -> socket.socket:
    """Connect to an address as log lines have it."""
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(within)
        client.connect(address.removeprefix("unix:"))
        return client
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), within)


def helper_of(pool: Srvinit, *, nth: int = 1) -> int:
    """Return the pid, seen from outside, of the process that answers."""
    return pool.outside(pool.wait_event("endpoint.started", nth=nth)["pid"])


def sockets_of(pid: int) -> set[str]:
    """Return what /proc calls the sockets that a process has open."""
    links = {proc.link(f"/proc/{pid}/fd/{fd}") for fd in fds_of(pid)}
    return {link for link in links if link.startswith("socket:")}


def fds_of(pid: int) -> set[int]:
    """Return the numbers of a process's open descriptors."""
    return {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def metric(text: str, name: str, **labels: str) -> float:
    """Return the value of a metric out of Prometheus' text format."""
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    start = f"{name}{{{inner}}} " if labels else f"{name} "
    [value] = [line[len(start) :] for line in text.splitlines() if line.startswith(start)]
    return float(value)
