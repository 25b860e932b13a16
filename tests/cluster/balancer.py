"""What stands before pods in a real cluster: a proxy that follows the Endpoints object, late.

As a program:  python tests/cluster/balancer.py SERVICE --delay 2
As a library:  with Balancer(kube, "web", delay=2) as balancer: load(balancer.port)

It stands in for a load balancer, and for kube-proxy, which the cluster of the tests has not. A new
connection goes to one of the addresses that were ready `delay` seconds ago, at random, and is never
tried again elsewhere: what a roll-out breaks, its clients see. It says its port when it has the
first address, and at the end of its stdin how many connections no address took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    from kube import Kube

Address = tuple[str, int]


class Balancer:
    """The program below as a child, for the time of a `with`."""

    def __init__(
        self, kube: Kube, service: str, delay: float = 0.0, address: str = "127.0.0.1:0"
    ) -> None:
        options = [service, f"--delay={delay}", f"--address={address}"]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *options],
            env=kube.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        self.port: int = json.loads(self._process.stdout.readline())["port"]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> int:
        """Stop it; return how many connections no address took."""
        said, _ = self._process.communicate(timeout=30)
        refused: int = json.loads(said)["refused"]
        return refused


class Proxy:
    """The proxy itself: where to, and how often that failed."""

    def __init__(self, service: str, delay: float) -> None:
        self.addresses: list[Address] = []
        self.refused = 0
        self.has_addresses = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()  # or they would be collected as garbage
        self._service, self._delay = service, delay

    async def follow(self) -> None:
        """Take over each change of the Endpoints object, `delay` seconds late."""
        options = ["-o", "json", "--watch", "--output-watch-events"]
        watch = await asyncio.create_subprocess_exec(
            *["kubectl", "get", "endpoints", self._service, *options],
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        assert watch.stdout is not None
        text = ""
        while line := await watch.stdout.readline():
            text += line.decode()
            with contextlib.suppress(ValueError):  # the object goes on
                addresses = ready_addresses(json.loads(text)["object"])
                text = ""
                asyncio.get_running_loop().call_later(self._delay, self._take, addresses)

    def _take(self, addresses: list[Address]) -> None:
        self.addresses = addresses
        if addresses:
            self.has_addresses.set()

    async def on_client(self, reader: Any, writer: Any) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        try:
            inner, outer = await asyncio.open_connection(*random.choice(self.addresses))  # noqa: S311
        except (OSError, IndexError):
            self.refused += 1
            writer.transport.abort()
            return
        await asyncio.gather(pump(reader, outer), pump(inner, writer))
        for end in (outer, writer):
            end.close()


async def pump(source: Any, sink: Any) -> None:
    """Pass on bytes, their end, and a reset as a reset."""
    try:
        while block := await source.read(65536):
            sink.write(block)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.transport.abort()


def ready_addresses(endpoints: dict[str, Any]) -> list[Address]:
    """Return the addresses of an Endpoints object."""
    return [
        (address["ip"], port["port"])
        for subset in endpoints.get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset["ports"]
        if port.get("name") == "http"
    ]


async def serve(service: str, delay: float, address: Address) -> None:
    """Serve until the end of stdin."""
    proxy = Proxy(service, delay)
    listener = socket.create_server(address, backlog=4096)
    follower = asyncio.create_task(proxy.follow())
    await proxy.has_addresses.wait()
    await asyncio.start_server(proxy.on_client, sock=listener)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"refused": proxy.refused}), flush=True)
    follower.cancel()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("service")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--address", default="127.0.0.1:0")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    asyncio.run(serve(options.service, options.delay, (host, int(port))))


if __name__ == "__main__":
    main()
