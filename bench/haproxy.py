"""haproxy before the pods of a Service: it follows the Endpoints object, up to 5 s late.

It stands in for a load balancer, as they are: each change of the object reaches it a random while
after it was made (of a seed, so that two runs have the same whiles). Servers come and go by the
runtime interface, so haproxy itself is never reloaded and loses nothing. It never sends a request
twice (`retries 0`, no redispatch, no health checks): what a roll-out breaks, its clients see.
"""

from __future__ import annotations

import contextlib
import json
import queue
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
        self._heard: queue.SimpleQueue[tuple[float, list[Address]]] = queue.SimpleQueue()
        self.latest_s = 0.0  # the longest that haproxy was told after it should have been
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
        for work in (self._follow, self._pass_on):
            threading.Thread(target=work, daemon=True).start()
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
        """Hear of each change; say when haproxy is to."""
        text, due_at = "", 0.0
        for line in self._watch.stdout or ():
            text += line
            with contextlib.suppress(ValueError):  # the object goes on
                addresses = ready_addresses(json.loads(text)["object"])
                text = ""
                late_s = self._dice.uniform(0, LATEST_S) if self._first.is_set() else 0.0
                due_at = max(due_at, time.monotonic() + late_s)
                self._heard.put((due_at, addresses))

    def _pass_on(self) -> None:
        """Tell haproxy in the order of the changes: two are often due at the same instant.

        One thread for it, since of two timers the later change may win, and then haproxy sends to
        pods that are long gone until the next one.
        """
        while True:
            due_at, addresses = self._heard.get()
            time.sleep(max(0.0, due_at - time.monotonic()))
            self._take(addresses)
            self.latest_s = max(self.latest_s, time.monotonic() - due_at)
            if addresses:
                self._first.set()

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
