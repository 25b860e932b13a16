"""haproxy before the pods of a Service: it follows the Endpoints object, up to 5 s late.

It stands in for a load balancer, as they are: each change of the object reaches it a random while
after it was made (of a seed, so that two runs have the same whiles). Servers come and go by the
runtime interface, so haproxy itself is never reloaded and loses nothing. It never sends a request
twice (`retries 0`, no redispatch, no health checks): what a roll-out breaks, its clients see.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balancer import ready_addresses  # a module of tests/cluster

if TYPE_CHECKING:
    from typing import Self

    from balancer import Address
    from kube import Kube

LATEST_S = 5.0
SLOTS = 16  # pods at a time, the going ones included

CONFIG = """\
global
    stats socket {folder}/control level admin
    maxconn 2000
    nbthread 1
defaults
    mode http
    timeout connect 500ms
    timeout client 10s
    timeout server 10s
    retries 0
    no option redispatch
    option http-server-close
frontend web
    bind fd@{fd}
    default_backend pods
backend pods
    balance roundrobin
{servers}
"""


class Haproxy:
    """haproxy and who follows the Endpoints object for it, for the time of a `with`."""

    def __init__(self, kube: Kube, service: str, seed: int) -> None:
        self._kube, self._service = kube, service
        self._dice = random.Random(seed)  # noqa: S311
        self._slots: dict[int, Address] = {}
        self._due_at = 0.0
        self.changes = 0  # taken over so far
        self._first = threading.Event()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._control = f"{folder}/control"
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        self.port: int = listener.getsockname()[1]
        names = (f"    server s{slot} 127.0.0.1:1 disabled" for slot in range(SLOTS))
        text = CONFIG.format(folder=folder, fd=listener.fileno(), servers="\n".join(names))
        config = Path(folder, "haproxy.cfg")
        config.write_text(text)
        self._run(["haproxy", "-db", "-q", "-f", str(config)], pass_fds=[listener.fileno()])
        watch = ["get", "endpoints", self._service, "-o", "json", "--watch"]
        self._watch = self._run(
            ["kubectl", *watch, "--output-watch-events"],
            env=self._kube.environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._first.wait(30):
            raise TimeoutError(f"haproxy got no address of {self._service} in 30 s")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _run(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(command, **options)  # type: ignore[call-overload]

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)
        return process

    def _follow(self) -> None:
        """Take over each change, late, and never before the one that came before it."""
        text = ""
        for line in self._watch.stdout or ():
            text += line
            with contextlib.suppress(ValueError):  # the object goes on
                addresses = ready_addresses(json.loads(text)["object"])
                text = ""
                late = self._dice.uniform(0, LATEST_S) if self._first.is_set() else 0.0
                self._due_at = max(self._due_at, time.monotonic() + late)
                wait_s = self._due_at - time.monotonic()
                if self._first.is_set():
                    threading.Timer(max(0.0, wait_s), self._take, [addresses]).start()
                elif addresses:
                    self._take(addresses)

    def _take(self, addresses: list[Address]) -> None:
        """Tell haproxy who is new, then who is gone."""
        commands = []
        for address in set(addresses) - set(self._slots.values()):
            slot = next(one for one in range(SLOTS) if one not in self._slots)
            self._slots[slot] = address
            where = f"set server pods/s{slot} addr {address[0]} port {address[1]}"
            commands += [where, f"set server pods/s{slot} state ready"]
        for slot, address in list(self._slots.items()):
            if address not in addresses:
                del self._slots[slot]
                commands.append(f"set server pods/s{slot} state maint")
        for command in commands:
            self._tell(command)
        self.changes += 1
        self._first.set()

    def _tell(self, command: str) -> None:
        """Give haproxy one command of its runtime interface, once it listens there."""
        by = time.monotonic() + 10
        while True:
            with socket.socket(socket.AF_UNIX) as control:
                try:
                    control.connect(self._control)
                except (FileNotFoundError, ConnectionRefusedError):
                    if time.monotonic() > by:
                        raise
                    time.sleep(0.05)
                    continue
                control.sendall(f"{command}\n".encode())
                control.makefile().read()
                return
